import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { placement, type ActorWish, type HostOffer, type Placed, type Placement } from '../../src/policy/cluster-placement.js';
import { rankHosts } from '../../src/policy/rendezvous.js';

const HOSTS_MAX = 2;
const nothing: ReadonlySet<string> = new Set();
const actor = (name: string, replicas = 1, devices: readonly string[] = ['cpu'], module?: string): ActorWish => ({ name, hash: `#${name}`, replicas, devices, ...(module !== undefined && { module }) });
const host = (name: string, part: Partial<HostOffer> = {}): HostOffer => ({
  host: name, alive: true, draining: false, devices: [{ id: 'cpu', usable: true }], hashes: nothing, modules: nothing, fetches: true, paused: [], ready: [], ...part,
});
const hostsOf = (names: readonly string[]): HostOffer[] => names.map((name) => host(name));
const place = (actors: readonly ActorWish[], hosts: readonly HostOffer[]): Placement => placement(actors, hosts, HOSTS_MAX);
const told = (placed: readonly Placed[] | undefined): string[] => (placed ?? []).map(({ host: name, device, count, lastResort }) => `${name} ${device} ${count}${lastResort ? ' last' : ''}`);
const gpu = (capacity?: number, usable = true) => ({ id: 'cuda:0', usable, ...(capacity !== undefined && { capacity }) });
const cpu = (capacity?: number) => ({ id: 'cpu', usable: true, ...(capacity !== undefined && { capacity }) });
const total = (placed: readonly Placed[] | undefined): number => (placed ?? []).reduce((sum, { count }) => sum + count, 0);

/** The same hosts with everything ready where it was placed. */
const settled = (hosts: readonly HostOffer[], placed: Placement): HostOffer[] =>
  hosts.map((offer) => ({ ...offer, ready: [...placed].flatMap(([name, places]) => places.filter((each) => each.host === offer.host).map(({ device, count }) => ({ actor: name, device, count }))) }));

const abc = ['a', 'b', 'c'];
const [first, second, third] = rankHosts('x', abc) as [string, string, string];

test('slots: the first replica on every host in rendezvous order, then the second on every host', () => {
  for (let replicas = 1; replicas <= 7; replicas++) {
    const wanted = [first, second, third].map((name, position) => `${name} cpu ${Math.ceil((replicas - position) / 3)}`).filter((line) => !line.endsWith(' 0'));
    assert.deepEqual(told(place([actor('x', replicas)], hostsOf(abc)).get('x')), wanted);
  }
});

test('hosts with a device the actor would rather have come first, whatever rendezvous says', () => {
  const hosts = [host(first), host(second), host(third, { devices: [cpu(), gpu()] })];
  assert.deepEqual(told(place([actor('x', 2, ['cuda:0', 'cpu'])], hosts).get('x')), [`${third} cuda:0 1`, `${first} cpu 1`]);
  const broken = [host(first), host(second), host(third, { devices: [cpu(), gpu(1, false)] })];
  assert.deepEqual(told(place([actor('x', 1, ['cuda:0', 'cpu'])], broken).get('x')), [`${first} cpu 1`]);
  assert.deepEqual(told(place([actor('x', 1, ['cuda:0'])], broken).get('x')), []);
});

test('dead and draining hosts get nothing, also what is ready there', () => {
  const ready = [{ actor: 'x', device: 'cpu', count: 1 }];
  for (const part of [{ alive: false }, { draining: true }]) {
    assert.deepEqual(told(place([actor('x', 3)], [host(first, { ...part, ready }), host(second), host(third)]).get('x')), [`${second} cpu 2`, `${third} cpu 1`]);
  }
  assert.deepEqual(told(place([actor('x')], []).get('x')), []);
});

test('a host runs what it has the spec of, models it can fetch, and modules it names', () => {
  const model = actor('x');
  const module = actor('x', 1, ['cpu'], 'sum');
  const runs = (wish: ActorWish, part: Partial<HostOffer>): boolean => total(place([wish], [host('a', { fetches: false, ...part })]).get('x')) === 1;
  for (const wish of [model, module]) {
    assert.equal(runs(wish, {}), false);
    assert.equal(runs(wish, { hashes: new Set(['#x']) }), true);
    assert.equal(runs(wish, { fetches: true }), wish === model);
    assert.equal(runs(wish, { modules: new Set(['sum']) }), wish === module);
  }
});

test('sticky: what is ready within the first replicas + 1 slots stays, what is ready further back moves', () => {
  const readyOn = (name: string): HostOffer[] => abc.map((each) => host(each, each === name ? { ready: [{ actor: 'x', device: 'cpu', count: 1 }] } : {}));
  assert.deepEqual([first, second, third].map((name) => told(place([actor('x')], readyOn(name)).get('x'))[0]), [`${first} cpu 1`, `${second} cpu 1`, `${first} cpu 1`]);
  // All of them ready: the first ones are wanted.
  const all = abc.map((each) => host(each, { ready: [{ actor: 'x', device: 'cpu', count: 1 }] }));
  assert.deepEqual(told(place([actor('x', 2)], all).get('x')), [`${first} cpu 1`, `${second} cpu 1`]);
});

test('sticky: ready on another device than the host would use now is not in place', () => {
  const hosts = [host('a', { devices: [cpu(), gpu()], ready: [{ actor: 'x', device: 'cpu', count: 1 }] })];
  assert.deepEqual(told(place([actor('x', 1, ['cuda:0', 'cpu'])], hosts).get('x')), ['a cuda:0 1']);
});

test('paused: the next device of the host, then other hosts', () => {
  const wish = actor('x', 1, ['cuda:0', 'cpu']);
  const paused = [{ actor: 'x', device: 'cuda:0' }];
  const devices = [cpu(), gpu()];
  assert.deepEqual(told(place([wish], [host(first, { devices, paused }), host(second, { devices })]).get('x')), [`${second} cuda:0 1`]);
  assert.deepEqual(told(place([wish], [host(first, { devices, paused }), host(second)]).get('x')), [`${first} cpu 1`]);
  assert.deepEqual(told(place([wish], [host(first, { devices, paused: [{ actor: 'y', device: 'cuda:0' }] }), host(second, { devices })]).get('x')), [`${first} cuda:0 1`]);
});

test('hostsMax: an actor that gave up on so many hosts is tried on no further one and stays as last resort on the first', () => {
  const paused = [{ actor: 'x', device: 'cpu' }];
  assert.deepEqual(told(place([actor('x', 3)], [host(first, { paused }), host(second), host(third)]).get('x')), [`${second} cpu 2`, `${third} cpu 1`]);
  assert.deepEqual(told(place([actor('x', 3)], [host(first), host(second, { paused }), host(third, { paused })]).get('x')), [`${second} cpu 1 last`]);
  // Where it is ready it may be.
  const ready = [{ actor: 'x', device: 'cpu', count: 1 }];
  assert.deepEqual(told(place([actor('x', 1)], [host(first, { paused }), host(second, { paused }), host(third, { ready })]).get('x')), [`${third} cpu 1`]);
  // Only one host there is, and it gave up: it goes on there.
  assert.deepEqual(told(place([actor('x', 3)], [host('a', { paused })]).get('x')), ['a cpu 1 last']);
  // A draining host's pauses leave with it.
  assert.deepEqual(told(place([actor('x')], [host(first, { paused, draining: true }), host(second, { paused, draining: true }), host(third)]).get('x')), [`${third} cpu 1`]);
});

test('last resort: the last usable device of its wishes, as within a host', () => {
  const paused = [{ actor: 'x', device: 'cpu' }, { actor: 'x', device: 'cuda:0' }];
  assert.deepEqual(told(place([actor('x', 1, ['cuda:0', 'cpu'])], [host('a', { devices: [gpu(), cpu()], paused })]).get('x')), ['a cpu 1 last']);
  assert.deepEqual(told(place([actor('x', 1, ['cpu', 'cuda:0'])], [host('a', { devices: [gpu(), cpu()], paused })]).get('x')), ['a cuda:0 1 last']);
});

test('capacity: what is ready keeps its room before a new actor, then names decide', () => {
  const one = [host('a', { devices: [cpu(1)] })];
  assert.deepEqual([...place([actor('y'), actor('x')], one)].map(([name, placed]) => [name, total(placed)]), [['x', 1], ['y', 0]]);
  const taken = [host('a', { devices: [cpu(1)], ready: [{ actor: 'y', device: 'cpu', count: 1 }] })];
  assert.deepEqual([...place([actor('y'), actor('x')], taken)].map(([name, placed]) => [name, total(placed)]), [['x', 0], ['y', 1]]);
});

test('capacity: two actors on each other\'s best place stay where they are instead of waiting for each other', () => {
  const names = ['a', 'b', 'c', 'd'];
  const full = (name: string): boolean => rankHosts(name, names)[0] === 'a';
  const wishes = Array.from({ length: 200 }, (_, index) => `m${index}`);
  const wantsA = wishes.find((name) => full(name) && rankHosts(name, names)[3] === 'b')!;
  const wantsB = wishes.find((name) => rankHosts(name, names)[0] === 'b' && rankHosts(name, names)[3] === 'a')!;
  const others = ['c', 'd'].map((name) => host(name, { devices: [cpu(1)], ready: [{ actor: `other-${name}`, device: 'cpu', count: 1 }] }));
  const hosts = [
    host('a', { devices: [cpu(1)], ready: [{ actor: wantsB, device: 'cpu', count: 1 }] }),
    host('b', { devices: [cpu(1)], ready: [{ actor: wantsA, device: 'cpu', count: 1 }] }),
    ...others,
  ];
  const placed = place([actor(wantsA), actor(wantsB)], hosts);
  assert.deepEqual([told(placed.get(wantsA)), told(placed.get(wantsB))], [['b cpu 1'], ['a cpu 1']]);
  // An actor that runs nowhere does wait for a room that somebody leaves.
  const waiting = place([actor('new'), actor('y')], [host('a', { devices: [cpu(1)], ready: [{ actor: 'gone', device: 'cpu', count: 1 }] })]);
  assert.equal(total(waiting.get('new')), 1);
});

// ------------------------------------------------------------------------------------------------------------- random

const deviceIds = ['cpu', 'cuda:0', 'cuda:1'];
const wishes = fc.uniqueArray(
  fc.record({ name: fc.constantFrom(...Array.from({ length: 12 }, (_, index) => `m${index}`)), replicas: fc.integer({ min: 1, max: 6 }), devices: fc.shuffledSubarray(deviceIds, { minLength: 1 }) }),
  { selector: ({ name }) => name, maxLength: 12 },
).map((list) => list.map(({ name, replicas, devices }) => actor(name, replicas, devices)));
const offers = (names: readonly string[]): fc.Arbitrary<HostOffer[]> => {
  const at = fc.record({ actor: fc.constantFrom(...Array.from({ length: 12 }, (_, index) => `m${index}`)), device: fc.constantFrom(...deviceIds) });
  return fc.tuple(...names.map((name) => fc.record({
    alive: fc.boolean().map((dead) => !dead || name !== 'h0'),
    draining: fc.integer({ min: 0, max: 5 }).map((chance) => chance === 0),
    devices: fc.subarray(deviceIds).chain((ids) => fc.tuple(...ids.map((id) => fc.record({ usable: fc.integer({ min: 0, max: 4 }).map((chance) => chance > 0), capacity: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }) })
      .map((rest) => ({ id, ...rest }))))),
    paused: fc.array(at, { maxLength: 4 }),
    ready: fc.uniqueArray(fc.record({ actor: at.map((each) => each.actor), device: fc.constantFrom(...deviceIds), count: fc.integer({ min: 1, max: 3 }) }), { selector: (each) => `${each.actor} ${each.device}`, maxLength: 5 }),
  }).map((part) => host(name, part)))) as fc.Arbitrary<HostOffer[]>;
};
const clusters = fc.record({ actors: wishes, hosts: offers(['h0', 'h1', 'h2', 'h3', 'h4']) });

const shuffled = <T>(list: readonly T[], seed: number): T[] => list.map((value, index) => ({ value, key: Math.imul(index + 1, seed | 1) >>> 0 })).sort((a, b) => a.key - b.key).map(({ value }) => value);

test('any cluster: never over a capacity, only usable places, never more than wanted, and the same for any order of the inputs', () => {
  fc.assert(fc.property(clusters, fc.nat(), ({ actors, hosts }, seed) => {
    const placed = place(actors, hosts);
    const used = new Map<string, number>();
    assert.deepEqual([...placed.keys()].sort(), actors.map(({ name }) => name).sort());
    for (const { name, replicas, devices } of actors) {
      const places = placed.get(name)!;
      assert.ok(total(places) <= replicas);
      assert.equal(new Set(places.map((each) => each.host)).size, places.length);
      for (const { host: at, device, count, lastResort } of places) {
        const offer = hosts.find((each) => each.host === at)!;
        assert.ok(count > 0 && offer.alive && !offer.draining && devices.includes(device));
        assert.ok(offer.devices.some(({ id, usable }) => id === device && usable));
        assert.equal(offer.paused.some((pause) => pause.actor === name && pause.device === device), lastResort === true);
        used.set(`${at} ${device}`, (used.get(`${at} ${device}`) ?? 0) + count);
      }
    }
    for (const offer of hosts) for (const { id, capacity } of offer.devices) assert.ok((used.get(`${offer.host} ${id}`) ?? 0) <= (capacity ?? Infinity));
    const other = place(shuffled(actors, seed), shuffled(hosts, seed).map((each) => ({ ...each, ready: shuffled(each.ready, seed), paused: shuffled(each.paused, seed), devices: shuffled(each.devices, seed) })));
    assert.deepEqual([...other], [...placed]);
  }), { numRuns: 500 });
});

test('any cluster: a wanted replica is missing only where every device it may use is full', () => {
  fc.assert(fc.property(clusters, ({ actors, hosts }) => {
    const placed = place(actors, hosts);
    const used = (at: string, device: string): number => [...placed.values()].flat().filter((each) => each.host === at && each.device === device).reduce((sum, { count }) => sum + count, 0);
    for (const { name, replicas, devices } of actors) {
      const places = placed.get(name)!;
      if (total(places) >= replicas || places.some(({ lastResort }) => lastResort)) continue;
      const takers = hosts.filter(({ alive, draining }) => alive && !draining);
      const stays = takers.filter(({ paused }) => paused.some((pause) => pause.actor === name)).length >= HOSTS_MAX;
      for (const offer of takers) {
        const isThere = [...offer.paused, ...offer.ready.filter(({ device }) => offer.devices.some(({ id }) => id === device))].some((each) => each.actor === name);
        const device = devices.find((id) => offer.devices.some((each) => each.id === id && each.usable) && !offer.paused.some((pause) => pause.actor === name && pause.device === id));
        if (device === undefined || (stays && !isThere)) continue;
        assert.ok(used(offer.host, device) >= offer.devices.find(({ id }) => id === device)!.capacity!, `${name} could be on ${offer.host} ${device}`);
      }
    }
  }), { numRuns: 500 });
});

test('any cluster: once everything is ready where it was placed, placement comes to rest and stays there', () => {
  fc.assert(fc.property(clusters, ({ actors, hosts }) => {
    let now = settled(hosts, place(actors, hosts));
    // Last resorts are not ready, and their pauses go on; all others are where they were placed.
    for (let round = 0; round < 40; round++) {
      const placed = place(actors, now);
      const next = settled(now, placed);
      if (JSON.stringify(next.map(({ ready }) => [...ready].sort((a, b) => (a.actor < b.actor ? -1 : 1)))) === JSON.stringify(now.map(({ ready }) => [...ready].sort((a, b) => (a.actor < b.actor ? -1 : 1))))) return;
      now = next;
    }
    assert.fail('it keeps moving');
  }), { numRuns: 300 });
});

test('the loss of one host moves only what was on it; its return moves nothing back that is ready', () => {
  const names = Array.from({ length: 12 }, (_, index) => `host${index}`);
  const actors = Array.from({ length: 200 }, (_, index) => actor(`m${index}`, 1 + (index % 4)));
  let hosts = settled(hostsOf(names), place(actors, hostsOf(names)));
  const before = place(actors, hosts);
  for (const lost of names) {
    const without = place(actors, hosts.map((offer) => (offer.host === lost ? { ...offer, alive: false, ready: [] } : offer)));
    let moved = 0;
    let held = 0;
    for (const { name } of actors) {
      const was = before.get(name)!;
      const is = new Map(without.get(name)!.map((each) => [each.host, each.count]));
      for (const { host: at, count } of was) {
        if (at === lost) held += count;
        else assert.ok((is.get(at) ?? 0) >= count, `${name} left ${at}`);
        is.set(at, (is.get(at) ?? 0) - count);
      }
      moved += [...is.values()].filter((count) => count > 0).reduce((sum, count) => sum + count, 0);
    }
    assert.equal(moved, held);
    hosts = settled(hosts.map((offer) => (offer.host === lost ? { ...offer, ready: [] } : offer)), without);
    assert.deepEqual(place(actors, hosts), new Map([...without].map(([name, places]) => [name, places])), `${lost} is back`);
    hosts = settled(hostsOf(names), before);
  }
});

test('large: 300 hosts, 5,000 actors, 20,000 replicas are all placed, evenly, within every capacity', () => {
  const capacity = 40;
  const names = Array.from({ length: 300 }, (_, index) => `host-${index}`);
  const hosts = names.map((name, index) => host(name, { devices: index % 3 === 0 ? [cpu(capacity * 4), gpu(capacity)] : [cpu(capacity * 4)] }));
  const actors = Array.from({ length: 5000 }, (_, index) => actor(`actor-${index}`, 4, index % 5 === 0 ? ['cuda:0', 'cpu'] : ['cpu']));
  const placed = place(actors, hosts);
  assert.equal([...placed.values()].reduce((sum, places) => sum + total(places), 0), 20_000);
  const used = new Map<string, number>();
  for (const { host: at, device, count } of [...placed.values()].flat()) used.set(`${at} ${device}`, (used.get(`${at} ${device}`) ?? 0) + count);
  for (const name of names) {
    assert.ok((used.get(`${name} cpu`) ?? 0) <= capacity * 4);
    assert.ok((used.get(`${name} cuda:0`) ?? 0) <= capacity);
    assert.ok((used.get(`${name} cpu`) ?? 0) > 20, `${name} is idle`);
  }
  assert.deepEqual(place(actors, settled(hosts, placed)), placed);
});

test('an actor whose best hosts are full goes on along the same order, however far', () => {
  const names = Array.from({ length: 40 }, (_, index) => `h${index}`);
  const order = rankHosts('x', names);
  const full = { devices: [cpu(1)] };
  for (const free of [0, 3, 4, 5, 20, 38]) {
    const hosts = names.map((name) => host(name, order.indexOf(name) < free ? { ...full, ready: [{ actor: `other-${name}`, device: 'cpu', count: 1 }] } : {}));
    assert.deepEqual(told(place([actor('x', 2)], hosts).get('x')), [`${order[free]} cpu 1`, `${order[free + 1]} cpu 1`]);
  }
});
