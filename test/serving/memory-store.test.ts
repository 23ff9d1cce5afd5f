/** The in-memory store: all a Store must do, and what simulations do to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryStore } from '../../src/adapters/memory-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Clock, Log } from '../../src/ports.js';
import { bytes, long, storeConformance, storeRejects, text } from '../support/store-conformance.js';

const log: Log = { log() {} };

storeConformance('in memory', async () => {
  const stores = createMemoryStore({ clock: systemClock, log });
  return {
    connect: async () => {
      const store = stores.connect();
      return { store, objects: stores.objects(), close: () => store.close() };
    },
    stop: async () => stores.stop(),
    start: async () => stores.start(),
    remove: async () => {},
  };
});

/** Hops and timers by hand. */
function byHand() {
  const hops: (() => void)[] = [];
  const timers = new Set<() => void>();
  const clock: Clock = {
    now: () => 0,
    wallTime: () => 0,
    setTimeout: (callback) => {
      timers.add(callback);
      return callback;
    },
    clearTimeout: (handle) => void timers.delete(handle as () => void),
  };
  const stores = createMemoryStore({ clock, log, schedule: (hop) => void hops.push(hop) });
  const rest = (): void => { while (hops.length > 0) hops.shift()!(); };
  return { stores, hops, timers, rest };
}

test('memory store: cut before the write arrives, UNKNOWN and never written', async () => {
  const { stores, rest } = byHand();
  const [a, b] = [stores.connect(), stores.connect()];
  const asked = a.create('k', bytes('1'), long);
  a.cut();
  await storeRejects(asked, 'UNKNOWN');
  await storeRejects(a.get('k', long), 'DOWN');
  rest();
  const found = b.get('k', long);
  rest();
  assert.equal(await found, undefined);
});

test('memory store: cut before the answer arrives, UNKNOWN and written; the same create is then EXISTS', async () => {
  const { stores, hops, rest } = byHand();
  const [a, b] = [stores.connect(), stores.connect()];
  const asked = a.create('k', bytes('1'), long);
  hops.shift()!();
  a.cut();
  await storeRejects(asked, 'UNKNOWN');
  a.heal();
  const again = a.create('k', bytes('1'), long);
  const found = b.get('k', long);
  rest();
  await storeRejects(again, 'EXISTS');
  assert.equal(text((await found)?.value), '1');
});

test('memory store: time-out is UNKNOWN, the write may still happen; no timer is left', async () => {
  const { stores, timers, rest } = byHand();
  const a = stores.connect();
  const asked = a.put('k', bytes('1'), { timeoutMs: 5 });
  for (const timer of timers) timer();
  await storeRejects(asked, 'UNKNOWN');
  const found = a.get('k', long);
  rest();
  assert.equal(text((await found)?.value), '1');
  assert.equal(timers.size, 0);
});

test('memory store: rolled back, the list tells a lower sequence than was seen, and watches follow', async () => {
  const stores = createMemoryStore({ clock: systemClock, log });
  const a = stores.connect();
  await a.put('x.1', bytes('old'), long);
  const saved = stores.save();
  const seen: string[] = [];
  a.watch('x', (change) => void seen.push(change.deleted ? 'deleted' : text(change.value)!));
  for (let i = 0; i < 5; i++) await a.put('x.1', bytes('lost'), long);
  stores.stop();
  stores.restore(saved);
  stores.start();
  const { entries, lastSequence } = await a.list('', long);
  assert.deepEqual([entries.map(({ value }) => text(value)), lastSequence, a.lastSequence], [['old'], 1, 6]);
  await a.put('x.1', bytes('new'), long);
  await a.get('x.1', long);
  assert.deepEqual(seen.slice(-2), ['old', 'new']);
});
