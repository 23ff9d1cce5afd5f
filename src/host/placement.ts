/**
 * Which pools this host runs, and how replicas are exchanged without a gap. One host alone places every actor on the first
 * of its devices that it has; a pool that gave up comes back as a last resort, because there is nowhere else to go.
 *
 * Whatever is exchanged (an ejected replica, one that grew too large, a whole edition) is exchanged with overlap: the new
 * one is proven before the old one drains. API calls on supervisors are not restarts, so they are braked here.
 */
import type { Clock, TimerHandle } from '../ports.js';
import type { ActorSpec } from '../spec/actor.js';
import { callSupervisor, findSupervisor, type SupervisorRef } from '../supervision/create-supervisor.js';
import type { ChildSpec } from '../supervision/child.js';
import type { SupervisorReport } from '../supervision/reports.js';
import type { ActorRuntime, Edition } from './actor-runtime.js';
import type { Board } from './board.js';
import { lastResortPool, planPool, poolChild, replicaChild, replicaId, type PoolPlan } from './pools.js';
import type { Place, Story } from './story.js';

export interface PlacementOptions {
  readonly devices: readonly string[];
  readonly clock: Clock;
  readonly board: Board;
  readonly story: Story;
  /** The supervisor of all pools, while it runs. */
  readonly pools: () => SupervisorRef | undefined;
}

interface Placed {
  readonly runtime: ActorRuntime;
  plan: PoolPlan;
  /** Numbers of the replicas it should have. */
  indexes: number[];
  nextIndex: number;
  generation: number;
  lastResort: boolean;
  retry: TimerHandle | undefined;
  /** An exchange is under way; one at a time per actor. */
  exchanging: boolean;
  lastEjectionMs: number;
}

/** Replicas of one actor are ejected or recycled at most this often. */
const EJECT_EVERY_MS = 10_000;

export class Placement {
  readonly #placed = new Map<string, Placed>();
  /** Replicas whose first readiness or failure somebody waits for. */
  readonly #awaited = new Map<string, (ready: boolean, why: string) => void>();
  #stopped = false;

  constructor(private readonly options: PlacementOptions) {}

  /** Decides where the actor runs. @returns the pool's child spec, for the supervisor of all pools */
  place(runtime: ActorRuntime, edition: Edition): ChildSpec {
    const { spec } = edition;
    const indexes = Array.from({ length: spec.replicas }, (_, index) => index);
    const plan = planPool(edition, this.#deviceFor(spec), 0);
    this.#placed.set(spec.name, {
      runtime, plan, indexes, nextIndex: indexes.length, generation: 0, lastResort: false, retry: undefined, exchanging: false, lastEjectionMs: -Infinity,
    });
    for (const index of indexes) this.options.board.addReplica(spec.name, replicaId(spec.name, plan.device, index), plan.device);
    return poolChild(plan, indexes);
  }

  /** Where a pool belongs, also one of an edition that is on its way in or out. */
  placeOf(supervisor: string): Place | undefined {
    const at = supervisor.lastIndexOf('@');
    return at < 0 ? undefined : { actor: supervisor.slice(0, at), device: supervisor.slice(at + 1).split('~')[0]! };
  }

  tellReplica(actor: string, replica: string, event: { readonly type: string }): void {
    const placed = this.#placed.get(actor);
    const pool = placed && this.#pool(placed.plan);
    pool?.getSnapshot().context.refs[replica]?.send(event);
  }

  poolReported(report: SupervisorReport): void {
    if (report.type === 'child-ready') this.#settle(report.child.id, true, 'proven');
    if (report.type === 'child-exit') this.#settle(report.child.id, false, `${report.reason}: ${report.detail}`);
    const placed = [...this.#placed.values()].find(({ plan }) => plan.id === report.supervisor);
    if (!placed || this.#stopped) return;
    if (report.type === 'shutdown' && report.detail === 'budget_exhausted') this.#gaveUp(placed);
    if (report.type === 'child-ready' && placed.lastResort) this.#fillUp(placed);
  }

  /** The host is stopping: nothing comes back any more. */
  stop(): void {
    this.#stopped = true;
    for (const placed of this.#placed.values()) this.options.clock.clearTimeout(placed.retry);
  }

  // ---------------------------------------------------------------------------------------------------------- exchanges

  /** Replaces one replica by a proven one. Without a proven one the old stays: a doubtful answer beats none. */
  async eject(actor: string, replica: string, why: string): Promise<void> {
    const placed = this.#placed.get(actor);
    const nowMs = this.options.clock.now();
    if (!placed || placed.exchanging || this.#stopped || nowMs - placed.lastEjectionMs < EJECT_EVERY_MS) return;
    const { story } = this.options;
    const { plan } = placed;
    const about = { actor, device: plan.device, replica };
    placed.exchanging = true;
    placed.lastEjectionMs = nowMs;
    try {
      const index = placed.nextIndex++;
      const added = await this.#add(plan, index);
      if (!added.ready) {
        await this.#remove(plan, replicaId(actor, plan.device, index));
        return story.tell('replica-ejected', `${why}; kept, because its replacement did not prove (${added.why})`, { ...about, detail: { kept: true } });
      }
      placed.indexes = [...placed.indexes.filter((known) => replicaId(actor, plan.device, known) !== replica), index];
      story.tell('replica-ejected', why, { ...about, detail: { replacement: replicaId(actor, plan.device, index) } });
      await this.#remove(plan, replica);
    } finally {
      placed.exchanging = false;
    }
  }

  /**
   * Rolls a new edition in, replica by replica: one new one proves, one old one drains. Resolves with undefined, or with
   * why it was stopped; then everything is as before.
   */
  async roll(edition: Edition): Promise<string | undefined> {
    const actor = edition.spec.name;
    const placed = this.#placed.get(actor);
    const pools = this.options.pools();
    if (!placed || !pools || this.#stopped) return 'the host is not running';
    if (placed.exchanging) return 'another exchange of replicas is under way';
    placed.exchanging = true;
    const old = { plan: placed.plan, indexes: [...placed.indexes] };
    const plan = planPool(edition, this.#deviceFor(edition.spec), ++placed.generation);
    const indexes: number[] = [];
    try {
      const started = await callSupervisor(pools, { type: 'startChild', spec: poolChild(plan, []) });
      if (!started.ok) return `its pool did not start: ${started.error}`;
      while (indexes.length < edition.spec.replicas) {
        const index = placed.nextIndex++;
        indexes.push(index);
        const added = await this.#add(plan, index);
        if (!added.ready) {
          await this.#restore(placed, old, plan, indexes);
          return `${replicaId(actor, plan.device, index)} did not prove: ${added.why}`;
        }
        const leaving = old.indexes[indexes.length - 1];
        if (leaving !== undefined) await this.#remove(old.plan, replicaId(actor, old.plan.device, leaving));
      }
      placed.plan = plan;
      placed.indexes = indexes;
      for (const index of old.indexes.slice(indexes.length)) await this.#remove(old.plan, replicaId(actor, old.plan.device, index));
      await this.#end(old.plan);
      placed.runtime.adopt(edition.spec, edition.pin);
      return undefined;
    } finally {
      placed.exchanging = false;
    }
  }

  /** An actor that was not here before. */
  async add(runtime: ActorRuntime, edition: Edition): Promise<void> {
    const pools = this.options.pools();
    const child = this.place(runtime, edition);
    if (pools) await callSupervisor(pools, { type: 'startChild', spec: child });
  }

  /** An actor nobody wants any more. */
  async withdraw(actor: string): Promise<void> {
    const placed = this.#placed.get(actor);
    if (!placed) return;
    this.#placed.delete(actor);
    this.options.clock.clearTimeout(placed.retry);
    placed.runtime.dispatcher.setProspect(false, 'the actor was taken out of the spec');
    await this.#end(placed.plan);
    placed.runtime.dispatcher.close('the actor was taken out of the spec');
  }

  async #add(plan: PoolPlan, index: number): Promise<{ readonly ready: boolean; readonly why: string }> {
    const { spec } = plan.edition;
    const id = replicaId(spec.name, plan.device, index);
    const pool = this.#pool(plan);
    if (!pool) return { ready: false, why: 'its pool is gone' };
    this.options.board.addReplica(spec.name, id, plan.device);
    return new Promise((resolve) => {
      const { clock } = this.options;
      // The replica bounds its own start; this bounds the wait for one that never gets its turn.
      const timer = clock.setTimeout(() => this.#settle(id, false, 'not ready in time'), 2 * spec.startTimeoutMs);
      this.#awaited.set(id, (ready, why) => {
        clock.clearTimeout(timer);
        resolve({ ready, why });
      });
      void callSupervisor(pool, { type: 'startChild', spec: replicaChild(plan, index) }).then((result) => {
        if (!result.ok) this.#settle(id, false, result.error);
      });
    });
  }

  async #remove(plan: PoolPlan, id: string): Promise<void> {
    const pool = this.#pool(plan);
    if (pool) {
      await callSupervisor(pool, { type: 'terminateChild', id });
      await callSupervisor(pool, { type: 'deleteChild', id });
    }
    this.options.board.removeReplica(plan.edition.spec.name, id);
  }

  /** A roll-out stopped half way: the new pool goes, and the old one gets back what it gave. */
  async #restore(placed: Placed, old: { readonly plan: PoolPlan; readonly indexes: readonly number[] }, plan: PoolPlan, indexes: readonly number[]): Promise<void> {
    const actor = plan.edition.spec.name;
    const given = old.indexes.slice(0, indexes.length - 1);
    // Back first, then away: there may be no other replica left.
    for (const index of given) await this.#add(old.plan, index);
    for (const index of indexes) await this.#remove(plan, replicaId(actor, plan.device, index));
    await this.#end(plan);
    placed.indexes = [...old.indexes];
  }

  async #end(plan: PoolPlan): Promise<void> {
    const pools = this.options.pools();
    if (!pools) return;
    await callSupervisor(pools, { type: 'terminateChild', id: plan.id });
    await callSupervisor(pools, { type: 'deleteChild', id: plan.id });
  }

  #settle(replica: string, ready: boolean, why: string): void {
    const awaited = this.#awaited.get(replica);
    this.#awaited.delete(replica);
    awaited?.(ready, why);
  }

  // -------------------------------------------------------------------------------------------------------- last resort

  #gaveUp(placed: Placed): void {
    const { plan, runtime } = placed;
    const { board, story, clock } = this.options;
    const actor = runtime.name;
    const waitMs = plan.edition.spec.restart.backoff.maxMs;
    const last = [...board.actors.get(actor)!.replicas.values()].find((replica) => replica.lastExit)?.lastExit;
    const why = `gave up after too many restarts (last: ${last ? `${last.reason}: ${last.detail}` : 'unknown'})`;
    board.poolChanged(actor, `${why}; one replica is tried every ${waitMs} ms`);
    runtime.dispatcher.setProspect(false, why);
    placed.retry = clock.setTimeout(() => {
      const pools = this.options.pools();
      if (!pools || this.#stopped) return;
      placed.lastResort = true;
      story.tell('pool-retry', 'one replica is tried', { actor, device: plan.device });
      void callSupervisor(pools, { type: 'startChild', spec: lastResortPool(plan, placed.indexes[0]!) });
    }, waitMs);
  }

  /** The one replica of a last resort is proven: the others follow, and the actor is whole again. */
  #fillUp(placed: Placed): void {
    placed.lastResort = false;
    this.options.board.poolChanged(placed.runtime.name, undefined);
    placed.runtime.dispatcher.setProspect(true, 'restarting');
    const pool = this.#pool(placed.plan);
    if (!pool) return;
    for (const index of placed.indexes.slice(1)) void callSupervisor(pool, { type: 'startChild', spec: replicaChild(placed.plan, index) });
  }

  #pool(plan: PoolPlan): SupervisorRef | undefined {
    const pools = this.options.pools();
    return pools && findSupervisor(pools, plan.id);
  }

  #deviceFor(spec: ActorSpec): string {
    return spec.devices.find((wanted) => this.options.devices.includes(wanted))!;
  }
}
