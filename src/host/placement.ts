/**
 * Which pools this host runs and on which device, and how replicas are exchanged without a gap. One host alone places
 * every actor on the first usable device of its list (policy/devices.ts). A pool that gave up, or whose device broke,
 * moves to the next one; where there is no next one it comes back as a last resort.
 *
 * Whatever is exchanged (an ejected replica, one that grew too large, a whole edition, a device) is exchanged with
 * overlap: the new one is proven before the old one drains. API calls on supervisors are not restarts, so they are braked
 * here.
 */
import { delayCapMs } from '../policy/backoff.js';
import { afterFailure, chooseDevice, nextRetryMs, paused, released, remembered, type DeviceChoice, type DeviceState, type Pause } from '../policy/devices.js';
import type { Clock, TimerHandle } from '../ports.js';
import type { SupervisorRef } from '../supervision/create-supervisor.js';
import type { ChildSpec } from '../supervision/child.js';
import type { SupervisorReport } from '../supervision/reports.js';
import type { ActorRuntime, Edition } from './actor-runtime.js';
import type { Board } from './board.js';
import { PoolCalls } from './pool-calls.js';
import { Incarnations } from './incarnations.js';
import { lastResortPool, planPool, poolChild, replicaId, restartLimits, type PoolPlan } from './pools.js';
import type { Place, Story } from './story.js';

export interface PlacementOptions {
  /** Of this host, as they are now. */
  readonly devices: () => ReadonlyMap<string, DeviceState>;
  readonly clock: Clock;
  readonly board: Board;
  readonly story: Story;
  /** The supervisor of all pools, while it runs. */
  readonly pools: () => SupervisorRef | undefined;
  /** The actor has no place for now, and why. */
  readonly unplaced: (actor: string, why: string) => void;
  /** This host has no share of the actor for now. */
  readonly elsewhere: (actor: string) => void;
  /** Whether shares are told (other hosts take part); otherwise every replica of the spec is this host's. */
  readonly shared: boolean;
  /** What `paused` says is different now. */
  readonly pausesChanged: () => void;
}

interface Placed {
  readonly runtime: ActorRuntime;
  edition: Edition;
  /** Replicas this host should have of it; undefined: as many as the spec says. */
  share: number | undefined;
  /** No host has a place for it. */
  nowhere: boolean;
  /** Why it has no share, as told last. */
  shareless: string | undefined;
  /** Its pool, the last one it had, or none yet. */
  plan: PoolPlan | undefined;
  /** The pool of `plan` exists; its replicas may be between two starts. */
  alive: boolean;
  /** A last resort: one replica waits for its next try, or is tried. */
  resort: 'none' | 'waiting' | 'tried';
  /** Numbers of the replicas it should have. */
  indexes: number[];
  nextIndex: number;
  generation: number;
  /** Devices its pool gave up on. */
  readonly pauses: Map<string, Pause>;
  /** The next try of a last resort, and the next look at a device that is paused. */
  retry: TimerHandle | undefined;
  look: TimerHandle | undefined;
  /** The next try to start replicas that could not be started. */
  refill: TimerHandle | undefined;
  /** An exchange is under way; one at a time per actor. */
  exchanging: boolean;
  lastEjectionMs: number;
}

const wantedOf = ({ share, edition }: Placed): number => share ?? edition.spec.replicas;

type Target = Extract<DeviceChoice, { readonly device: string }>;

/** Replicas of one actor are ejected or recycled at most this often. */
const EJECT_EVERY_MS = 10_000;
const NOT_RUNNING = 'the host is not running';
const BUSY = 'another exchange of replicas is under way';

export class Placement {
  readonly #placed = new Map<string, Placed>();
  readonly #calls: PoolCalls;
  readonly #incarnations = new Incarnations();
  #stopped = false;
  #onVacated: (() => void)[] = [];

  constructor(private readonly options: PlacementOptions) {
    this.#calls = new PoolCalls(options.clock, options.board, options.pools);
  }

  /** Decides where the actor runs. @returns the pool's child spec, for the supervisor of all pools; none without a device */
  place(runtime: ActorRuntime, edition: Edition): ChildSpec | undefined {
    const placed: Placed = {
      runtime, edition, share: this.options.shared ? 0 : undefined, nowhere: false, shareless: undefined, plan: undefined, alive: false, resort: 'none', indexes: [], nextIndex: 0, generation: 0,
      pauses: new Map(), retry: undefined, look: undefined, refill: undefined, exchanging: false, lastEjectionMs: -Infinity,
    };
    this.#placed.set(edition.spec.name, placed);
    this.#showShare(placed);
    if (wantedOf(placed) === 0) {
      edition.effects(edition.spec.devices[0]!, undefined);
      this.options.board.poolChanged(edition.spec.name, 'the other hosts are looked for first');
      return undefined;
    }
    const choice = this.#choose(placed);
    if (choice.to === 'device') return this.#whole(placed, choice);
    edition.effects(edition.spec.devices[0]!, undefined); // a golden that does not fit its own shapes is refused now, not when a device turns up
    if (choice.to === 'nowhere') this.#unplaced(placed, choice.reason);
    else if (choice.to === 'wait') this.options.board.poolChanged(edition.spec.name, choice.reason);
    return undefined;
  }

  /** Where a pool belongs, also one of an edition that is on its way in or out. */
  placeOf(supervisor: string): Place | undefined {
    const at = supervisor.lastIndexOf('@');
    return at < 0 ? undefined : { actor: supervisor.slice(0, at), device: supervisor.slice(at + 1).split('~')[0]! };
  }

  /** Devices an actor's pool gave up on; `due`: it may be tried there again, and was not ready since. */
  paused(): { readonly actor: string; readonly device: string; readonly reason: string; readonly due?: true }[] {
    const nowMs = this.options.clock.now();
    return [...this.#placed].flatMap(([actor, { pauses }]) => [...pauses].flatMap(([device, pause]) => {
      if (paused(pause, nowMs)) return [{ actor, device, reason: pause.reason }];
      return remembered(pause, nowMs) && !this.#isReady(actor, device) ? [{ actor, device, reason: pause.reason, due: true as const }] : [];
    }));
  }

  /** Replicas this host has of every actor, or tries to have, and where. */
  held(): ReadonlyMap<string, { readonly count: number; readonly device: string | undefined }> {
    return new Map([...this.#placed].map(([actor, placed]) => [actor, { count: wantedOf(placed), device: wantedOf(placed) > 0 ? placed.plan?.device : undefined }]));
  }

  /**
   * How many replicas of the actor this host shall have from now on; 0 takes its pool away, after the requests on it.
   * @param why there is none, for status
   * @param nowhere no host has a place for it: it is down, not somewhere else
   */
  setShare(actor: string, count: number, why: string, nowhere = false): void {
    const placed = this.#placed.get(actor);
    if (!placed || this.#stopped) return;
    const before = placed.share;
    placed.nowhere = nowhere;
    const shareless = count > 0 ? undefined : nowhere ? this.#whyNowhere(placed, why) : why;
    if (before === count && placed.shareless === shareless) return;
    placed.share = count;
    placed.shareless = shareless;
    this.#showShare(placed);
    if (count > 0 && !placed.alive) placed.runtime.dispatcher.setProspect(true, 'starting');
    this.#reconsider(placed);
  }

  /** Resolves when nothing of the actor runs here any more; its share must be 0. */
  async vacated(actor: string): Promise<void> {
    while (!this.isVacant(actor) && !this.#stopped) await new Promise<void>((resolve) => this.#onVacated.push(resolve));
  }

  isVacant(actor: string): boolean {
    const placed = this.#placed.get(actor);
    return placed === undefined || (placed.plan === undefined && !placed.exchanging);
  }

  tellReplica(actor: string, replica: string, event: { readonly type: string }): void {
    const plan = this.#placed.get(actor)?.plan;
    const pool = plan && this.#calls.pool(plan);
    pool?.getSnapshot().context.refs[replica]?.send(event);
  }

  poolReported(report: SupervisorReport): void {
    this.#calls.reported(report);
    const placed = [...this.#placed.values()].find(({ plan }) => plan?.id === report.supervisor);
    if (!placed || this.#stopped) return;
    if (report.type === 'gave-up') this.#givesUp(placed);
    if (report.type === 'shutdown' && report.detail === 'budget_exhausted') this.#gaveUp(placed);
    if (report.type === 'child-ready' && placed.resort === 'tried') this.#fillUp(placed);
  }

  /** A device became usable, or is no longer. */
  devicesChanged(): void {
    for (const placed of this.#placed.values()) this.#reconsider(placed);
  }

  /** The host is stopping: nothing comes back any more. */
  stop(): void {
    this.#stopped = true;
    this.#calls.stop();
    for (const placed of this.#placed.values()) this.#forgetTimers(placed);
  }

  // ---------------------------------------------------------------------------------------------------------- exchanges

  /**
   * Replaces one replica by a proven one. Without a proven one the old stays: a doubtful answer beats none.
   * Resolves with undefined, or with why it was kept.
   */
  async eject(actor: string, replica: string, why: string): Promise<string | undefined> {
    const placed = this.#placed.get(actor);
    const nowMs = this.options.clock.now();
    if (!placed || this.#stopped) return NOT_RUNNING;
    const { plan } = placed;
    if (!plan || !placed.alive) return `${actor} has no pool now`;
    if (placed.exchanging) return BUSY;
    if (nowMs - placed.lastEjectionMs < EJECT_EVERY_MS) return `a replica of ${actor} was ejected less than ${EJECT_EVERY_MS} ms ago`;
    const { story } = this.options;
    const about = { actor, device: plan.device, replica };
    placed.exchanging = true;
    placed.lastEjectionMs = nowMs;
    try {
      const index = placed.nextIndex++;
      const added = await this.#calls.add(plan, index);
      if (!added.ready) {
        await this.#calls.remove(plan, replicaId(actor, plan.device, index));
        const kept = `its replacement did not prove (${added.why})`;
        story.tell('replica-ejected', `${why}; kept, because ${kept}`, { ...about, detail: { kept: true } });
        return kept;
      }
      placed.indexes = [...placed.indexes.filter((known) => replicaId(actor, plan.device, known) !== replica), index];
      story.tell('replica-ejected', why, { ...about, detail: { replacement: replicaId(actor, plan.device, index) } });
      await this.#calls.remove(plan, replica);
      return undefined;
    } finally {
      this.#exchanged(placed);
    }
  }

  /** One replica more for a while: resolves with the way to take it back, or with why there is none. */
  async lend(actor: string): Promise<(() => Promise<void>) | string> {
    const placed = this.#placed.get(actor);
    if (!placed || this.#stopped) return NOT_RUNNING;
    const { plan } = placed;
    if (!plan || !placed.alive) return `${actor} has no pool now`;
    if (placed.exchanging) return BUSY;
    placed.exchanging = true;
    const index = placed.nextIndex++;
    const takeBack = async (): Promise<void> => {
      await this.#calls.remove(plan, replicaId(actor, plan.device, index));
      this.#exchanged(placed);
    };
    // Temporary: when the run it is for ends it, nobody needs it back.
    const added = await this.#calls.add(plan, index, 'temporary');
    if (added.ready) return takeBack;
    await takeBack();
    return added.why;
  }

  /**
   * Rolls a new edition in, replica by replica: one new one proves, one old one drains. Resolves with undefined, or with
   * why it was stopped; then everything is as before.
   */
  async roll(edition: Edition): Promise<string | undefined> {
    const placed = this.#placed.get(edition.spec.name);
    if (!placed || this.#stopped) return NOT_RUNNING;
    if (placed.exchanging) return BUSY;
    // What its predecessor failed at is no verdict on this one.
    if (wantedOf(placed) === 0) {
      this.#adopt(placed, edition);
      return undefined;
    }
    const choice = chooseDevice({ wanted: edition.spec.devices, states: this.options.devices(), pauses: new Map() }, this.options.clock.now());
    if (choice.to === 'wait' || choice.to === 'nowhere') return choice.reason;
    placed.exchanging = true;
    try {
      const stopped = await this.#exchange(placed, edition, choice);
      if (stopped !== undefined) return stopped;
      this.#adopt(placed, edition);
      return undefined;
    } finally {
      this.#exchanged(placed);
    }
  }

  #adopt(placed: Placed, edition: Edition): void {
    placed.pauses.clear();
    placed.edition = edition;
    placed.runtime.adopt(edition.spec, edition.pin);
    this.#showShare(placed);
  }

  /** An actor that was not here before. */
  async add(runtime: ActorRuntime, edition: Edition): Promise<void> {
    const child = this.place(runtime, edition);
    if (child) await this.#calls.start(child);
  }

  /** An actor nobody wants any more. */
  async withdraw(actor: string): Promise<void> {
    const placed = this.#placed.get(actor);
    if (!placed) return;
    this.#placed.delete(actor);
    this.#forgetTimers(placed);
    placed.runtime.dispatcher.setProspect(false, 'the actor was taken out of the spec');
    if (placed.plan) await this.#calls.end(placed.plan);
    placed.runtime.dispatcher.close('the actor was taken out of the spec');
  }

  /** The roll-out itself, for a new edition or a new device. @returns why it was stopped */
  async #exchange(placed: Placed, edition: Edition, choice: Target): Promise<string | undefined> {
    if (!this.#calls.running) return NOT_RUNNING;
    const actor = edition.spec.name;
    const old = { plan: placed.plan, indexes: placed.plan ? [...placed.indexes] : [] };
    const plan = planPool(edition, choice, ++placed.generation, this.#incarnations);
    const indexes: number[] = [];
    const refused = await this.#calls.start(poolChild(plan, []));
    if (refused !== undefined) return `its pool did not start: ${refused}`;
    while (indexes.length < (placed.share ?? edition.spec.replicas)) {
      const index = placed.nextIndex++;
      indexes.push(index);
      const added = await this.#calls.add(plan, index);
      if (!added.ready) {
        await this.#restore(placed, old, plan, indexes);
        return `${replicaId(actor, plan.device, index)} did not prove: ${added.why}`;
      }
      // From here on it serves, and where its replicas die they are restarted, whatever its pool before has come to.
      if (indexes.length === 1) placed.runtime.dispatcher.setProspect(true, `starting on ${plan.device}`);
      const leaving = old.indexes[indexes.length - 1];
      if (old.plan && leaving !== undefined) await this.#calls.remove(old.plan, replicaId(actor, old.plan.device, leaving));
    }
    if (!this.#calls.pool(plan)) {
      await this.#restore(placed, old, plan, indexes);
      return 'its pool gave up while it was rolled in';
    }
    this.#standsOn(placed, plan, indexes);
    if (old.plan) {
      for (const index of old.indexes.slice(indexes.length)) await this.#calls.remove(old.plan, replicaId(actor, old.plan.device, index));
      await this.#calls.end(old.plan);
    }
    return undefined;
  }

  /** An exchange stopped half way: the new pool goes, and the old one gets back what it gave. */
  async #restore(placed: Placed, old: { readonly plan: PoolPlan | undefined; readonly indexes: readonly number[] }, plan: PoolPlan, indexes: readonly number[]): Promise<void> {
    const actor = plan.edition.spec.name;
    const given = old.indexes.slice(0, indexes.length - 1);
    // Back to waiting for a last resort: nobody shall wait for it.
    if (placed.resort !== 'none') placed.runtime.dispatcher.setProspect(false, placed.pauses.get(old.plan!.device)?.reason ?? 'its exchange was stopped');
    // Back first, then away: there may be no other replica left.
    if (old.plan && placed.alive) for (const index of given) await this.#calls.add(old.plan, index);
    for (const index of indexes) await this.#calls.remove(plan, replicaId(actor, plan.device, index));
    await this.#calls.end(plan);
    placed.indexes = [...old.indexes];
  }

  /** An exchange is over, however it went: whatever changed meanwhile is looked at now. */
  #exchanged(placed: Placed): void {
    placed.exchanging = false;
    this.#reconsider(placed);
    void this.#complete(placed);
    for (const resolve of this.#onVacated.splice(0)) resolve();
  }

  // ------------------------------------------------------------------------------------------------------------ devices

  /** Compares where the actor runs with where it should, and moves it. Called after everything that may change the answer. */
  #reconsider(placed: Placed): void {
    const { clock, devices } = this.options;
    clock.clearTimeout(placed.look);
    if (this.#stopped || placed.exchanging || this.#placed.get(placed.runtime.name) !== placed || !this.#calls.running) return;
    if (wantedOf(placed) === 0) return void this.#leave(placed);
    const choice = this.#choose(placed);
    const isHere = choice.to !== 'wait' && choice.to !== 'nowhere' && choice.device === placed.plan?.device && (placed.alive || placed.resort === 'waiting');
    if (!isHere) {
      if (choice.to === 'device') void this.#move(placed, choice);
      else if (choice.to === 'last-resort') void this.#lastResort(placed, choice);
      else if (choice.to === 'nowhere') void this.#evacuate(placed, choice.reason);
    } else if (placed.resort === 'none') void this.#resize(placed);
    const dueMs = nextRetryMs({ states: devices(), pauses: placed.pauses }, clock.now());
    if (dueMs === undefined) return;
    placed.look = clock.setTimeout(() => {
      this.options.pausesChanged();
      this.#reconsider(placed);
    }, dueMs + 1);
  }

  /** Its share is on other hosts now. */
  async #leave(placed: Placed): Promise<void> {
    const { plan, alive, runtime, shareless } = placed;
    const { board, clock, elsewhere } = this.options;
    if (shareless === undefined) return; // the others were not looked for yet
    clock.clearTimeout(placed.retry);
    placed.resort = 'none';
    board.placed(runtime.name, undefined);
    if (placed.nowhere) this.#unplaced(placed, shareless);
    else {
      board.poolChanged(runtime.name, shareless);
      runtime.dispatcher.setProspect(false, shareless);
      elsewhere(runtime.name);
    }
    if (!plan) return;
    placed.exchanging = true;
    placed.alive = false;
    try {
      if (alive) await this.#calls.end(plan);
      this.#strike(placed);
      placed.plan = undefined;
      placed.indexes = [];
    } finally {
      this.#exchanged(placed);
    }
  }

  /** More replicas start side by side; what is too much drains, those that are not ready first. */
  async #resize(placed: Placed): Promise<void> {
    const plan = placed.plan!;
    const wanted = wantedOf(placed);
    if (placed.indexes.length < wanted) {
      while (placed.indexes.length < wanted) placed.indexes.push(placed.nextIndex++);
      return this.#complete(placed);
    }
    const replicas = this.options.board.actors.get(placed.runtime.name)?.replicas;
    const isReady = (index: number): boolean => replicas?.get(replicaId(placed.runtime.name, plan.device, index))?.view?.phase === 'ready';
    const leaving = [...placed.indexes].sort((a, b) => Number(isReady(a)) - Number(isReady(b)) || b - a).slice(0, placed.indexes.length - wanted);
    if (leaving.length === 0) return;
    placed.exchanging = true;
    placed.indexes = placed.indexes.filter((index) => !leaving.includes(index));
    try {
      for (const index of leaving) await this.#calls.remove(plan, replicaId(placed.runtime.name, plan.device, index));
    } finally {
      this.#exchanged(placed);
    }
  }

  #isReady(actor: string, device: string): boolean {
    return [...(this.options.board.actors.get(actor)?.replicas.values() ?? [])].some((replica) => replica.device === device && replica.view?.phase === 'ready');
  }

  #showShare(placed: Placed): void {
    this.options.board.wanted(placed.runtime.name, placed.nowhere ? placed.edition.spec.replicas : wantedOf(placed));
  }

  #whyNowhere(placed: Placed, why: string): string {
    const choice = this.#choose(placed);
    return choice.to === 'nowhere' || choice.to === 'wait' ? choice.reason : why;
  }

  /**
   * To a device it would rather be on, or away from one that broke or that its pool gave up on. Where it failed before,
   * and where the new pool must win over one that lives, one replica goes first and must prove.
   */
  async #move(placed: Placed, choice: Target): Promise<void> {
    const from = placed.plan?.device;
    if (!placed.alive && !placed.pauses.has(choice.device)) {
      const refused = await this.#calls.start(this.#whole(placed, choice));
      if (refused === undefined && from !== undefined && from !== choice.device) this.#moved(placed, from, choice);
      return;
    }
    placed.exchanging = true;
    try {
      const stopped = await this.#exchange(placed, placed.edition, choice);
      if (stopped === undefined) this.#moved(placed, from, choice);
      else placed.pauses.set(choice.device, afterFailure(placed.pauses.get(choice.device), stopped, this.options.clock.now()));
    } finally {
      this.#exchanged(placed);
    }
  }

  #moved(placed: Placed, from: string | undefined, { device, degraded }: Target): void {
    const actor = placed.runtime.name;
    this.options.story.tell('moved', degraded ?? `${device} can be used again`, { actor, device, detail: { from, to: device } });
  }

  /** Its whole pool, at once: nothing of it serves, so there is nothing to overlap with. */
  #whole(placed: Placed, choice: Target): ChildSpec {
    const { board } = this.options;
    const actor = placed.runtime.name;
    const plan = planPool(placed.edition, choice, placed.nextIndex > 0 ? ++placed.generation : 0, this.#incarnations);
    const indexes = Array.from({ length: wantedOf(placed) }, () => placed.nextIndex++);
    this.#strike(placed);
    for (const index of indexes) board.addReplica(actor, replicaId(actor, plan.device, index), plan.device);
    this.#standsOn(placed, plan, indexes);
    return poolChild(plan, indexes);
  }

  #standsOn(placed: Placed, plan: PoolPlan, indexes: number[]): void {
    const { board, clock } = this.options;
    const { name, dispatcher } = placed.runtime;
    clock.clearTimeout(placed.retry);
    placed.plan = plan;
    placed.indexes = indexes;
    placed.alive = true;
    placed.resort = 'none';
    board.poolChanged(name, undefined);
    board.placed(name, plan.degraded);
    dispatcher.setProspect(true, `starting on ${plan.device}`);
  }

  /** No usable device is left: nothing runs until one is. */
  async #evacuate(placed: Placed, reason: string): Promise<void> {
    const { plan, alive } = placed;
    this.#unplaced(placed, reason);
    if (!plan || !alive) return;
    placed.alive = false;
    placed.exchanging = true;
    this.options.story.tell('moved', reason, { actor: placed.runtime.name, device: plan.device, detail: { from: plan.device } });
    try {
      await this.#calls.end(plan);
      this.#strike(placed);
    } finally {
      this.#exchanged(placed);
    }
  }

  #unplaced(placed: Placed, reason: string): void {
    const { name, dispatcher } = placed.runtime;
    this.options.clock.clearTimeout(placed.retry);
    placed.resort = 'none';
    this.options.board.poolChanged(name, reason);
    dispatcher.setProspect(false, reason);
    this.options.unplaced(name, reason);
  }

  /** Takes the replicas of a pool that is gone off the board. */
  #strike({ plan, indexes, runtime }: Placed): void {
    if (plan) for (const index of indexes) this.options.board.removeReplica(runtime.name, replicaId(runtime.name, plan.device, index));
  }

  #choose({ edition, pauses, plan }: Placed): DeviceChoice {
    const { devices, clock } = this.options;
    return chooseDevice({ wanted: edition.spec.devices, states: devices(), pauses, present: plan?.device }, clock.now());
  }

  // -------------------------------------------------------------------------------------------------------- last resort

  /**
   * Its other replicas are still to be stopped, which may take their whole shutdownMs. Where nothing will take their
   * place, nobody shall wait for it from now on.
   */
  #givesUp(placed: Placed): void {
    if (placed.exchanging) return; // what is being exchanged has its successor under way
    const { pauses, plan } = placed;
    const pause = this.#pauseAfter(placed);
    const next = this.#choose({ ...placed, pauses: new Map(pauses).set(plan!.device, pause) });
    if (next.to === 'last-resort' || next.to === 'nowhere') placed.runtime.dispatcher.setProspect(false, pause.reason);
  }

  #gaveUp(placed: Placed): void {
    placed.alive = false;
    placed.resort = 'none';
    placed.pauses.set(placed.plan!.device, this.#pauseAfter(placed));
    this.options.pausesChanged();
    this.#reconsider(placed);
  }

  /** What its pool's end means for its device. */
  #pauseAfter({ runtime, plan, pauses }: Placed): Pause {
    const { board, clock } = this.options;
    const last = [...board.actors.get(runtime.name)!.replicas.values()].find((replica) => replica.lastExit)?.lastExit;
    const why = `gave up after too many restarts (last: ${last ? `${last.reason}: ${last.detail}` : 'unknown'})`;
    return afterFailure(pauses.get(plan!.device), why, clock.now());
  }

  /** Nowhere else to go: one replica at the longest backoff, here, for as long as it takes. */
  async #lastResort(placed: Placed, choice: Target): Promise<void> {
    const { board, story, clock } = this.options;
    const { name: actor, dispatcher } = placed.runtime;
    const { maxMs } = placed.edition.spec.restart.backoff;
    const why = placed.pauses.get(choice.device)!.reason;
    const left = placed.plan;
    placed.resort = 'waiting';
    if (left?.device !== choice.device) await this.#leaveFor(placed, left, choice);
    if (this.#stopped) return;
    const plan = placed.plan!;
    board.poolChanged(actor, `${why}; one replica is tried every ${maxMs} ms`);
    dispatcher.setProspect(false, why);
    if (left !== plan) story.tell('moved', choice.degraded ?? why, { actor, device: plan.device, detail: { from: left?.device, to: plan.device } });
    const retry = (): void => {
      if (this.#stopped || placed.resort !== 'waiting') return;
      // A roll-out is trying its luck meanwhile. If it has none, this is still the last resort.
      if (placed.exchanging) return void (placed.retry = clock.setTimeout(retry, maxMs));
      placed.resort = 'tried';
      placed.alive = true;
      this.#showWanted(placed, plan);
      story.tell('pool-retry', 'one replica is tried', { actor, device: plan.device });
      void this.#calls.start(lastResortPool(plan, placed.indexes[0]!));
    };
    placed.retry = clock.setTimeout(retry, maxMs);
  }

  async #leaveFor(placed: Placed, left: PoolPlan | undefined, choice: Target): Promise<void> {
    const { board } = this.options;
    const actor = placed.runtime.name;
    placed.exchanging = true;
    if (left && placed.alive) await this.#calls.end(left);
    this.#strike(placed);
    placed.alive = false;
    placed.plan = planPool(placed.edition, choice, ++placed.generation, this.#incarnations);
    while (placed.indexes.length < wantedOf(placed)) placed.indexes.push(placed.nextIndex++);
    for (const index of placed.indexes) board.addReplica(actor, replicaId(actor, choice.device, index), choice.device);
    board.placed(actor, choice.degraded);
    placed.exchanging = false;
  }

  /**
   * The one replica of a last resort is proven: the others follow, and the actor is whole again. From here on the pool is
   * one like any other, with the spec's own budget: it may give up once more, and move where it can.
   */
  #fillUp(placed: Placed): void {
    const { board, clock } = this.options;
    const plan = placed.plan!;
    const pause = placed.pauses.get(plan.device);
    placed.resort = 'none';
    if (pause) placed.pauses.set(plan.device, released(pause, clock.now()));
    board.poolChanged(placed.runtime.name, undefined);
    placed.runtime.dispatcher.setProspect(true, 'restarting');
    const pool = this.#calls.pool(plan);
    if (!pool) return;
    pool.send({ type: 'reconfigure', limits: restartLimits(plan) });
    void this.#complete(placed);
  }

  /**
   * Gives the pool every replica it should have and has not. One whose process could not even be made is unknown to its
   * supervisor (as in OTP, a start that failed leaves nothing), so it is tried again from here, at the pool's backoff.
   */
  async #complete(placed: Placed, failures = 0): Promise<void> {
    const { clock } = this.options;
    const { plan, runtime, edition } = placed;
    clock.clearTimeout(placed.refill);
    // What an operator made temporary or transient may be gone because it is meant to be.
    if (this.#stopped || placed.exchanging || !plan || placed.resort !== 'none' || edition.spec.restart.type !== 'permanent') return;
    const there = this.#calls.replicasOf(plan);
    if (!there) return;
    this.#showWanted(placed, plan);
    const revived = await Promise.all(placed.indexes.map((index) => there.has(replicaId(runtime.name, plan.device, index)) || this.#calls.revive(plan, index)));
    if (revived.every(Boolean) || this.#stopped) return;
    const { backoff } = edition.spec.restart;
    placed.refill = clock.setTimeout(() => void this.#complete(placed, failures + 1), Math.max(backoff.minMs, delayCapMs(backoff, failures + 2)));
  }

  /** An exchange that was taken back may have struck replicas off the board that come back later. */
  #showWanted({ runtime, indexes }: Placed, { device }: PoolPlan): void {
    const { board } = this.options;
    for (const index of indexes) {
      const id = replicaId(runtime.name, device, index);
      if (!board.actors.get(runtime.name)?.replicas.has(id)) board.addReplica(runtime.name, id, device);
    }
  }

  #forgetTimers({ retry, look, refill }: Placed): void {
    this.options.clock.clearTimeout(refill);
    this.options.clock.clearTimeout(retry);
    this.options.clock.clearTimeout(look);
  }
}
