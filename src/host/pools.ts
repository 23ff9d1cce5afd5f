/**
 * Replicas as supervised children: one pool per actor and device, replicas side by side in it, restarts budgeted there
 * and nowhere else. Which pools exist is placement's business.
 */
import type { ActorSpec } from '../spec/actor.js';
import type { Edition } from './actor-runtime.js';
import type { ChildSpec } from '../supervision/child.js';
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
}

export function planPool(edition: Edition, { device, degraded }: { readonly device: string; readonly degraded?: string }, generation: number): PoolPlan {
  const id = `${edition.spec.name}@${device}${generation > 0 ? `~${generation}` : ''}`;
  return { id, edition, device, degraded, effects: edition.effects(device, degraded) };
}

/** `ocr-rec-cpu-0`, `ocr-rec-cuda1-3`: usable as a NATS token and a file name. */
export const replicaId = (actor: string, device: string, index: number): string => `${actor}-${device.replace(':', '')}-${index}`;

/** A pool as the spec asks for it, with the replicas of these numbers. */
export function poolChild(plan: PoolPlan, indexes: readonly number[]): ChildSpec {
  return pool(plan, indexes, plan.edition.spec.restart);
}

/**
 * A pool that gave up and has nowhere else to go: one replica, at the longest backoff, for as long as it takes. When it
 * becomes ready, placement adds the others.
 */
export function lastResortPool(plan: PoolPlan, index: number): ChildSpec {
  const { restart } = plan.edition.spec;
  return pool(plan, [index], { ...restart, intensity: Infinity, consecutiveMax: Infinity, backoff: { ...restart.backoff, minMs: restart.backoff.maxMs } });
}

function pool(plan: PoolPlan, indexes: readonly number[], restart: ActorSpec['restart']): ChildSpec {
  return subtree({
    id: plan.id,
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
