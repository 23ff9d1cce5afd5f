/**
 * How long a child waits before its next start, and whether a restart budget can be hit at all with such waits.
 *
 * k counts a child's failures in a row: exits that led to a restart and starts that failed. The first costs nothing,
 * because most crashes are one-offs; only time spent proven and ready makes a child stable again, because a load that
 * succeeds proves nothing. Does not decide who gives up on the ground of k: see supervise.ts.
 */

export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
  readonly factor: number;
  /** 0..1: the share of the delay that chance may take away. Chance never adds, so `maxMs` is a true cap. */
  readonly jitter: number;
}

/** Upper bound of the k-th delay in ms: delay(0) = delay(1) = 0, delay(k) = min(max, min * factor^(k-2)). */
export function delayCapMs(backoff: Backoff | undefined, failures: number): number {
  if (!backoff || failures < 2) return 0;
  // factor^n overflows to Infinity for large n, which min() turns into the cap; 0 * Infinity would be NaN.
  if (backoff.minMs === 0) return 0;
  return Math.min(backoff.maxMs, backoff.minMs * backoff.factor ** (failures - 2));
}

/** `chance` is uniform in [0, 1). */
export function delayMs(backoff: Backoff | undefined, failures: number, chance: number): number {
  const cap = delayCapMs(backoff, failures);
  return cap === 0 ? 0 : cap * (1 - (backoff?.jitter ?? 0) * chance);
}

export interface Readiness {
  readonly failures: number;
  /** When the present, unbroken readiness began; undefined when not ready. */
  readonly readySince: number | undefined;
}

/** The failures that still count at `now`: none once the child has been ready for `resetAfterMs` without a break. */
export function failuresAt(child: Readiness, now: number, resetAfterMs: number): number {
  return child.readySince !== undefined && now - child.readySince >= resetAfterMs ? 0 : child.failures;
}

export interface RestartLimits {
  readonly intensity: number;
  readonly periodMs: number;
  readonly backoff?: Backoff | undefined;
}

export type Reachable = { readonly ok: true } | { readonly ok: false; readonly message: string };

/**
 * Whether a child that fails at once every time can hit the budget. If the delays of the first `intensity` attempts add
 * up to the period or more, the window forgets faster than the attempts fill it, and the supervisor would restart for
 * ever. An intensity of Infinity says that this is meant.
 *
 * `sideBySide`: how many children fail independently of each other (the replicas of a pool, each with its own backoff);
 * they share the attempts, so each of them needs fewer. 1 for a raw supervisor.
 */
export function budgetReachable(limits: RestartLimits, sideBySide = 1): Reachable {
  const { intensity, periodMs, backoff } = limits;
  if (intensity === Infinity || !backoff) return { ok: true };
  const attemptsEach = Math.ceil(intensity / Math.max(1, sideBySide));
  let totalMs = 0;
  for (let k = 1; k <= attemptsEach; k += 1) {
    totalMs += delayCapMs(backoff, k);
    if (totalMs >= periodMs) {
      return {
        ok: false,
        message:
          `budget_unreachable: the backoff before the first ${k} of ${attemptsEach} attempts adds up to ${totalMs} ms, ` +
          `periodMs is ${periodMs}: the limit of ${intensity} restarts can never be hit. ` +
          'Raise periodMs, lower intensity or backoff.maxMs, or say intensity: Infinity if restarting for ever is meant.',
      };
    }
  }
  return { ok: true };
}
