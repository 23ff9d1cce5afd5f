/** What may exist only once: who owns it after every kind of failure, in simulated time over one store. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPOCHS_KEPT, fenceKey, LEASE_KEPT_MS, leaseKey, ownKey, ROLL_BACK_BRAKE_MS, ROLL_BACK_GAP } from '../../src/policy/lease.js';
import { Ownership } from '../../src/cluster/ownership.js';
import { Ledger, titleValue } from '../../src/cluster/ownership-ledger.js';
import { StoreError } from '../../src/ports.js';
import { SimTime } from '../sim/sim-time.js';
import { defaults, OwnershipStage, type StageHost } from '../support/ownership-stage.js';

const long = { timeoutMs: 1e9 };

/** One owner and the others waiting. */
async function settled(ids: readonly string[], options: { actors?: readonly string[]; rates?: Readonly<Record<string, number>> } = {}): Promise<{ stage: OwnershipStage; hosts: StageHost[] }> {
  const stage = new OwnershipStage(options.actors);
  const hosts: StageHost[] = [];
  for (const id of ids) {
    hosts.push(stage.host(id, { rate: options.rates?.[id] ?? 1 }));
    await stage.run(2000);
  }
  assert.ok(hosts[0]!.serves(stage.actors[0]!), hosts[0]!.ownership.reasonOf(stage.actors[0]!));
  return { stage, hosts };
}

test('two candidates of an actor nobody owned: one takes it at once, epoch 1; the other says whose it is', async () => {
  const stage = new OwnershipStage();
  const hosts = [stage.host('x'), stage.host('y')];
  const tookMs = await stage.until(() => hosts.some((host) => host.serves('a')), 1000);
  assert.ok(tookMs !== undefined && tookMs < 100, `${tookMs} ms`);
  await stage.run(6000);
  const [owner, other] = hosts[0]!.serves('a') ? hosts : [...hosts].reverse();
  assert.equal(owner!.ownership.epochOf('a'), 1);
  assert.equal(owner!.ownership.reasonOf('a'), 'owned by this host (epoch 1)');
  assert.equal(other!.ownership.reasonOf('a'), `owned by host ${owner!.id}`);
  assert.deepEqual(other!.ownership.ownerOf('a'), { ...owner!.owner, epoch: 1 });
  assert.deepEqual(owner!.events, ['singleton-taken a: it had no owner yet']);
  stage.end();
});

test('no store: nothing is served, and the reason says so', async () => {
  const ownership = new Ownership({
    store: undefined, clock: new SimTime(), log: { log() {} }, id: 'x', incarnation: 'I', limits: defaults, braked: () => false, highestSequence: () => 0, knownEpochs: () => [],
    changed: () => {}, fenced: () => {}, tell: () => {},
  });
  ownership.candidates(['a']);
  assert.equal(ownership.mayServe('a'), false);
  assert.equal(ownership.reasonOf('a'), 'no store');
  assert.equal(await ownership.handOver('a', { host: 'y', incarnation: 'J' }), false);
  await ownership.close();
});

test('nothing to own: nothing is written and nothing is read', async () => {
  const stage = new OwnershipStage();
  const host = stage.host('x', { candidate: false });
  await stage.run(60_000);
  assert.deepEqual(stage.keys(''), []);
  assert.equal(stage.time.pending, 0);
  assert.equal(host.store.lastSequence, 0);
});

test('crash: taken over when the lease ran out, not earlier, and within 20 s', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  await stage.run(10_300);
  x!.crash();
  assert.equal(await stage.until(() => y!.serves('a'), 16_900), undefined);
  assert.match(y!.ownership.reasonOf('a'), /^waiting for the lease of x to run out \([12] s\)$/);
  const moreMs = await stage.until(() => y!.serves('a'), 3100);
  assert.ok(moreMs !== undefined);
  assert.equal(y!.ownership.epochOf('a'), 2);
  assert.deepEqual(stage.keys('fence'), [fenceKey('x', x!.incarnation)]);
  assert.deepEqual(y!.events, ['singleton-taken a: x no longer renews its lease']);
  stage.end();
});

test('clean stop: the next one takes it at once', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  void x!.close();
  const tookMs = await stage.until(() => y!.serves('a'), 20_000);
  assert.ok(tookMs !== undefined && tookMs < 500, `${tookMs} ms`);
  assert.deepEqual(y!.events, ['singleton-taken a: x has stopped']);
  stage.end();
});

test('stop with a run that outlasts the drain: nobody is told that it is free, the next one waits for the lease', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  void x!.ownership.close(() => false);
  const tookMs = await stage.until(() => y!.serves('a'), 60_000);
  assert.ok(tookMs !== undefined && tookMs > 16_000, `${tookMs} ms`);
  assert.equal(x!.serves('a'), false);
  stage.end();
});

test('partition: the owner stops at renewDeadlineMs, told by a timer; the other takes over after leaseMs; healed, the old one is fenced', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  x!.store.cut();
  x!.changes.length = 0;
  const stoppedMs = await stage.until(() => x!.changes.includes('a undefined'), 60_000);
  assert.ok(stoppedMs !== undefined && stoppedMs > 10_900 && stoppedMs <= 12_100, `${stoppedMs} ms`);
  assert.equal(x!.ownership.epochOf('a'), undefined);
  assert.match(x!.ownership.reasonOf('a'), /^the store is down/);
  const tookMs = await stage.until(() => y!.serves('a'), 60_000);
  assert.ok(tookMs !== undefined && stoppedMs + tookMs <= 19_000, `${stoppedMs} + ${tookMs} ms`);
  x!.store.heal();
  await stage.until(() => x!.fencedBy !== undefined, 6000);
  assert.equal(x!.fencedBy, 'host y declared this process dead, its lease had run out');
  await stage.run(60_000);
  assert.equal(x!.ownership.reasonOf('a'), 'this host was declared dead by y');
  assert.equal(stage.moves, 1);
  stage.end();
});

test('the store is away for 8.2 s: nobody notices; for 14 s: the owner pauses, nobody else takes over, the epoch stays', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  x!.changes.length = 0;
  stage.stores.stop();
  await stage.run(8200);
  stage.stores.start();
  await stage.run(5000);
  assert.ok(!x!.changes.includes('a undefined'), x!.changes.join());
  stage.stores.stop();
  await stage.run(14_000);
  assert.equal(x!.serves('a'), false);
  stage.stores.start();
  const backMs = await stage.until(() => x!.serves('a'), 5000);
  assert.ok(backMs !== undefined && backMs < 2000, `${backMs} ms`);
  assert.equal(x!.ownership.epochOf('a'), 1);
  assert.equal(y!.events.length, 0);
  stage.end();
});

test('frozen owner wakes: it may not serve before anything else ran, whatever answers wait for it', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  await stage.run(3700);
  x!.freeze();
  await stage.until(() => y!.serves('a'), 40_000);
  assert.ok(y!.serves('a'));
  await stage.run(400);
  x!.clock.isFrozen = false;
  assert.equal(x!.ownership.mayServe('a'), false);
  x!.thaw();
  await stage.run(30_000);
  assert.equal(x!.ownership.mayServe('a'), false);
  assert.match(x!.fencedBy ?? '', /host y/);
  stage.end();
});

test('suspended machine: its monotonic clock stood still, the wall clock tells; it serves again only after it read the store', async () => {
  const { stage, hosts: [x] } = await settled(['x', 'y']);
  x!.clock.suspendedMs += 1500;
  assert.equal(x!.ownership.mayServe('a'), false);
  const backMs = await stage.until(() => x!.serves('a'), 5000);
  assert.ok(backMs !== undefined && backMs > 0, `${backMs} ms`);
  assert.equal(x!.ownership.epochOf('a'), 1);
  stage.end();
});

for (const arrives of [true, false]) {
  test(`a create without an answer that ${arrives ? 'arrived' : 'did not arrive'}: the very same one again, one epoch, one owner`, async () => {
    const { stage, hosts: [x, y] } = await settled(['x', 'y']);
    x!.crash();
      await stage.until(() => y!.ownership.reasonOf('a').startsWith('the lease of x has run out'), 30_000);
    const create = y!.store.create.bind(y!.store);
    let tries = 0;
    y!.store.create = async (key, value, call) => {
      if (!key.startsWith('own.') || ++tries > 1) return create(key, value, call);
      if (arrives) await create(key, value, call);
      throw new StoreError('UNKNOWN', 'no answer');
    };
    const tookMs = await stage.until(() => y!.serves('a'), 5000);
    assert.ok(tookMs !== undefined);
    assert.equal(tries, 2);
    assert.deepEqual(stage.keys('own'), [ownKey('a', 1), ownKey('a', 2)]);
    assert.equal(y!.ownership.epochOf('a'), 2);
    stage.end();
  });
}

test('hand-over: the source serves until it asks, the target at once after, one epoch higher; nobody else interferes', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y', 'z']);
  const given = x!.ownership.handOver('a', y!.owner);
  assert.equal(x!.ownership.mayServe('a'), false);
  assert.equal(x!.ownership.reasonOf('a'), 'being handed over to y');
  const tookMs = await stage.until(() => y!.serves('a'), 5000);
  assert.ok(tookMs !== undefined && tookMs < 100, `${tookMs} ms`);
  await stage.run(100);
  assert.equal(await given, true);
  assert.equal(y!.ownership.epochOf('a'), 2);
  assert.deepEqual(x!.events.at(-1), 'singleton-handed-over a: to host y');
  await stage.run(60_000);
  assert.equal(stage.moves, 1);
  stage.end();
});

test('hand-over to a host that is no candidate: it owns it, renews and serves', async () => {
  const stage = new OwnershipStage();
  const x = stage.host('x');
  const y = stage.host('y', { candidate: false });
  await stage.run(2000);
  // It hears of it by what it is told, not by the store: it had no reason to listen.
  void x.ownership.handOver('a', y.owner);
  await stage.run(1000);
  y.ownership.candidates(['a']);
  assert.ok((await stage.until(() => y.serves('a'), 1000)) !== undefined);
  y.ownership.candidates([]);
  await stage.run(60_000);
  assert.ok(y.serves('a'));
  stage.end();
});

test('release: the next candidate takes it at once, while the other actors of the host stay', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y'], { actors: ['a', 'b'] });
  x!.ownership.candidates(['b']);
  void x!.ownership.release('a');
  const tookMs = await stage.until(() => y!.serves('a'), 10_000);
  assert.ok(tookMs !== undefined && tookMs < 100, `${tookMs} ms`);
  assert.equal(y!.events.at(-1), 'singleton-taken a: it had been given back');
  assert.ok(x!.serves('b'));
  stage.end();
});

test('hand-over without a store: the source has it again, or nobody until it is known; never two', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  x!.store.cut();
  const given = x!.ownership.handOver('a', y!.owner);
  await stage.run(2000);
  x!.store.heal();
  // Nothing had been sent: it goes on as soon as the store is there.
  assert.ok((await stage.until(() => y!.serves('a'), 5000)) !== undefined);
  await stage.run(100);
  assert.equal(await given, true);
  stage.end();
});

// Each hop of the source's calls is a step of the hand-over; the source dies between two of them.
for (const who of ['source', 'target'] as const) for (let step = 0; step < 8; step++) {
  test(`hand-over: the ${who} crashes ${step} hops after it began; one owner within 20 s, never two`, async () => {
    const { stage, hosts: [x, y, z] } = await settled(['x', 'y', 'z']);
    void x!.ownership.handOver('a', y!.owner);
    await stage.run(step + 0.5);
    (who === 'source' ? x! : y!).crash();
    const rest = [x!, y!, z!].filter((host) => !host.isGone);
    assert.ok((await stage.until(() => rest.some((host) => host.serves('a')), 20_000)) !== undefined, rest.map((host) => host.ownership.reasonOf('a')).join('; '));
    await stage.run(30_000);
    stage.end();
  });
}

test('the owner comes back with a renewal between the last look and the fence: nothing is taken, nobody serves twice', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  x!.freeze();
  await stage.until(() => y!.ownership.reasonOf('a').startsWith('the lease of x has run out'), 30_000);
  // x's renewal reaches the store as y's fence is on its way.
  const create = y!.store.create.bind(y!.store);
  let fences = 0;
  y!.store.create = async (key, value, call) => {
    if (key.startsWith('fence.') && fences++ === 0) {
      x!.thaw();
      await stage.stores.connect().put(leaseKey('x', x!.incarnation), new Uint8Array(), long);
    }
    return create(key, value, call);
  };
  await stage.until(() => fences > 0, 1000);
  await stage.run(3000);
  assert.equal(y!.serves('a'), false);
  assert.match(x!.fencedBy ?? '', /host y/);
  assert.deepEqual(stage.keys('own'), [ownKey('a', 1)]);
  assert.ok((await stage.until(() => y!.serves('a'), 20_000)) !== undefined);
  stage.end();
});

test('a listing from before the renewal proves nothing: the lease holds again only after one that began later', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  const gate = <T>(work: () => Promise<T>): { call: () => Promise<T>; open: () => void } => {
    let open = (): void => {};
    const opened = new Promise<void>((resolve) => (open = resolve));
    return { open, call: () => opened.then(work) };
  };
  x!.store.cut();
  await stage.run(15_500);
  // x finds the store again. Its listings are taken before y takes over, and arrive after x's renewal was acknowledged.
  const { put, list } = x!.store;
  const puts: (() => void)[] = [];
  const lists: (() => void)[] = [];
  x!.store.put = (key, value, call) => {
    const { call: go, open } = gate(() => put.call(x!.store, key, value, call));
    puts.push(open);
    return go();
  };
  x!.store.list = async (prefix, call) => {
    const found = await list.call(x!.store, prefix, call);
    await new Promise<void>((resolve) => lists.push(resolve));
    return found;
  };
  x!.store.heal();
  await stage.until(() => lists.length === 3 && puts.length === 1, 2000);
  assert.ok((await stage.until(() => y!.serves('a'), 5000)) !== undefined);
  for (const open of puts) open();
  await stage.run(100);
  x!.store.list = list;
  for (const open of lists) open();
  await stage.run(1000);
  assert.match(x!.fencedBy ?? '', /host y/);
  stage.end();
});

test('renewals acknowledged late: what counts is when they were sent', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y'], { rates: { x: 1, y: 1.4 } });
  const { put } = x!.store;
  let acknowledged = 0;
  x!.store.put = async (key, value, call) => {
    const revision = await put.call(x!.store, key, value, call);
    await new Promise<void>((resolve) => x!.clock.setTimeout(resolve, 1900));
    if (++acknowledged === 3) x!.store.cut();
    return revision;
  };
  // The stage sees to it that x had stopped by then.
  assert.ok((await stage.until(() => y!.serves('a'), 30_000)) !== undefined);
  assert.ok(acknowledged >= 3);
  stage.end();
});

test('brake: nothing is taken from a silent owner while it holds, and soon after; what nobody owns is taken', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  x!.crash();
  stage.braked = true;
  await stage.run(40_000);
  assert.equal(y!.serves('a'), false);
  assert.match(y!.ownership.reasonOf('a'), /the lease of x has run out; too many hosts fell silent/);
  y!.ownership.candidates(['a', 'new']);
  assert.ok((await stage.until(() => y!.serves('new'), 1000)) !== undefined);
  stage.braked = false;
  y!.ownership.candidates(['a', 'new']);
  assert.ok((await stage.until(() => y!.serves('a'), 1000)) !== undefined);
  stage.end();
});

test('at most takeOversPerSecondMax singletons are taken over in a second, and all in the end', async () => {
  const actors = Array.from({ length: 20 }, (_, index) => `a${index}`);
  const { stage, hosts: [x, y] } = await settled(['x', 'y'], { actors });
  assert.ok(actors.every((actor) => x!.serves(actor)));
  x!.crash();
  const count = (): number => actors.filter((actor) => y!.serves(actor)).length;
  await stage.until(() => count() > 0, 30_000);
  await stage.run(1000);
  assert.ok(count() >= 5 && count() <= 10, `${count()}`);
  assert.ok((await stage.until(() => count() === 20, 4000)) !== undefined, `${count()}`);
  stage.end();
});

test('roll-back of the store: a living owner claims its actor again, numbers left out; a dead one is replaced after the brake', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y']);
  const saved = stage.stores.save();
  void x!.ownership.handOver('a', y!.owner);
  await stage.until(() => y!.serves('a'), 5000);
  await stage.run(5000);
  stage.stores.restore(saved);
  // Epoch 2 is lost, the store names x again: only y serves, and says so anew.
  assert.ok((await stage.until(() => y!.ownership.epochOf('a') === 2 + ROLL_BACK_GAP, 10_000)) !== undefined);
  assert.match(y!.events.join(), /store-rolled-back undefined: the store has lost something/);
  await stage.run(70_000);
  assert.equal(stage.moves, 1);

  y!.crash();
  stage.stores.restore(saved);
  const tookMs = await stage.until(() => x!.serves('a'), 100_000);
  assert.ok(tookMs !== undefined && tookMs >= ROLL_BACK_BRAKE_MS && tookMs < ROLL_BACK_BRAKE_MS + 20_000, `${tookMs} ms`);
  assert.equal(x!.ownership.epochOf('a'), 2 + 2 * ROLL_BACK_GAP);
  stage.end();
});

test('clocks that differ by a factor of 1.4: the slow owner stops before the fast candidate starts', async () => {
  const { stage, hosts: [x, y] } = await settled(['x', 'y'], { rates: { x: 1, y: 1.4 } });
  x!.store.cut();
  const tookMs = await stage.until(() => y!.serves('a'), 30_000);
  // 18 s of a clock that runs 1.4 times as fast, from the last renewal before the cut. The stage sees to it that x had stopped.
  assert.ok(tookMs !== undefined && tookMs > 11_800 && tookMs < 13_900, `${tookMs} ms`);
  stage.end();
});

test('watches that hear nothing: the listings alone suffice, later', async () => {
  const { stage, hosts: [x, y] } = await settled(['x']).then(async ({ stage, hosts }) => {
    const y = stage.host('y', { candidate: false });
    y.store.watch = () => () => {};
    y.ownership.candidates(['a']);
    await stage.run(7000);
    return { stage, hosts: [...hosts, y] };
  });
  x!.crash();
  const tookMs = await stage.until(() => y!.serves('a'), 30_000);
  assert.ok(tookMs !== undefined && tookMs <= defaults.leaseMs + defaults.resyncMs + 1000, `${tookMs} ms`);
  stage.end();
});

test('old keys: 100 epochs per actor stay, leases and fences of processes long gone go', async () => {
  const stage = new OwnershipStage();
  const store = stage.stores.connect();
  for (let epoch = 1; epoch <= EPOCHS_KEPT + 25; epoch++) await store.create(ownKey('a', epoch), titleValue(undefined), long);
  await store.put(leaseKey('gone', 'I0'), new Uint8Array(), long);
  await store.create(fenceKey('gone', 'I0'), new Uint8Array(), long);
  const x = stage.host('x');
  await stage.run(30_000);
  assert.equal(x.ownership.epochOf('a'), EPOCHS_KEPT + 26);
  const keys = stage.keys('own');
  assert.equal(keys.length, EPOCHS_KEPT);
  assert.equal(keys[0], ownKey('a', 27));
  assert.deepEqual((stage.keys('lease')).sort(), [leaseKey('gone', 'I0'), leaseKey('x', x.incarnation)]);
  x.ownership.candidates([]);
  // A day, the quick way: at another pace nothing but these keys would change.
  const aged = new Ledger();
  const listings = { leases: await store.list('lease', long), fences: await store.list('fence', long), titles: await store.list('own', long) };
  aged.read(listings, 0);
  assert.deepEqual(aged.old(LEASE_KEPT_MS - 1, LEASE_KEPT_MS), []);
  assert.deepEqual(aged.old(LEASE_KEPT_MS, LEASE_KEPT_MS), [leaseKey('gone', 'I0')]);
  aged.read({ ...listings, leases: { entries: [], lastSequence: 1e6 } }, LEASE_KEPT_MS);
  assert.deepEqual(aged.old(LEASE_KEPT_MS, LEASE_KEPT_MS), [fenceKey('gone', 'I0')]);
  stage.end();
});
