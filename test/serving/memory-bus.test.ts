/** The in-memory bus: all a Bus must do, and the turns it takes by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Clock, Log } from '../../src/ports.js';
import { busConformance, bytes, text } from '../support/bus-conformance.js';

const log: Log = { log() {} };

busConformance('in memory', async () => {
  const broker = createMemoryBus({ clock: systemClock, log });
  return {
    connect: async () => broker.connect(),
    stop: async () => broker.stop(),
    start: async () => broker.start(),
    remove: async () => {},
  };
});

test('memory bus: members of a queue group take turns', async () => {
  const bus = createMemoryBus({ clock: systemClock, log }).connect();
  const seen: string[] = [];
  for (const member of ['a', 'b', 'c']) bus.subscribe('x', (message) => void seen.push(member + text(message.data)), { queue: 'q' });
  for (let i = 0; i < 6; i++) bus.publish('x', bytes(String(i)));
  await bus.flush(1000);
  assert.deepEqual(seen, ['a0', 'b1', 'c2', 'a3', 'b4', 'c5']);
});

test('memory bus: deliveries and time-outs follow the schedule and clock they are given', async () => {
  const rounds: (() => void)[] = [];
  const timers: (() => void)[] = [];
  const clock: Clock = { now: () => 0, wallTime: () => 0, setTimeout: (callback) => timers.push(callback), clearTimeout: () => {} };
  const bus = createMemoryBus({ clock, log, schedule: (round) => void rounds.push(round) }).connect();
  const seen: string[] = [];
  bus.subscribe('x', (message) => void seen.push(text(message.data)));
  const asked = bus.request('x', bytes('1'), { timeoutMs: 5 });
  assert.deepEqual(seen, []);
  rounds.shift()!();
  assert.deepEqual(seen, ['1']);
  timers.shift()!();
  await assert.rejects(asked, { code: 'TIMEOUT' });
  assert.equal(rounds.length + timers.length, 0);
});

test('memory bus: an endpoint of a stopped broker starts down, what was on its way is lost', async () => {
  const broker = createMemoryBus({ clock: systemClock, log });
  const bus = broker.connect();
  const seen: string[] = [];
  bus.subscribe('x', (message) => void seen.push(text(message.data)));
  bus.publish('x', bytes('lost'));
  broker.stop();
  assert.equal(broker.connect().state, 'down');
  broker.start();
  bus.publish('x', bytes('arrives'));
  await bus.flush(1000);
  assert.deepEqual(seen, ['arrives']);
});
