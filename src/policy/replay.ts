/**
 * What becomes of a request whose lane ended under it.
 *
 * The caller must see one answer, so the request is run again, but a request that itself ends lanes must not walk
 * through all of them. Whoever was running when a lane died by itself is therefore a suspect and runs alone next time;
 * only a death in such a solo run proves guilt (semantics, section 2). The second copy of a late run is a solo run too, and
 * then the two deaths may come in either order.
 *
 * Two refinements that real deaths taught. A lane that crashes may take along an answer it had not sent yet, so after a
 * crash the run posted ahead is a suspect as well. And a SIGKILL from outside (an operator, a test, the kernel short of
 * memory) during a solo run proves nothing the first time, because it happens to innocents; the second time it does.
 */

export interface LostRun {
  readonly idempotent: boolean;
  /** False: posted ahead of its turn, never started. */
  readonly wasRunning: boolean;
  /** The lane ended by itself, as opposed to an end regrow ordered for reasons other than this run. */
  readonly laneDiedByItself: boolean;
  /** It was running on a lane that died by itself, this one or one before. */
  readonly suspect: boolean;
  /** Runs alone, on probation, this one included; 0 when no death of this request was alone, or none came before. */
  readonly soloRuns: number;
  /** The lane was ended by a signal from outside. */
  readonly killed: boolean;
  /** Executions so far, this one included if it was running. */
  readonly attempts: number;
  /** Executions this request may have in all, on this and other hosts. */
  readonly attemptsMax: number;
  /** The host-wide replay budget has room. */
  readonly budgetLeft: boolean;
}

export type ReplayDecision =
  /** Back to the head of the queue, nothing counted. */
  | 'requeue'
  /** Run again, counted as a replay. */
  | 'replay'
  /** Run again, alone. */
  | 'solo'
  /** It ended a lane in a solo run. */
  | 'poison'
  /** It may have run and must not run twice. */
  | 'unknown'
  /** No execution left, or too many replays on this host already. */
  | 'exhausted';

export function afterLaneLoss(run: LostRun): ReplayDecision {
  if (!run.wasRunning) return 'requeue';
  if (!run.idempotent) return 'unknown';
  if (run.laneDiedByItself && run.soloRuns >= (run.killed ? 2 : 1)) return 'poison';
  if (run.attempts >= run.attemptsMax || !run.budgetLeft) return 'exhausted';
  return run.suspect ? 'solo' : 'replay';
}

/** Two or more lanes dying within this time point to the machine, not to a request. */
export const MASS_DEATH_MS = 100;

/** Replays a host may spend: a share of the recent requests plus a floor for quiet times. */
export interface ReplayBudget {
  /** Start of the current second, and counts of the last ten seconds, newest first. */
  readonly secondMs: number;
  readonly requests: readonly number[];
  readonly replays: readonly number[];
}

const SECONDS = 10;
const SHARE = 0.2;
const FLOOR = 10;

export const freshReplayBudget = (nowMs: number): ReplayBudget => ({
  secondMs: nowMs,
  requests: Array<number>(SECONDS).fill(0),
  replays: Array<number>(SECONDS).fill(0),
});

function rolled(budget: ReplayBudget, nowMs: number): ReplayBudget {
  const passed = Math.floor((nowMs - budget.secondMs) / 1000);
  if (passed <= 0) return budget;
  const shift = (counts: readonly number[]): number[] => [...Array<number>(Math.min(passed, SECONDS)).fill(0), ...counts].slice(0, SECONDS);
  return { secondMs: budget.secondMs + passed * 1000, requests: shift(budget.requests), replays: shift(budget.replays) };
}

const bump = (counts: readonly number[], by: number): number[] => [counts[0]! + by, ...counts.slice(1)];
const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** @param requests admitted since the last call; counted in bulk, because this is no work for every request */
export function countRequests(budget: ReplayBudget, nowMs: number, requests: number): ReplayBudget {
  const now = rolled(budget, nowMs);
  return { ...now, requests: bump(now.requests, requests) };
}

export function takeReplay(budget: ReplayBudget, nowMs: number): { readonly granted: boolean; readonly budget: ReplayBudget } {
  const now = rolled(budget, nowMs);
  if (sum(now.replays) >= sum(now.requests) * SHARE + FLOOR) return { granted: false, budget: now };
  return { granted: true, budget: { ...now, replays: bump(now.replays, 1) } };
}
