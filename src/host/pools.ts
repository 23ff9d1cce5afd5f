/**
 * Replicas as supervised children: one pool per actor and device, replicas side by side in it, restarts budgeted there
 * and nowhere else. Which pools exist is placement's business.
 */
import type { ActorSpec } from '../spec/actor.js';
import type { ChildSpec } from '../supervision/child.js';
import { replicaMachine, type ReplicaEffects, type ReplicaLimits } from '../supervision/replica.js';
import { subtree } from '../supervision/supervisor.js';

/** Exits of one pool this close together count once: they have one cause. */
const EXITS_COALESCE_MS = 100;

/** How long after `shutdownMs` a cell may take to be gone before it is reported. */
const KILL_GRACE_MS = 1000;

export interface PoolPlan {
  readonly spec: ActorSpec;
  readonly device: string;
  readonly effects: ReplicaEffects;
  readonly limits: ReplicaLimits;
}

export const poolId = (actor: string, device: string): string => `${actor}@${device}`;

/** `ocr-rec-cpu-0`, `ocr-rec-cuda1-3`: usable as a NATS token and a file name. */
export const replicaId = (actor: string, device: string, index: number): string => `${actor}-${device.replace(':', '')}-${index}`;

/** A pool as the spec asks for it. */
export function poolChild(plan: PoolPlan): ChildSpec {
  const { spec } = plan;
  return pool(plan, spec.replicas, spec.restart);
}

/**
 * A pool that gave up and has nowhere else to go: one replica, at the longest backoff, for as long as it takes. When it
 * becomes ready, placement adds the others.
 */
export function lastResortPool(plan: PoolPlan): ChildSpec {
  const { maxMs } = plan.spec.restart.backoff;
  return pool(plan, 1, {
    ...plan.spec.restart,
    intensity: Infinity,
    consecutiveMax: Infinity,
    backoff: { ...plan.spec.restart.backoff, minMs: maxMs },
  });
}

function pool(plan: PoolPlan, replicas: number, restart: ActorSpec['restart']): ChildSpec {
  const { spec, device } = plan;
  return subtree({
    id: poolId(spec.name, device),
    // The end of a pool is an event for placement, never an escalation.
    restart: 'temporary',
    options: {
      strategy: 'one_for_one',
      startedWhen: 'spawned',
      initialStart: 'retry',
      stopOrder: 'parallel',
      intensity: restart.intensity,
      periodMs: restart.periodMs,
      consecutiveMax: restart.consecutiveMax,
      resetAfterMs: restart.resetAfterMs,
      backoff: restart.backoff,
      exitsCoalesceMs: EXITS_COALESCE_MS,
      killGraceMs: KILL_GRACE_MS,
      children: Array.from({ length: replicas }, (_, index) => replicaChild(plan, index)),
    },
  });
}

export function replicaChild({ spec, device, effects, limits }: PoolPlan, index: number): ChildSpec {
  return {
    id: replicaId(spec.name, device, index),
    type: 'worker',
    restart: spec.restart.type,
    significant: false,
    shutdown: spec.shutdownMs,
    start: { logic: replicaMachine, input: () => ({ effects, limits }) },
  };
}
