/**
 * Hosts that share one store in simulated time: each with a clock that may run fast or slow, a connection that may be cut
 * or lose its last words, and a loop that may stand still. Whoever serves is looked up after every single step.
 */
import assert from 'node:assert/strict';
import { createMemoryStore, type MemoryStore, type MemoryStores } from '../../src/adapters/memory-store.js';
import { Ownership, type OwnershipLimits } from '../../src/cluster/ownership.js';
import type { Clock, TimerHandle } from '../../src/ports.js';
import { SimTime } from '../sim/sim-time.js';

export const defaults: OwnershipLimits = { leaseMs: 18_000, renewDeadlineMs: 12_000, renewMs: 1000, resyncMs: 5000, takeOversPerSecondMax: 5 };

/** Runs at its own rate; while it is frozen nothing of its host happens, and afterwards all of it at once. */
class HostClock implements Clock {
  isFrozen = false;
  isDead = false;
  /** How far the machine's wall clock ran ahead by being suspended. */
  suspendedMs = 0;
  readonly #late: (() => void)[] = [];
  #lastHopMs = 0;

  constructor(private readonly time: SimTime, private readonly rate: number) {}

  now(): number { return this.time.now() * this.rate - this.suspendedMs; }
  wallTime(): number { return Date.UTC(2030, 0, 1) + this.time.now() * this.rate; }
  setTimeout(callback: () => void, delayMs: number): TimerHandle { return this.time.setTimeout(() => this.#do(callback), delayMs / this.rate); }
  clearTimeout(handle: TimerHandle): void { this.time.clearTimeout(handle); }

  /** Hops of one connection keep their order. */
  hop(delayMs: number, callback: () => void): void {
    this.#lastHopMs = Math.max(this.#lastHopMs, this.time.now() + delayMs);
    this.time.setTimeout(() => this.#do(callback), this.#lastHopMs - this.time.now());
  }

  thaw(): void {
    this.isFrozen = false;
    for (const callback of this.#late.splice(0)) callback();
  }

  #do(callback: () => void): void {
    if (this.isDead) return;
    if (this.isFrozen) this.#late.push(callback);
    else callback();
  }
}

export class StageHost {
  readonly clock: HostClock;
  readonly store: MemoryStore;
  readonly ownership: Ownership;
  readonly events: string[] = [];
  readonly changes: string[] = [];
  fencedBy: string | undefined;
  isGone = false;
  /** Replaces the hop's usual delay. */
  hopMs: (() => number) | undefined;

  constructor(readonly stage: OwnershipStage, readonly id: string, readonly incarnation: string, rate: number) {
    this.clock = new HostClock(stage.time, rate);
    this.store = stage.stores.connect({ schedule: (hop) => this.clock.hop(this.hopMs?.() ?? 1, hop) });
    this.ownership = new Ownership({
      store: this.store, clock: this.clock, log: { log: (_level, event, fields) => assert.fail(`${event} ${JSON.stringify(fields)}`) }, id, incarnation, limits: stage.limits,
      braked: () => stage.braked,
      highestSequence: () => stage.knowsAll ? Math.max(0, ...stage.hosts.map(({ store }) => store.lastSequence)) : 0,
      knownEpochs: (actor) => stage.knowsAll ? [stage.served.get(actor)?.epoch ?? 0] : [],
      changed: (actor) => this.changes.push(`${actor} ${this.ownership?.epochOf(actor)}`),
      fenced: (reason) => {
        this.fencedBy = reason;
        stage.onFenced(this);
      },
      tell: (event, actor, reason) => this.events.push(`${event} ${actor}: ${reason}`),
    });
  }

  get owner(): { readonly host: string; readonly incarnation: string } {
    return { host: this.id, incarnation: this.incarnation };
  }

  serves(actor: string): boolean {
    return !this.isGone && !this.clock.isFrozen && this.ownership.mayServe(actor);
  }

  crash(): void {
    this.isGone = true;
    this.clock.isDead = true;
    this.store.cut();
  }

  freeze(): void { this.clock.isFrozen = true; }
  thaw(): void { this.clock.thaw(); }

  async close(): Promise<void> {
    await this.ownership.close();
    this.crash();
  }
}

export class OwnershipStage {
  readonly time = new SimTime();
  readonly stores: MemoryStores = createMemoryStore({ clock: this.time, log: { log() {} } });
  readonly hosts: StageHost[] = [];
  /** Per actor who served it last. */
  readonly served = new Map<string, { readonly epoch: number; readonly by: string }>();
  /** How often it changed hands. */
  moves = 0;
  braked = false;
  /** Beats and states carry what the others know. */
  knowsAll = true;
  onFenced: (host: StageHost) => void = () => {};
  #incarnations = 0;

  constructor(readonly actors: readonly string[] = ['a'], readonly limits: OwnershipLimits = defaults) {}

  host(id: string, { rate = 1, candidate = true } = {}): StageHost {
    const host = new StageHost(this, id, `I${++this.#incarnations}`, rate);
    this.hosts.push(host);
    if (candidate) host.ownership.candidates(this.actors);
    return host;
  }

  /** At every step: at most one serves, and never an epoch that another one served or left behind. */
  look(): void {
    for (const actor of this.actors) {
      const serving = this.hosts.filter((host) => host.serves(actor));
      assert.ok(serving.length <= 1, `${actor} is served by ${serving.map(({ id, incarnation }) => `${id} ${incarnation}`).join(' and ')} at ${this.time.now()} ms`);
      const [host] = serving;
      if (!host) continue;
      const epoch = host.ownership.epochOf(actor)!;
      const by = `${host.id} ${host.incarnation}`;
      const last = this.served.get(actor);
      assert.ok(!last || epoch > last.epoch || (epoch === last.epoch && by === last.by), `${actor}: epoch ${epoch} of ${by} after ${last?.epoch} of ${last?.by}`);
      if (last && last.by !== by) this.moves++;
      this.served.set(actor, { epoch, by });
    }
  }

  async run(ms: number): Promise<void> {
    await this.until(() => false, ms);
  }

  /** @returns ms it took; undefined: it did not come within `ms` */
  async until(done: () => boolean, ms: number): Promise<number | undefined> {
    const startMs = this.time.now();
    let isDone = false;
    await this.time.run(startMs + ms, () => {
      this.look();
      return (isDone = done());
    });
    this.look();
    return isDone || done() ? this.time.now() - startMs : undefined;
  }

  /** Ends every host, so that no timer keeps anything alive. */
  end(): void {
    for (const host of this.hosts) host.crash();
  }

  /** What the store holds, in order of writing. */
  keys(prefix: string): string[] {
    return [...this.stores.save().rows.values()].filter(({ key, deleted }) => !deleted && key.startsWith(`${prefix}.`)).sort((a, b) => a.revision - b.revision).map(({ key }) => key);
  }
}
