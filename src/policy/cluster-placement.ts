/**
 * Which host runs how many replicas of which actor, on which device. A pure function: every host works it out from its
 * own view and takes its share, so there is no leader to lose. Views that differ for a beat double a replica or miss one
 * for that long; what must exist only once goes through lease.ts.
 *
 * For one actor the hosts stand in a fixed order (device it would rather have, then rendezvous); its slots are the first
 * replica on each of them, then the second on each, and so on. Wanted are the first `replicas` slots with room. Rooms go
 * in three rounds over all actors, by name: what is ready and stands well stays, then slots that are free now, then
 * slots that become free when a surplus replica of somebody else goes. So nobody is pushed out while there is a place.
 *
 * It moves nothing for load's sake, and it does not say when a surplus replica may go: surplus.ts does.
 */
import { hostAt, hostOrder, keyOf, type HostOrder } from './host-order.js';
import { hashOf, scoreOfHashes } from './rendezvous.js';

export interface ActorWish {
  readonly name: string;
  readonly hash: string;
  /** In the cluster. */
  readonly replicas: number;
  /** In order of preference. */
  readonly devices: readonly string[];
  /** Name of the module it runs; absent for models. */
  readonly module?: string;
  /** Asked for by host files alone: nobody else can take it up. */
  readonly fileOnly?: true;
}

export interface HostOffer {
  readonly host: string;
  /** Not dead; a suspect keeps its places. */
  readonly alive: boolean;
  readonly draining: boolean;
  /** Absent capacity: no limit. */
  readonly devices: readonly { readonly id: string; readonly capacity?: number | undefined; readonly usable: boolean }[];
  /** Specs it has itself, by hash. */
  readonly hashes: ReadonlySet<string>;
  /** Modules a cluster's desired state may run on it. */
  readonly modules: ReadonlySet<string>;
  /** It can get the file of any model (from the store). */
  readonly fetches: boolean;
  /** Its pool of the actor gave up there; `due`: it may be tried again, and still counts as a host it gave up on. */
  readonly paused: readonly { readonly actor: string; readonly device: string; readonly due?: boolean }[];
  /** Of the actor's present hash. */
  readonly ready: readonly { readonly actor: string; readonly device: string; readonly count: number }[];
}

export interface Placed {
  readonly host: string;
  readonly device: string;
  readonly count: number;
  /** Its pools gave up wherever it may be: one replica, at the longest backoff, for as long as it takes. */
  readonly lastResort?: true;
}

/** An entry for every actor, best place first; empty: there is no place. */
export type Placement = ReadonlyMap<string, readonly Placed[]>;

/** @param hostsMax distinct hosts an actor's pools may give up on before it is tried on no further one */
export function placement(actors: readonly ActorWish[], hosts: readonly HostOffer[], hostsMax: number): Placement {
  const ground = groundOf(hosts);
  const walks = [...actors].sort((a, b) => (a.name < b.name ? -1 : 1)).map((actor) => walkOf(actor, ground, hostsMax));
  for (const walk of walks) keepReady(walk, ground);
  for (const walk of walks) fill(walk, ground, true);
  for (const walk of walks) fill(walk, ground, false);
  return new Map(walks.map((walk) => [walk.actor.name, placedOf(walk, ground)]));
}

// ------------------------------------------------------------------------------------------------------------ ground

/** The hosts that take replicas, by index, and the room on their devices, by another. */
interface Ground {
  readonly hosts: readonly HostOffer[];
  readonly hashes: Uint32Array;
  /** Hosts with the same usable devices share a kind. */
  readonly kindOf: readonly number[];
  /** 1: it can get the file of any model. */
  readonly fetches: Uint8Array;
  readonly kinds: readonly ReadonlySet<string>[];
  readonly roomOf: readonly ReadonlyMap<string, number>[];
  readonly capacity: number[];
  /** Replicas placed so far. */
  readonly used: number[];
  /** Replicas that run there and are not placed there so far. */
  readonly unclaimed: number[];
  /** By actor. */
  readonly ready: ReadonlyMap<string, readonly ReadyAt[]>;
  /** By actor, then by host: devices. */
  readonly paused: ReadonlyMap<string, ReadonlyMap<number, ReadonlySet<string>>>;
  /** Room for one key per host, for one actor after the other. */
  readonly keys: Float64Array;
}

/** A flat list per actor: most have a handful, and one is made for every replica of the cluster at every change. */
interface ReadyAt {
  readonly host: number;
  readonly device: string;
  readonly count: number;
}

function groundOf(offers: readonly HostOffer[]): Ground {
  const hosts = offers.filter((offer) => offer.alive && !offer.draining).sort((a, b) => (a.host < b.host ? -1 : 1));
  const kindIndex = new Map<string, number>();
  const kinds: ReadonlySet<string>[] = [];
  const capacity: number[] = [];
  const used: number[] = [];
  const unclaimed: number[] = [];
  const ready = new Map<string, ReadyAt[]>();
  const paused = new Map<string, Map<number, Set<string>>>();
  const kindOf: number[] = [];
  const roomOf: Map<string, number>[] = [];
  hosts.forEach((offer, index) => {
    const usable = offer.devices.filter((device) => device.usable).map((device) => device.id).sort();
    const name = usable.join(' ');
    let kind = kindIndex.get(name);
    if (kind === undefined) {
      kind = kinds.push(new Set(usable)) - 1;
      kindIndex.set(name, kind);
    }
    kindOf.push(kind);
    const rooms = new Map<string, number>();
    for (const device of offer.devices) {
      rooms.set(device.id, capacity.push(device.capacity ?? Infinity) - 1);
      used.push(0);
      unclaimed.push(0);
    }
    roomOf.push(rooms);
    for (const { actor, device, count } of offer.ready) {
      const room = rooms.get(device);
      if (room === undefined || count <= 0) continue;
      unclaimed[room]! += count;
      const known = ready.get(actor);
      if (known) known.push({ host: index, device, count });
      else ready.set(actor, [{ host: index, device, count }]);
    }
    for (const { actor, device, due } of offer.paused) {
      const against = entry(entry(paused, actor, () => new Map<number, Set<string>>()), index, () => new Set());
      if (!due) against.add(device);
    }
  });
  return { hosts, hashes: Uint32Array.from(hosts, (offer) => hashOf(offer.host)), fetches: Uint8Array.from(hosts, (offer) => Number(offer.fetches)), kindOf, kinds, roomOf, capacity, used, unclaimed, ready, paused, keys: new Float64Array(hosts.length) };
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}

/** Asked for every pair of an actor and a host: looking a hash up in each host's set comes last, because it takes most of the time. */
const runs = (offer: HostOffer, actor: ActorWish): boolean =>
  (!actor.fileOnly && (actor.module === undefined ? offer.fetches : offer.modules.has(actor.module))) || offer.hashes.has(actor.hash);

// -------------------------------------------------------------------------------------------------------------- walk

/** One actor on its way along its slots. */
interface Walk {
  readonly actor: ActorWish;
  readonly ready: readonly ReadyAt[];
  readonly order: HostOrder;
  /** Replicas placed, by position in the order. */
  readonly counts: number[];
  missing: number;
  readonly lastResort: boolean;
}

/** Beyond the slots it needs an actor looks when hosts are full; a few more are cheap to have. */
const SPARE_SLOTS = 3;

function walkOf(actor: ActorWish, ground: Ground, hostsMax: number): Walk {
  const ready = ground.ready.get(actor.name) ?? none;
  const { keys } = ground;
  const found = candidates(actor, ground, hostsMax, ready, keys);
  const paused = ground.paused.get(actor.name);
  if (found > 0 || paused === undefined) {
    const again = (): Float64Array => {
      const all = new Float64Array(found);
      candidates(actor, ground, hostsMax, ready, all);
      return all;
    };
    return { actor, ready, order: hostOrder(keys, found, keys.length, actor.replicas + SPARE_SLOTS, again), counts: [], missing: actor.replicas, lastResort: false };
  }
  const last = lastResorts(actor, ground, paused);
  return { actor, ready, order: hostOrder(last, last.length, keys.length, 1, () => last), counts: [], missing: Math.min(1, actor.replicas), lastResort: true };
}

const none: readonly ReadyAt[] = [];

/** Writes the keys of the hosts it may run on. @returns how many */
function candidates(actor: ActorWish, ground: Ground, hostsMax: number, ready: readonly ReadyAt[], keys: Float64Array): number {
  const { hosts, hashes, fetches, kindOf, kinds } = ground;
  const paused = ground.paused.get(actor.name);
  const fetched = !actor.fileOnly && actor.module === undefined;
  const stays = (paused?.size ?? 0) >= hostsMax;
  const actorHash = hashOf(actor.name);
  const rankOfKind = kinds.map((usable) => actor.devices.findIndex((device) => usable.has(device)));
  let found = 0;
  for (let host = 0; host < hosts.length; host++) {
    const pauses = paused === undefined ? undefined : paused.get(host);
    // Where it is, or was tried already, it may be; that is no further host.
    if (stays && pauses === undefined && !ready.some((each) => each.host === host)) continue;
    const kind = kindOf[host]!;
    const rank = pauses === undefined ? rankOfKind[kind]! : actor.devices.findIndex((device) => kinds[kind]!.has(device) && !pauses.has(device));
    if (rank < 0 || !((fetched && fetches[host] === 1) || runs(hosts[host]!, actor))) continue;
    keys[found++] = keyOf(rank, scoreOfHashes(actorHash, hashes[host]!), host, hosts.length);
  }
  return found;
}

/** As within a host (devices.ts): the last one of the list is the one its operator trusts most to be there. */
function lastResorts(actor: ActorWish, ground: Ground, paused: ReadonlyMap<number, ReadonlySet<string>>): Float64Array {
  const { hosts, hashes, kindOf, kinds } = ground;
  const actorHash = hashOf(actor.name);
  const keys: number[] = [];
  for (const [host, pauses] of paused) {
    const rank = actor.devices.findLastIndex((device) => kinds[kindOf[host]!]!.has(device) && pauses.has(device));
    if (rank < 0 || !runs(hosts[host]!, actor)) continue;
    keys.push(keyOf(rank, scoreOfHashes(actorHash, hashes[host]!), host, hosts.length));
  }
  return Float64Array.from(keys);
}

/** Takes the next slot at a position of the order if its device has room. */
function claim(walk: Walk, ground: Ground, position: number, room: 'own' | 'free' | 'promised'): boolean {
  const { host, rank } = hostAt(walk.order, position);
  const device = walk.actor.devices[rank]!;
  const index = ground.roomOf[host]!.get(device)!;
  const count = walk.counts[position] ?? 0;
  const isOwn = readyAt(walk.ready, host, device) > count;
  if (room === 'own' && !isOwn) return false;
  const taken = ground.used[index]! + (room === 'free' && !isOwn ? ground.unclaimed[index]! : 0);
  if (taken >= ground.capacity[index]!) return false;
  if (isOwn) ground.unclaimed[index]! -= 1;
  ground.used[index]! += 1;
  walk.counts[position] = count + 1;
  walk.missing -= 1;
  return true;
}

function readyAt(ready: readonly ReadyAt[], host: number, device: string): number {
  let count = 0;
  for (const each of ready) if (each.host === host && each.device === device) count += each.count;
  return count;
}

/** What is ready within the first `replicas + 1` slots stays where it is; beyond `replicas` only where it is the first on its host. */
function keepReady(walk: Walk, ground: Ground): void {
  const { length } = walk.order;
  if (length === 0 || walk.ready.length === 0) return;
  const slots = walk.actor.replicas < length ? walk.actor.replicas + 1 : walk.actor.replicas;
  for (let slot = 0; slot < slots && walk.missing > 0; slot++) {
    const position = slot % length;
    if ((walk.counts[position] ?? 0) === Math.floor(slot / length)) claim(walk, ground, position, 'own');
  }
}

function fill(walk: Walk, ground: Ground, freeNow: boolean): void {
  let more = true;
  for (let round = 0; more && walk.missing > 0; round++) {
    more = false;
    for (let position = 0; position < walk.order.length && walk.missing > 0; position++) {
      const count = walk.counts[position] ?? 0;
      if (count === round) claim(walk, ground, position, freeNow ? 'free' : 'promised');
      if ((walk.counts[position] ?? 0) > round) more = true;
    }
  }
}

function placedOf(walk: Walk, ground: Ground): readonly Placed[] {
  const placed: Placed[] = [];
  walk.counts.forEach((count, position) => {
    if (count === 0) return;
    const { host, rank } = hostAt(walk.order, position);
    placed.push({ host: ground.hosts[host]!.host, device: walk.actor.devices[rank]!, count, ...(walk.lastResort && { lastResort: true as const }) });
  });
  return placed;
}
