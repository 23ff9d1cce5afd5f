/**
 * Which pools this host runs. One host alone places every actor on the first of its devices that it has; a pool that
 * gave up comes back as a last resort, because there is nowhere else to go.
 */
import type { Clock, TimerHandle } from '../ports.js';
import type { HostSpec } from '../spec/host.js';
import { callSupervisor, type SupervisorRef } from '../supervision/create-supervisor.js';
import type { SupervisorReport } from '../supervision/reports.js';
import type { ActorRuntime } from './actor-runtime.js';
import type { Board } from './board.js';
import { lastResortPool, poolChild, poolId, replicaChild, replicaId, type PoolPlan } from './pools.js';
import type { Place, Story } from './story.js';

export interface PlacementOptions {
  readonly spec: HostSpec;
  readonly clock: Clock;
  readonly board: Board;
  readonly story: Story;
  /** The supervisor of all pools, while it runs. */
  readonly pools: () => SupervisorRef | undefined;
}

interface Placed {
  readonly plan: PoolPlan;
  readonly runtime: ActorRuntime;
  lastResort: boolean;
  retry: TimerHandle | undefined;
}

export class Placement {
  readonly #placed = new Map<string, Placed>();
  #stopped = false;

  constructor(private readonly options: PlacementOptions) {}

  /** Decides where the actor runs. @returns the pool's child spec, for the supervisor of all pools */
  place(runtime: ActorRuntime): ReturnType<typeof poolChild> {
    const { spec } = runtime;
    const device = spec.devices.find((wanted) => this.options.spec.devices.some(({ id }) => id === wanted))!;
    const plan: PoolPlan = { spec, device, effects: runtime.effects(device), limits: runtime.limits };
    this.#placed.set(poolId(spec.name, device), { plan, runtime, lastResort: false, retry: undefined });
    for (let index = 0; index < spec.replicas; index++) this.options.board.addReplica(spec.name, replicaId(spec.name, device, index), device);
    return poolChild(plan);
  }

  placeOf(supervisor: string): Place | undefined {
    const placed = this.#placed.get(supervisor);
    return placed && { actor: placed.plan.spec.name, device: placed.plan.device };
  }

  poolReported(report: SupervisorReport): void {
    const placed = this.#placed.get(report.supervisor);
    if (!placed || this.#stopped) return;
    if (report.type === 'shutdown' && report.detail === 'budget_exhausted') this.#gaveUp(placed);
    if (report.type === 'child-ready' && placed.lastResort) this.#fillUp(placed);
  }

  /** The host is stopping: nothing comes back any more. */
  stop(): void {
    this.#stopped = true;
    for (const placed of this.#placed.values()) this.options.clock.clearTimeout(placed.retry);
  }

  #gaveUp(placed: Placed): void {
    const { plan, runtime } = placed;
    const { board, story, clock } = this.options;
    const actor = plan.spec.name;
    const waitMs = plan.spec.restart.backoff.maxMs;
    const last = [...board.actors.get(actor)!.replicas.values()].find((replica) => replica.lastExit)?.lastExit;
    const why = `gave up after too many restarts (last: ${last ? `${last.reason}: ${last.detail}` : 'unknown'})`;
    board.poolChanged(actor, `${why}; one replica is tried every ${waitMs} ms`);
    runtime.dispatcher.setProspect(false, why);
    placed.retry = clock.setTimeout(() => {
      const pools = this.options.pools();
      if (!pools || this.#stopped) return;
      placed.lastResort = true;
      story.tell('pool-retry', 'one replica is tried', { actor, device: plan.device });
      void callSupervisor(pools, { type: 'startChild', spec: lastResortPool(plan) });
    }, waitMs);
  }

  /** The one replica of a last resort is proven: the others follow, and the actor is whole again. */
  #fillUp(placed: Placed): void {
    placed.lastResort = false;
    const { plan, runtime } = placed;
    this.options.board.poolChanged(plan.spec.name, undefined);
    runtime.dispatcher.setProspect(true, 'restarting');
    const pool = this.options.pools()?.getSnapshot().context.refs[poolId(plan.spec.name, plan.device)] as SupervisorRef | undefined;
    if (!pool) return;
    for (let index = 1; index < plan.spec.replicas; index++) void callSupervisor(pool, { type: 'startChild', spec: replicaChild(plan, index) });
  }
}
