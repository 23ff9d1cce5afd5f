/**
 * Replicas as supervised children: one pool per actor and device, replicas side by side in it, restarts budgeted there
 * and nowhere else. Which pools exist is placement's business.
 */
import type { ActorSpec } from '../spec/actor.js';
import type { Edition } from './actor-runtime.js';
import type { ChildSpec } from '../supervision/child.js';
import type { RestartLimits } from '../supervision/options.js';
import { replicaMachine, type ReplicaEffects } from '../supervision/replica.js';
import { subtree } from '../supervision/supervisor.js';

/** Exits of one pool this close together count once: they have one cause. */
const EXITS_COALESCE_MS = 100;

/** How long after `shutdownMs` a cell may take to be gone before it is reported. */
const KILL_GRACE_MS = 1000;

export interface PoolPlan {
  /** `<actor>@<device>`, and `~<n>` for the n-th edition after the first. */
  readonly id: string;
  readonly edition: Edition;
  readonly device: string;
  /** Why its answers are second best; undefined on the actor's first choice. */
  readonly degraded: string | undefined;
  readonly effects: ReplicaEffects;
  /** Of the host's replicas, by id: a replica that comes back in another pool goes on counting. */
  readonly incarnations: Map<string, number>;
}

export function planPool(
  edition: Edition, { device, degraded }: { readonly device: string; readonly degraded?: string }, generation: number, incarnations: Map<string, number>,
): PoolPlan {
  const id = `${edition.spec.name}@${device}${generation > 0 ? `~${generation}` : ''}`;
  return { id, edition, device, degraded, effects: edition.effects(device, degraded), incarnations };
}

/** `ocr-rec-cpu-0`, `ocr-rec-cuda1-3`: usable as a NATS token and a file name. */
export const replicaId = (actor: string, device: string, index: number): string => `${actor}-${device.replace(':', '')}-${index}`;

/** A pool as the spec asks for it, with the replicas of these numbers. */
export function poolChild(plan: PoolPlan, indexes: readonly number[]): ChildSpec {
  return pool(plan, indexes, restartLimits(plan));
}

/**
 * A pool that gave up and has nowhere else to go: one replica, at the longest backoff, for as long as it takes. When it
 * becomes ready, placement adds the others and gives the pool its `restartLimits` back.
 */
export function lastResortPool(plan: PoolPlan, index: number): ChildSpec {
  const limits = restartLimits(plan);
  return pool(plan, [index], { ...limits, intensity: Infinity, consecutiveMax: Infinity, backoff: { ...limits.backoff, minMs: limits.backoff.maxMs } });
}

/** As the spec asks for them. */
export function restartLimits({ edition }: PoolPlan): RestartLimits & Omit<ActorSpec['restart'], 'type'> {
  const { intensity, periodMs, consecutiveMax, resetAfterMs, backoff } = edition.spec.restart;
  return { intensity, periodMs, consecutiveMax, resetAfterMs, backoff };
}

function pool(plan: PoolPlan, indexes: readonly number[], limits: RestartLimits): ChildSpec {
  return subtree({
    id: plan.id,
    // The end of a pool is an event for placement, never an escalation.
    restart: 'temporary',
    options: {
      strategy: 'one_for_one',
      startedWhen: 'spawned',
      initialStart: 'retry',
      stopOrder: 'parallel',
      ...limits,
      exitsCoalesceMs: EXITS_COALESCE_MS,
      killGraceMs: KILL_GRACE_MS,
      incarnations: plan.incarnations,
      children: indexes.map((index) => replicaChild(plan, index)),
    },
  });
}

export function replicaChild({ edition: { spec, limits }, device, effects }: PoolPlan, index: number): ChildSpec {
  return {
    id: replicaId(spec.name, device, index),
    type: 'worker',
    restart: spec.restart.type,
    significant: false,
    shutdown: spec.shutdownMs,
    start: { logic: replicaMachine, input: () => ({ effects, limits }) },
  };
}
