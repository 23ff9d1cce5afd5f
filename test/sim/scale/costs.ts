/**
 * What one host pays at a given size, measured on the real code: CPU time of this process, because the machine may be
 * shared and waiting costs a host nothing. Garbage collection is in it.
 */
import { Shares, type Held, type Share } from '../../../src/cluster/shares.js';
import type { Neighbour } from '../../../src/cluster/membership.js';
import { emptyView, heard, tick, type DetectorView } from '../../../src/policy/detector.js';
import { placement, type HostOffer } from '../../../src/policy/cluster-placement.js';
import { decodeBeat, encodeBeat } from '../../../src/protocol/beat.js';
import { decodeHostState, encodeHostState, type HostState } from '../../../src/protocol/host-state.js';
import { SimTime } from '../sim-time.js';
import { capacityOf, DEVICE, hostName, incarnationOf, stateOf, wishesOf, type Running, type Size } from './cast.js';

export interface Costs {
  readonly stateBytes: number;
  readonly beatBytes: number;
  /** One look at everything (Shares), and of it the placement alone. */
  readonly lookMs: number;
  readonly placementMs: number;
  readonly decodeStateMs: number;
  readonly encodeStateMs: number;
  /** A beat that was heard: decoded and judged. */
  readonly beatMs: number;
  /** The detector's look at everybody, once per own beat. */
  readonly tickMs: number;
}

const LIMITS = { beatMs: 500, suspectAfterMs: 1500, deadAfterMs: 3000, forgetMs: 600_000 };

/** Median CPU milliseconds of one call, over batches that are long enough to be measured. */
export function cpuMsOf(call: () => void, batchMs = 30, batches = 5): number {
  const once = (calls: number): number => {
    const before = process.cpuUsage();
    for (let i = 0; i < calls; i++) call();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 / calls;
  };
  once(1);
  const first = once(2);
  const calls = Math.max(1, Math.min(20_000, Math.round(batchMs / Math.max(first, 1e-4))));
  const taken = Array.from({ length: batches }, () => once(calls)).sort((a, b) => a - b);
  return taken[taken.length >> 1]!;
}

/** Where everything stands when nothing ever failed: by host, then by actor. */
export function settledRunning(size: Size): Map<string, Map<string, Running>> {
  const wishes = wishesOf(size);
  const hosts = Array.from({ length: size.hosts }, (_, index) => hostName(index));
  const offers: HostOffer[] = hosts.map((host) => ({
    host, alive: true, draining: false, devices: [{ id: DEVICE, capacity: capacityOf(size), usable: true }], hashes: new Set(), modules: new Set(), fetches: true, paused: [], ready: [],
  }));
  const running = new Map(hosts.map((host) => [host, new Map<string, Running>()]));
  const placed = placement(wishes, offers, 2);
  for (const wish of wishes) for (const { host, count } of placed.get(wish.name)!) running.get(host)!.set(wish.name, { wish, wanted: count, ready: count });
  return running;
}

export function measureCosts(size: Size): Costs {
  const wishes = wishesOf(size);
  const running = settledRunning(size);
  const states: HostState[] = [...running].map(([host, actors], index) => ({ ...stateOf(size, host, incarnationOf(index), actors.values()), version: 1 }));
  const encoded = states.map(encodeHostState);
  const decoded = encoded.map((bytes) => decodeHostState(bytes)!);
  const beats = states.map(({ incarnation }, index) => encodeBeat({ incarnation, sequence: 100_000 + index, load: 12, stateVersion: 40, storeSequence: 123_456 }));
  let at = 0;
  const next = <T>(list: readonly T[]): T => list[at++ % list.length]!;

  const offers = decoded.map((state): HostOffer => ({
    ...state, alive: true, hashes: new Set(state.actors.map(({ hash }) => hash)), modules: new Set(), fetches: true,
    ready: state.actors.map(({ name, device, ready }) => ({ actor: name, device: device!, count: ready })),
  }));
  const view = fullView(beats);
  let heardView = view;
  let sequence = 200_000;
  const beatHeard = (): void => {
    const index = at++ % (size.hosts - 1);
    const beat = decodeBeat(beats[index + 1]!)!;
    heardView = heard(heardView, hostName(index + 1), { ...beat, sequence: sequence++ }, 1).view;
  };
  return {
    stateBytes: encoded.reduce((sum, { length }) => sum + length, 0) / encoded.length,
    beatBytes: beats[0]!.length,
    lookMs: lookCost(wishes, decoded, [...running.values()][0]!),
    placementMs: cpuMsOf(() => placement(wishes, offers, 2)),
    decodeStateMs: cpuMsOf(() => decodeHostState(next(encoded))),
    encodeStateMs: cpuMsOf(() => encodeHostState(next(states))),
    beatMs: cpuMsOf(beatHeard),
    tickMs: cpuMsOf(() => tick(view, 100, 100, LIMITS)),
  };
}

function fullView(beats: readonly Uint8Array[]): DetectorView {
  let view = emptyView;
  beats.forEach((beat, index) => { if (index > 0) view = heard(view, hostName(index), decodeBeat(beat)!, 0).view; });
  return view;
}

/** The first host looks, again and again. */
function lookCost(wishes: ReturnType<typeof wishesOf>, states: readonly HostState[], own: ReadonlyMap<string, Running>): number {
  const members: Neighbour[] = states.slice(1).map((state) => ({ host: state.host, incarnation: state.incarnation, liveness: 'alive', reason: '', load: 0, silentSinceMs: undefined, storeSequence: 0, state }));
  const held = new Map<string, Held>([...own].map(([actor, { wanted }]) => [actor, { count: wanted, device: DEVICE }]));
  let decided: ReadonlyMap<string, Share> = new Map();
  const clock = new Pushed();
  const shares = new Shares({
    clock, own: () => states[0]!, members: () => members, wishes: () => wishes, held: () => held, limits: { suspectAfterMs: LIMITS.suspectAfterMs, hostsMax: 2 },
    decided: (all) => { decided = all; }, braked: () => {},
  });
  shares.open();
  const took = cpuMsOf(() => {
    shares.changed();
    clock.push();
  });
  shares.close();
  for (const [actor, { count }] of held) if (decided.get(actor)?.count !== count) throw new Error(`a settled host was given another share of ${actor}`);
  return took;
}

/** Time that passes only when the next timer is fired by hand. */
class Pushed extends SimTime {
  #next: (() => void) | undefined;
  #nowMs = 0;
  override now(): number { return this.#nowMs; }
  override setTimeout(callback: () => void, delayMs: number): () => void {
    this.#nowMs += delayMs;
    return (this.#next = callback);
  }
  override clearTimeout(): void {}
  push(): void {
    this.#next!();
  }
}
