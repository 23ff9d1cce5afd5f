/**
 * What placement asks of the supervisors: one replica more and wait until it is proven or failed, one less, a pool more,
 * a pool less. Decides nothing, and a pool that is not there is no error: it may have given up a moment ago.
 */
import type { Clock, TimerHandle } from '../ports.js';
import { callSupervisor, findSupervisor, inspectSupervisor, type SupervisorRef } from '../supervision/create-supervisor.js';
import type { ChildSpec } from '../supervision/child.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';
import type { SupervisorReport } from '../supervision/reports.js';
import type { Board } from './board.js';
import { replicaChild, replicaId, type PoolPlan } from './pools.js';

export interface Added {
  readonly ready: boolean;
  readonly why: string;
}

const STOPPING = 'the host is stopping';

export class PoolCalls {
  #stopped = false;
  /** Replicas whose first readiness or failure somebody waits for. */
  readonly #awaited = new Map<string, (ready: boolean, why: string) => void>();

  constructor(
    private readonly clock: Clock,
    private readonly board: Board,
    /** The supervisor of all pools, while it runs. */
    private readonly pools: () => SupervisorRef | undefined,
  ) {}

  get running(): boolean {
    return this.pools() !== undefined;
  }

  /** The host is stopping: nobody waits for a replica any longer, and none is added. */
  stop(): void {
    this.#stopped = true;
    for (const replica of [...this.#awaited.keys()]) this.#settle(replica, false, STOPPING);
  }

  /** Ids of the replicas the pool has, running or waiting for their next start; undefined when it is gone. */
  replicasOf(plan: PoolPlan): ReadonlySet<string> | undefined {
    const pool = this.pool(plan);
    return pool && new Set(inspectSupervisor(pool).children.map(({ id }) => id));
  }

  /** One that was there before. @returns whether it could be started at all; what follows is its supervisor's business */
  async revive(plan: PoolPlan, index: number): Promise<boolean> {
    const pool = this.pool(plan);
    return pool !== undefined && (await callSupervisor(pool, { type: 'startChild', spec: replicaChild(plan, index) })).ok;
  }

  pool(plan: PoolPlan): SupervisorRef | undefined {
    const pools = this.pools();
    return pools && findSupervisor(pools, plan.id);
  }

  reported(report: SupervisorReport): void {
    if (report.type === 'child-ready') this.#settle(report.child.id, true, 'proven');
    // Stopped with its pool, which gave up.
    if (report.type === 'child-stopped') this.#settle(report.child.id, false, 'stopped before it was ready');
    if (report.type === 'child-exit') this.#settle(report.child.id, false, `${report.reason}: ${report.detail}`);
  }

  /** @returns why the pool was not started */
  async start(pool: ChildSpec): Promise<string | undefined> {
    const pools = this.pools();
    if (!pools) return 'the host is not running';
    const started = await callSupervisor(pools, { type: 'startChild', spec: pool });
    return started.ok ? undefined : started.error;
  }

  async end(plan: PoolPlan): Promise<void> {
    const pools = this.pools();
    if (!pools) return;
    await callSupervisor(pools, { type: 'terminateChild', id: plan.id });
    await callSupervisor(pools, { type: 'deleteChild', id: plan.id });
  }

  /** Resolves when the replica was proven once, or failed. @param restart of this one, instead of the spec's */
  async add(plan: PoolPlan, index: number, restart?: 'temporary'): Promise<Added> {
    const { spec } = plan.edition;
    const id = replicaId(spec.name, plan.device, index);
    const pool = this.pool(plan);
    if (this.#stopped) return { ready: false, why: STOPPING };
    if (!pool) return { ready: false, why: 'its pool is gone' };
    this.board.addReplica(spec.name, id, plan.device);
    return new Promise((resolve) => {
      // The replica bounds its own start; this bounds the wait for one that never gets its turn.
      let timer: TimerHandle;
      const wait = (deadline: Deadline): void => {
        timer = this.clock.setTimeout(() => {
          const later = extendIfLate(deadline, this.clock.now());
          if (later) wait(later);
          else this.#settle(id, false, 'not ready in time');
        }, deadline.delayMs);
      };
      wait(startDeadline(2 * spec.startTimeoutMs, this.clock.now()));
      this.#awaited.set(id, (ready, why) => {
        this.clock.clearTimeout(timer);
        resolve({ ready, why });
      });
      void callSupervisor(pool, { type: 'startChild', spec: { ...replicaChild(plan, index), ...(restart && { restart }) } }).then((result) => {
        if (!result.ok) this.#settle(id, false, result.error);
      });
    });
  }

  async remove(plan: PoolPlan, id: string): Promise<void> {
    const pool = this.pool(plan);
    if (pool) {
      await callSupervisor(pool, { type: 'terminateChild', id });
      await callSupervisor(pool, { type: 'deleteChild', id });
    }
    this.board.removeReplica(plan.edition.spec.name, id);
  }

  #settle(replica: string, ready: boolean, why: string): void {
    const awaited = this.#awaited.get(replica);
    this.#awaited.delete(replica);
    awaited?.(ready, why);
  }
}
