/** Ownership over a real nats-server: what the simulation shows in seconds of its own time, once with the real store. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectNats } from '../../src/adapters/nats-bus.js';
import { createNatsStore } from '../../src/adapters/nats-store.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { Checkpoints } from '../../src/cluster/checkpoints.js';
import { Ownership, type OwnershipLimits } from '../../src/cluster/ownership.js';
import { untilStore } from '../support/store-conformance.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';

const WATCHDOG = { timeout: 60_000 };
const outside = { clock: systemClock, log: { log: () => {} } };
const limits: OwnershipLimits = { leaseMs: 3000, renewDeadlineMs: 2000, renewMs: 200, resyncMs: 1000, takeOversPerSecondMax: 5 };

async function join(nats: TestNats, id: string) {
  const bus = await connectNats({ servers: nats.url, ...nats.host }, outside, 10_000);
  const store = createNatsStore(bus, {}, outside);
  await untilStore(store, 'ready');
  const waiting = new Set<() => void>();
  const incarnation = systemRandom.ulid();
  let fenced: string | undefined;
  const changed = (): void => { for (const look of waiting) look(); };
  const ownership: Ownership = new Ownership({
    store, ...outside, id, incarnation, limits, braked: () => false, highestSequence: () => 0, knownEpochs: () => [], tell: () => {},
    changed,
    fenced: (reason) => {
      fenced = reason;
      changed();
    },
  });
  return {
    owner: { host: id, incarnation }, store, ownership, checkpoints: new Checkpoints({ store, epochOf: (actor) => ownership.epochOf(actor) }),
    /** Resolves when it is so, looked at after every change. */
    until: (is: () => boolean) => new Promise<void>((resolve) => {
      const look = (): void => {
        if (!is()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    }),
    fenced: () => fenced,
    /** As when the process dies: nothing more is said. */
    leave: async () => {
      await store.close();
      await bus.close();
    },
  };
}

test('NATS: one takes it, hands it over, the next one dies, a third takes over with the checkpoint; a clean stop is quick', WATCHDOG, async () => {
  const nats = await startTestNats();
  try {
    const [x, y, z] = [await join(nats, 'x'), await join(nats, 'y'), await join(nats, 'z')];
    x.ownership.candidates(['a']);
    await x.until(() => x.ownership.epochOf('a') === 1);
    for (const host of [y, z]) host.ownership.candidates(['a']);
    await y.until(() => y.ownership.ownerOf('a')?.host === 'x');
    await x.checkpoints.save('a', 1, Uint8Array.of(1));

    assert.equal(await x.ownership.handOver('a', y.owner), true);
    await y.until(() => y.ownership.epochOf('a') === 2);
    assert.equal(x.ownership.mayServe('a'), false);
    assert.deepEqual([...(await y.checkpoints.load('a', 2))!], [1]);
    await y.checkpoints.save('a', 2, Uint8Array.of(2));
    await assert.rejects(x.checkpoints.save('a', 1, Uint8Array.of(9)), { code: 'UNAVAILABLE' });

    x.ownership.candidates([]);
    await y.leave();
    await z.until(() => z.ownership.epochOf('a') === 3);
    assert.equal(y.ownership.mayServe('a'), false);
    assert.deepEqual([...(await z.checkpoints.load('a', 3))!], [2]);

    x.ownership.candidates(['a']);
    await x.until(() => x.ownership.ownerOf('a')?.host === 'z');
    await z.ownership.close();
    await x.until(() => x.ownership.epochOf('a') === 4);
    await Promise.all([x, y].map((host) => host.ownership.close()));
    for (const host of [x, z]) await host.leave();
  } finally {
    await nats.remove();
  }
});

test('NATS: the server is away for longer than renewDeadlineMs: the owner pauses by itself and goes on under the same epoch', WATCHDOG, async () => {
  const nats = await startTestNats();
  try {
    const x = await join(nats, 'x');
    x.ownership.candidates(['a']);
    await x.until(() => x.ownership.mayServe('a'));
    await nats.stop();
    await x.until(() => !x.ownership.mayServe('a'));
    await nats.start();
    await x.until(() => x.ownership.epochOf('a') === 1);
    assert.equal(x.fenced(), undefined);
    await x.ownership.close();
    await x.leave();
  } finally {
    await nats.remove();
  }
});
