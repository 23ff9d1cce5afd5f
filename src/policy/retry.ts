/**
 * What a caller does about an attempt that failed or is late.
 *
 * Executions are the scarce thing: a request may run `attemptsMax` times over all layers, so each attempt carries how many
 * runs it may use up (`Attempts-Left`), and one is kept back for the case that its host dies with all of them. What ran
 * nothing (nobody there, queue full, draining) costs none and is only paced. Decides nothing about where: see hosts-seen.ts.
 */

/** Executions over all layers, as on a host: one and two replays. */
export const ATTEMPTS_MAX = 3;

/** @param free executions neither used up nor out with another attempt, at least 1; @param repeats whether there may be another attempt */
export function grantOf(free: number, repeats: boolean): number {
  return repeats ? Math.max(1, free - 1) : free;
}

const LATE_MIN_MS = 250;
const LATE_FACTOR = 8;

/** When an attempt is late enough to be sent elsewhere too: 8 times the p99 of its like, between 250 ms and a third of the budget. */
export function lateAfterMs(p99Ms: number | undefined, budgetMs: number): number {
  const mostMs = budgetMs / 3;
  return p99Ms === undefined ? mostMs : Math.min(mostMs, Math.max(LATE_MIN_MS, LATE_FACTOR * p99Ms));
}

const PAUSE_MIN_MS = 20;
const PAUSE_MAX_MS = 500;

/** Doubles, with half of it left to chance, so that callers do not return in step. @param pauses so far in this call */
export function pauseMs(pauses: number, chance: number, retryAfterMs = 0): number {
  const fullMs = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** pauses);
  return Math.max(fullMs * (0.5 + chance / 2), Math.min(retryAfterMs, PAUSE_MAX_MS));
}

export interface FailedAttempt {
  /** Why there was no answer at all; undefined when a host answered with an error. */
  readonly bus: 'NO_RESPONDERS' | 'TIMEOUT' | 'DISCONNECTED' | 'CLOSED' | 'PAYLOAD_TOO_LARGE' | 'PERMISSION' | undefined;
  readonly retryable: boolean;
  /** What the host said it used; undefined when it did not say. */
  readonly attempts: number | undefined;
  /** Executions it was allowed. */
  readonly granted: number;
  /** It went to one host, not to the queue group. */
  readonly direct: boolean;
  /** The request may run more than once. */
  readonly repeats: boolean;
}

export type AfterFailure =
  /** This error is the answer. */
  | 'give-up'
  /** It may have run and must not run again. */
  | 'unknown'
  /** Nothing was lost but a word: elsewhere, now. */
  | 'at-once'
  | 'after-pause'
  /** When the connection is back. */
  | 'when-up';

export interface FailureVerdict {
  readonly next: AfterFailure;
  /** Executions that are gone; of an attempt that never came back, all it was allowed. */
  readonly used: number;
}

export function afterFailure(failed: FailedAttempt): FailureVerdict {
  const { granted, direct, repeats } = failed;
  switch (failed.bus) {
    case 'NO_RESPONDERS':
      return { next: direct ? 'at-once' : 'after-pause', used: 0 };
    case 'PERMISSION':
      return { next: direct ? 'at-once' : 'give-up', used: 0 };
    case 'PAYLOAD_TOO_LARGE':
      return { next: 'give-up', used: 0 };
    case 'TIMEOUT':
      return { next: 'give-up', used: granted };
    case 'DISCONNECTED':
      return { next: repeats ? 'when-up' : 'unknown', used: granted };
    case 'CLOSED':
      return { next: repeats ? 'give-up' : 'unknown', used: granted };
    case undefined: {
      // A host that does not say what it used has used all of it, as far as anybody knows.
      const used = failed.attempts ?? granted;
      if (!failed.retryable || (used > 0 && !repeats)) return { next: 'give-up', used };
      return { next: 'after-pause', used };
    }
  }
}
