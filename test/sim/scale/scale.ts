/**
 * A whole cluster in one process, for numbers: settled, then a tenth of the hosts dies at once, then comes back. Membership
 * and shares are the real code over simulated time; a broker counts what they send.
 *
 * Looking costs too much to do it for three hundred hosts at every change, so some look and the others are given the same
 * answer: placement is a pure function, and what they would see is what the first of those that look sees. It injects no
 * other fault; the other simulations of this folder's parent do.
 */
import { fulfilled, maySettle, SETTLED_AFTER_MS, type Fulfilled, type ReadyReplicas } from '../../../src/policy/surplus.js';
import type { ActorWish, Placement } from '../../../src/policy/cluster-placement.js';
import type { TimerHandle } from '../../../src/ports.js';
import { Chance } from '../chance.js';
import { SimTime } from '../sim-time.js';
import { DEVICE, hostName, wishesOf, type Running, type Size } from './cast.js';
import { settledRunning, type Costs } from './costs.js';
import { CountingBroker, type Kind, type Tally } from './counting-bus.js';
import { LIMITS, SimHost } from './host.js';

export interface ScaleOptions {
  readonly size: Size;
  readonly costs: Costs;
  readonly seed: number;
  /** Hosts that look for themselves; the others are given the same answer. */
  readonly looking: number;
  readonly lostShare: number;
  readonly loadMs: readonly [min: number, max: number];
  readonly startsParallelMax: number;
  /** Whether the lost hosts come back, empty. */
  readonly comeBack: boolean;
  /** How long nothing happens, and how long is waited after something did: default 40 and 60 s. */
  readonly seconds?: { readonly steady: number; readonly after: number };
}

export interface Rates {
  readonly seconds: number;
  readonly kinds: Readonly<Record<Kind, Tally>>;
  readonly peak: { readonly bytes: number; readonly delivered: number };
}

export interface Phase {
  readonly rates: Rates;
  /** Replicas of the cluster that were not ready at its beginning; all times are counted from there. */
  readonly missing: number;
  readonly replicasStarted: number;
  readonly replicasRemoved: number;
  /** Started on the host that had to start most. */
  readonly mostOnOneHost: number;
  readonly firstStartMs: number;
  readonly lastStartMs: number;
  /** Until every wanted replica was ready. */
  readonly readyMs: number;
  /** The last change of a judgement, over all hosts that look. */
  readonly judgedMs: number;
  /** Per host that looks. */
  readonly looks: number;
  /** Of one host that looks: the part of the time it worked at all, and the longest anything had to wait. */
  readonly busyShare: number;
  readonly lateMs: number;
}

export interface Outcome {
  readonly steady: Phase;
  readonly loss: Phase;
  readonly back: Phase | undefined;
  /** Living hosts that somebody took for silent. */
  readonly wronglyJudged: number;
  /** Actors that do not have exactly what is wanted, at the end. */
  readonly unmet: number;
}

const FROM_S = 5;
/** Long enough for the loads, and for the 30 s after which what is too much goes. */
const SECONDS = { steady: 40, after: 60 };

export async function simulateScale(options: ScaleOptions): Promise<Outcome> {
  const stage = new Stage(options);
  await stage.time.run(FROM_S * 1000);
  const seconds = options.seconds ?? SECONDS;
  const steady = await stage.phase(seconds.steady, () => {});
  const loss = await stage.phase(seconds.after, () => stage.loseSome());
  const back = options.comeBack ? await stage.phase(seconds.after, () => stage.bringBack()) : undefined;
  return { steady, loss, back, wronglyJudged: stage.wronglyJudged, unmet: stage.unmet() };
}

class Stage {
  readonly time = new SimTime();
  wronglyJudged = 0;
  readonly #broker = new CountingBroker(this.time);
  readonly #chance: Chance;
  readonly #wishes: readonly ActorWish[];
  readonly #hosts = new Map<string, SimHost>();
  readonly #lost: number[] = [];
  readonly #looking: number;
  /** Ready in the cluster. */
  readonly #ready = new Map<string, number>();
  #missing = 0;
  #fulfilled: Fulfilled = new Map();
  #again: TimerHandle;
  #started: number[] = [];
  readonly #startedOn = new Map<string, number>();
  #removed = 0;
  #readyMs = 0;
  #judgedMs = 0;

  constructor(private readonly options: ScaleOptions) {
    const { size, seed, looking, lostShare } = options;
    this.#chance = new Chance(seed, 'scale');
    this.#wishes = wishesOf(size);
    this.#looking = Math.min(looking, size.hosts);
    const leftHosts = size.hosts - Math.round(size.hosts * lostShare);
    if (this.#wishes.some(({ replicas }) => replicas > leftHosts)) throw new RangeError('more replicas of an actor than hosts: the others could not be told how many are theirs');
    const running = settledRunning(size);
    for (const each of running.values()) for (const [actor, { ready }] of each) this.#ready.set(actor, (this.#ready.get(actor) ?? 0) + ready);
    this.#missing = this.#wishes.reduce((sum, { name, replicas }) => sum + Math.max(0, replicas - (this.#ready.get(name) ?? 0)), 0);
    // Those that look come last, because the first ones will be lost.
    for (let index = 0; index < size.hosts; index++) {
      this.time.setTimeout(() => this.#start(index, 0, running.get(hostName(index))!), this.#chance.real(0, LIMITS.beatMs));
    }
  }

  /** Runs for that long after `event`, and says what came of it. */
  async phase(seconds: number, event: () => void): Promise<Phase> {
    const fromMs = this.time.now();
    this.#started = [];
    this.#startedOn.clear();
    this.#removed = 0;
    this.#readyMs = this.#judgedMs = fromMs;
    event();
    const missing = this.#missing;
    const watched = [...this.#hosts.values()].filter(({ shares }) => shares !== undefined);
    const before = watched.map(({ looks, loop }) => {
      loop.lateMs = 0;
      return { looks, busyMs: loop.busyMs };
    });
    await this.time.run(fromMs + seconds * 1000);
    const mean = (of: (host: SimHost, at: number) => number): number => watched.reduce((sum, host, at) => sum + of(host, at), 0) / watched.length;
    const from = Math.floor(fromMs / 1000);
    const since = (ms: number | undefined): number => (ms === undefined ? 0 : ms - fromMs);
    return {
      rates: { seconds, kinds: this.#broker.between(from, from + seconds), peak: this.#broker.peak(from, from + seconds) },
      missing,
      replicasStarted: this.#started.length, replicasRemoved: this.#removed, mostOnOneHost: Math.max(0, ...this.#startedOn.values()),
      firstStartMs: since(this.#started[0]), lastStartMs: since(this.#started.at(-1)), readyMs: this.#missing === 0 ? since(this.#readyMs) : Infinity, judgedMs: since(this.#judgedMs),
      looks: mean(({ looks }, at) => looks - before[at]!.looks),
      busyShare: mean(({ loop }, at) => (loop.busyMs - before[at]!.busyMs) / (seconds * 1000)),
      lateMs: Math.max(...watched.map(({ loop }) => loop.lateMs)),
    };
  }

  loseSome(): void {
    const { size, lostShare } = this.options;
    for (let index = 0; index < Math.round(size.hosts * lostShare); index++) {
      const name = hostName(index);
      this.#hosts.get(name)!.die();
      this.#hosts.delete(name);
      this.#lost.push(index);
    }
  }

  bringBack(): void {
    for (const index of this.#lost) this.time.setTimeout(() => this.#start(index, 1, new Map()), this.#chance.real(0, LIMITS.beatMs));
  }

  /** Wanted and not ready exactly as often as it is wanted. */
  unmet(): number {
    return this.#wishes.filter(({ name, replicas }) => this.#ready.get(name) !== replicas).length;
  }

  #start(index: number, life: number, running: Map<string, Running>): void {
    const { size, costs, loadMs, startsParallelMax, seed } = this.options;
    const looks = index >= size.hosts - this.#looking;
    const host = new SimHost({
      index, life, size, costs, loadMs, startsParallelMax, running, looks,
      time: this.time, broker: this.#broker, wishes: this.#wishes,
      chance: new Chance(seed, `load/${index}/${life}`),
      standsFor: () => this.#hosts.size / this.#looking,
      judged: (by, { host: whom, to }) => {
        this.#judgedMs = Math.max(this.#judgedMs, this.time.now());
        if ((to === 'suspect' || to === 'dead') && this.#hosts.has(whom) && this.#hosts.has(by.name)) this.wronglyJudged++;
      },
      looked: (by) => { if (index === size.hosts - 1) this.#tellOthers(by); },
      wanted: (_, more) => {
        if (more < 0) this.#removed -= more;
        else this.#startedOn.set(host.name, (this.#startedOn.get(host.name) ?? 0) + more);
        for (let i = 0; i < more; i++) this.#started.push(this.time.now());
      },
      ready: (actor, more) => this.#counted(actor, more),
    });
    this.#hosts.set(host.name, host);
    // As a host does that is not alone: it hears who is there before it takes its share.
    if (looks) this.time.setTimeout(() => host.shares!.open(), LIMITS.beatMs + 200);
  }

  #counted(actor: string, more: number): void {
    const wanted = this.#replicasOf(actor);
    const before = this.#ready.get(actor) ?? 0;
    this.#ready.set(actor, before + more);
    this.#missing += Math.max(0, wanted - before - more) - Math.max(0, wanted - before);
    if (this.#missing === 0 && before < wanted) this.#readyMs = this.time.now();
  }

  readonly #wantedOf = new Map<string, number>();
  #replicasOf(actor: string): number {
    if (this.#wantedOf.size === 0) for (const { name, replicas } of this.#wishes) this.#wantedOf.set(name, replicas);
    return this.#wantedOf.get(actor)!;
  }

  /** What hosts that only count would have decided from the same view, at some moment before they would look again. */
  #tellOthers(by: SimHost): void {
    const others = [...this.#hosts.values()].filter(({ shares }) => shares === undefined);
    if (others.length === 0) return;
    const placed: Placement = new Map(this.#wishes.map(({ name }) => [name, by.shares!.placesOf(name).map((host) => ({ host, device: DEVICE, count: 1 }))]));
    const nowMs = this.time.now();
    const gapMs = LOOK_GAP * this.options.costs.lookMs;
    this.#fulfilled = fulfilled(this.#fulfilled, placed, readyIn(by), nowMs);
    const shareOf = new Map<string, Map<string, number>>(others.map(({ name }) => [name, new Map()]));
    for (const [actor, places] of placed) for (const { host } of places) shareOf.get(host)?.set(actor, 1);
    let againMs = Infinity;
    for (const host of others) {
      const share = shareOf.get(host.name)!;
      for (const actor of host.order.running.keys()) {
        if (share.has(actor)) continue;
        if (maySettle(placed, actor, this.#fulfilled, nowMs)) share.set(actor, 0);
        else againMs = Math.min(againMs, (this.#fulfilled.get(actor)?.sinceMs ?? Infinity) + SETTLED_AFTER_MS);
      }
      const take = (): void => {
        for (const [actor, count] of share) if (count <= (host.order.running.get(actor)?.wanted ?? 0) || host.room > 0) host.setShare(actor, count);
      };
      this.time.setTimeout(take, this.#chance.real(0, gapMs));
    }
    // The one that looks need not have too much itself, and would not look again for their sake.
    this.time.clearTimeout(this.#again);
    if (againMs < Infinity) this.#again = this.time.setTimeout(() => this.#tellOthers(by), Math.max(gapMs, againMs - nowMs));
  }
}

/** Between two looks, as a multiple of one (LOOKING_SHARE of shares.ts). */
const LOOK_GAP = 10;

function readyIn(by: SimHost): ReadyReplicas[] {
  const own = [...by.order.running].map(([actor, { ready }]) => ({ host: by.name, actor, device: DEVICE, count: ready }));
  const theirs = by.members.members().flatMap(({ liveness, state }) => (liveness === 'alive' && state ? state.actors.map(({ name, ready }) => ({ host: state.host, actor: name, device: DEVICE, count: ready })) : []));
  return [...own, ...theirs].filter(({ count }) => count > 0);
}
