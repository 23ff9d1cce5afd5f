/**
 * A time limit on somebody else that this process's own timer keeps. When the timer itself comes late, this process (or
 * its machine) stood still: what it has not heard may be waiting in its own queue, so the limit is granted once more
 * before anybody is judged. Once only: a host that is always late must come to a verdict too. Pure.
 */
export interface Deadline {
  readonly delayMs: number;
  readonly dueAt: number;
  /** Granted once more already. */
  readonly extended: boolean;
}

/** A timer that fires later than this says more about this process than about whom it waits for. */
export const LATE_MS = 50;

export function startDeadline(delayMs: number, now: number): Deadline {
  return { delayMs, dueAt: now + delayMs, extended: false };
}

/** To be asked when the timer fires. @returns the deadline to keep instead, or undefined: judge */
export function extendIfLate({ delayMs, dueAt, extended }: Deadline, now: number): Deadline | undefined {
  return extended || now - dueAt <= LATE_MS ? undefined : { delayMs, dueAt: now + delayMs, extended: true };
}
