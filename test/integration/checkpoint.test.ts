/** `context.checkpoint` of a module in both kinds of lane, over a store, from one owner to the next. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMemoryStore } from '../../src/adapters/memory-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Checkpoints } from '../../src/cluster/checkpoints.js';
import { titleValue } from '../../src/cluster/ownership-ledger.js';
import { ownKey } from '../../src/policy/lease.js';
import type { LaneFactory } from '../../src/ports.js';
import { storeValueBytesMax } from '../../src/protocol/store-keys.js';
import { factory, fixture, laneKinds, openLane, openLoaded, stopLane, values, within } from '../support/lanes.js';

const size = (bytes: number) => ({ size: { datatype: 'INT32' as const, shape: [1], data: [bytes] } });

for (const kind of laneKinds) {
  describe(`${kind} lane: checkpoints`, () => {
    const stores = createMemoryStore({ clock: systemClock, log: { log() {} } });
    const store = stores.connect();
    /** Lanes of a host that owns the actor under this epoch. */
    const ownedLanes = (epoch: number, isSingleton = true): LaneFactory => {
      const lanes = factory(kind);
      const checkpoints = new Checkpoints({ store, epochOf: () => epoch });
      return {
        open: (order) => lanes.open({ ...order, host: { ...order.host, checkpoint: (call) => checkpoints.answer('test', isSingleton, call) } }),
        get zombies() { return lanes.zombies; },
      };
    };
    const own = (epoch: number): Promise<unknown> => store.create(ownKey('test', epoch), titleValue({ host: 'x', incarnation: 'I' }), { timeoutMs: 60_000 });

    test('the next owner goes on where the one before was; the one before can save no more', async () => {
      await own(1);
      const first = await openLoaded(ownedLanes(1), { file: fixture('checkpoints') });
      assert.deepEqual(values(await first.run('one'))['count'], [1]);
      assert.deepEqual(values(await first.run('two'))['count'], [2]);
      await own(2);
      const second = await openLoaded(ownedLanes(2), { file: fixture('checkpoints') });
      assert.deepEqual(values(await second.run('three'))['count'], [3]);
      const late = await first.run('late');
      assert.deepEqual(late, { ok: false, code: 'UNAVAILABLE', message: 'checkpoint: test has epoch 2 by now, a checkpoint of epoch 1 no longer counts', retryable: true });
      assert.deepEqual(values(await second.run('four'))['count'], [4]);
      await stopLane(first);
      await stopLane(second);
    });

    test('a megabyte travels both ways in order of bytes; one byte more is refused by size', async () => {
      await own(3);
      const opened = await openLoaded(ownedLanes(3), { file: fixture('checkpoints') });
      assert.deepEqual(values(await opened.run('large', size(storeValueBytesMax)))['same'], [1]);
      assert.deepEqual(values(await opened.run('empty', size(0)))['same'], [1]);
      const refused = await opened.run('too large', size(storeValueBytesMax + 1));
      assert.deepEqual(refused, { ok: false, code: 'PAYLOAD_TOO_LARGE', message: `checkpoint: it has ${storeValueBytesMax + 1} bytes, at most ${storeValueBytesMax} are kept`, retryable: false });
      await stopLane(opened);
    });

    test('no singleton: the load fails with the reason', async () => {
      const opened = openLane(ownedLanes(3, false), { file: fixture('checkpoints') });
      const reply = await within(opened.lane.load(), 'load');
      assert.ok(!reply.ok && !reply.permanent);
      assert.match(reply.message, /checkpoint: checkpoints are kept of singletons only, test is none/);
      await stopLane(opened);
    });

    test('a host that keeps none: the load fails with the reason', async () => {
      const opened = openLane(factory(kind), { file: fixture('checkpoints') });
      const reply = await within(opened.lane.load(), 'load');
      assert.match(reply.ok ? '' : reply.message, /this host keeps no checkpoints/);
      await stopLane(opened);
    });
  });
}
