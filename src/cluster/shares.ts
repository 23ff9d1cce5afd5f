/**
 * This host's share: how many replicas of which actor it runs, worked out from what all hosts say of themselves
 * (policy/cluster-placement.ts). Every host does the same sum from its own view and takes its part; nobody is asked.
 *
 * A share grows at once and shrinks only when all wanted replicas have been ready for 30 s (policy/surplus.ts), never
 * while this host drains. While too many hosts are silent at once nobody's replicas are taken over (policy/brake.ts). Until
 * `open` is called, and while there is no connection, everything stays as it is. It starts and stops nothing itself.
 */
import { brakeHolds, releasedBrake, stepBrake, type Brake } from '../policy/brake.js';
import { placement, type ActorWish, type HostOffer, type Placement } from '../policy/cluster-placement.js';
import { fulfilled, maySettle, SETTLED_AFTER_MS, type Fulfilled, type ReadyReplicas } from '../policy/surplus.js';
import type { Clock, TimerHandle } from '../ports.js';
import type { HostState } from '../protocol/host-state.js';
import type { Neighbour } from './membership.js';

export interface Held {
  /** Replicas this host runs or tries to. */
  readonly count: number;
  /** Where; undefined while it runs none. */
  readonly device: string | undefined;
}

export interface Share {
  readonly count: number;
  /** The other hosts that have a place for it, for people. */
  readonly elsewhere: readonly string[];
}

export interface SharesOptions {
  readonly clock: Clock;
  /** What this host says of itself. */
  readonly own: () => Omit<HostState, 'version'>;
  /** Undefined while nothing can be known of them. */
  readonly members: () => readonly Neighbour[] | undefined;
  /** What is wanted in the cluster, as far as this host knows. */
  readonly wishes: () => readonly ActorWish[];
  readonly held: () => ReadonlyMap<string, Held>;
  readonly limits: { readonly suspectAfterMs: number; readonly hostsMax: number };
  /** One entry for every wish. Called after every look, also when nothing changed. */
  readonly decided: (shares: ReadonlyMap<string, Share>) => void;
  readonly braked: (holds: boolean, silent: number, hosts: number) => void;
}

/** Changes come in bunches. */
const LOOK_AFTER_MS = 20;
/** A look may take this part of the time, so that thousands of actors never fill the loop. */
const LOOKING_SHARE = 0.1;

export class Shares {
  #open = false;
  #closed = false;
  #timer: TimerHandle | undefined;
  #timerDueMs = Infinity;
  #lookedMs = -Infinity;
  #tookMs = 0;
  #brake: Brake = releasedBrake;
  #fulfilled: Fulfilled = new Map();
  /** Actors this host holds more of than its places. */
  readonly #surplus = new Set<string>();
  #placement: Placement = new Map();
  #onLeft: (() => void) | undefined;

  constructor(private readonly options: SharesOptions) {}

  /** From now on there is something to see. */
  open(): void {
    if (this.#open || this.#closed) return;
    this.#open = true;
    this.#look();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Something that a share may follow from is different now. */
  changed(): void {
    if (this.#open) this.#lookIn(LOOK_AFTER_MS);
  }

  /** To be called at every beat: the brake must see mass silence before anything is done about it. */
  ticked(): void {
    if (!this.#open) return;
    const before = this.#brake;
    this.#stepBrake();
    if (before !== this.#brake) this.changed();
  }

  /** While too many hosts are silent at once. */
  get braked(): boolean {
    return brakeHolds(this.#brake);
  }

  /** Resolves when everything this host runs is ready where it belongs without it. */
  left(): Promise<void> {
    return new Promise((resolve) => {
      this.#onLeft = resolve;
      this.#look();
    });
  }

  /** An actor that has no place without this host does not count. */
  #canLeave(): boolean {
    for (const [actor, { count }] of this.options.held()) {
      const places = this.#placement.get(actor) ?? [];
      if (count > 0 && places.length > 0 && !this.#fulfilled.has(actor)) return false;
    }
    return true;
  }

  /** Hosts that have a place for the actor, best first. */
  placesOf(actor: string): readonly string[] {
    return (this.#placement.get(actor) ?? []).map(({ host }) => host);
  }

  close(): void {
    this.#closed = true;
    this.options.clock.clearTimeout(this.#timer);
  }

  #lookIn(delayMs: number): void {
    const { clock } = this.options;
    const nowMs = clock.now();
    const dueMs = Math.max(nowMs + delayMs, this.#lookedMs + this.#tookMs / LOOKING_SHARE);
    if (this.#closed || dueMs >= this.#timerDueMs) return;
    clock.clearTimeout(this.#timer);
    this.#timerDueMs = dueMs;
    this.#timer = clock.setTimeout(() => this.#look(), dueMs - nowMs);
  }

  #look(): void {
    const { clock, own, wishes, limits, decided } = this.options;
    clock.clearTimeout(this.#timer);
    this.#timerDueMs = Infinity;
    const members = this.options.members();
    if (this.#closed || !members) return;
    const nowMs = clock.now();
    this.#stepBrake();
    const self = own();
    const wanted = wishes();
    const byName = new Map(wanted.map((wish) => [wish.name, wish]));
    const states = [{ state: self, alive: true }, ...members.flatMap(({ liveness, state }) => (state ? [{ state, alive: liveness !== 'dead' || this.braked }] : []))];
    const offers = states.map(({ state, alive }) => offerOf(state, alive, byName));
    this.#placement = placement(wanted, offers, limits.hostsMax);
    // What a suspect says it has may be gone already.
    const alive = new Set([self.host, ...members.filter(({ liveness }) => liveness === 'alive').map(({ host }) => host)]);
    this.#fulfilled = fulfilled(this.#fulfilled, this.#placement, states.filter(({ state }) => alive.has(state.host)).flatMap(({ state }) => readyOf(state, byName)), nowMs);
    decided(this.#sharesOf(self, nowMs));
    this.#lookedMs = nowMs;
    this.#tookMs = clock.now() - nowMs;
    this.#lookWhenSettled(nowMs);
    if (this.#onLeft && this.#canLeave()) this.#onLeft();
  }

  #sharesOf(self: Omit<HostState, 'version'>, nowMs: number): ReadonlyMap<string, Share> {
    const held = this.options.held();
    const room = new Map(self.devices.map(({ id, capacity }) => [id, (capacity ?? Infinity) - usedOn(id, held)]));
    const shares = new Map<string, Share>();
    this.#surplus.clear();
    for (const [actor, places] of this.#placement) {
      const has = held.get(actor)?.count ?? 0;
      const here = places.filter(({ host }) => host === self.host);
      const wanted = here.reduce((sum, { count }) => sum + count, 0);
      const elsewhere = places.filter(({ host }) => host !== self.host).map(({ host }) => host);
      let count = has;
      if (wanted < has) this.#surplus.add(actor);
      if (wanted > has) count += grow(wanted - has, here[0]!.device, room);
      else if (wanted < has && !self.draining && maySettle(this.#placement, actor, this.#fulfilled, nowMs)) count = wanted;
      shares.set(actor, { count, elsewhere });
    }
    return shares;
  }

  /** Time alone changes a share only where this host holds too much. */
  #lookWhenSettled(nowMs: number): void {
    let dueMs = Infinity;
    for (const actor of this.#surplus) {
      const settledMs = (this.#fulfilled.get(actor)?.sinceMs ?? Infinity) + SETTLED_AFTER_MS;
      if (settledMs > nowMs && settledMs < dueMs) dueMs = settledMs;
    }
    if (dueMs < Infinity) this.#lookIn(dueMs - nowMs);
  }

  #stepBrake(): void {
    const { clock, limits, braked } = this.options;
    const members = this.options.members();
    if (!members) return;
    const silentSinceMs = members.flatMap((member) => (member.silentSinceMs === undefined ? [] : [member.silentSinceMs]));
    const before = this.braked;
    this.#brake = stepBrake(this.#brake, { silentSinceMs, hosts: members.length + 1, suspectAfterMs: limits.suspectAfterMs }, clock.now());
    if (before !== this.braked) braked(this.braked, silentSinceMs.length, members.length + 1);
  }
}

/** A replica waits for room: another actor's surplus goes first. */
function grow(wanted: number, device: string, room: Map<string, number>): number {
  const free = room.get(device) ?? 0;
  const more = Math.max(0, Math.min(wanted, free));
  room.set(device, free - more);
  return more;
}

function usedOn(device: string, held: ReadonlyMap<string, Held>): number {
  let used = 0;
  for (const each of held.values()) if (each.device === device) used += each.count;
  return used;
}

function offerOf(state: Omit<HostState, 'version'>, alive: boolean, wanted: ReadonlyMap<string, ActorWish>): HostOffer {
  const { host, draining, devices, modules, fetches, paused, actors } = state;
  // What this host wishes for nothing of still takes its room there.
  const strangers = (device: string): number => actors.reduce((sum, each) => sum + (each.device === device && !wanted.has(each.name) ? each.ready : 0), 0);
  return {
    host,
    alive,
    draining,
    devices: devices.map((device) => ({ ...device, ...(device.capacity !== undefined && { capacity: Math.max(0, device.capacity - strangers(device.id)) }) })),
    hashes: new Set(actors.map(({ hash }) => hash)),
    modules: new Set(modules),
    fetches: fetches ?? false,
    paused,
    // An older edition holds its place for the one that is rolled in.
    ready: actors.flatMap(({ name, hash, device, ready }) => {
      const wish = wanted.get(name);
      return device !== undefined && ready > 0 && wish && (wish.hash === hash || !wish.fileOnly) ? [{ actor: name, device, count: ready }] : [];
    }),
  };
}

/** Of the wanted edition. */
function readyOf({ host, draining, actors }: Omit<HostState, 'version'>, wanted: ReadonlyMap<string, ActorWish>): ReadyReplicas[] {
  if (draining) return [];
  return actors.flatMap(({ name, hash, device, ready }) => (device !== undefined && ready > 0 && wanted.get(name)?.hash === hash ? [{ host, actor: name, device, count: ready }] : []));
}
