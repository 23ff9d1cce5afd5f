/**
 * One time limit on a cell at a time, kept by this process's own timer. When the timer itself comes late, this process
 * stood still, and what the cell has said or done meanwhile waits in its queue: the limit is granted once more before the
 * cell is judged. Once only, so that a host that is always late comes to a verdict too. The rule of policy/deadline.ts,
 * here because adapters know no policies.
 */
import type { Clock, TimerHandle } from '../ports.js';

/** A timer that fires later than this says more about this process than about whom it waits for. */
export const LATE_MS = 50;

/** Longer delays overflow Node's timers and fire at once. */
const timerMsMax = 2 ** 31 - 1;

export type LimitClock = Pick<Clock, 'now' | 'setTimeout' | 'clearTimeout'>;

const ownClock: LimitClock = {
  now: () => performance.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

export class CellLimit {
  #timer: TimerHandle | undefined;

  constructor(private readonly clock: LimitClock = ownClock) {}

  /** Takes the place of the limit before. Infinity, or near it: none. */
  set(delayMs: number, otherwise: () => void): void {
    this.#arm(delayMs, otherwise, false);
  }

  clear(): void {
    this.clock.clearTimeout(this.#timer);
  }

  #arm(delayMs: number, otherwise: () => void, extended: boolean): void {
    this.clear();
    if (delayMs >= timerMsMax) return;
    const dueMs = this.clock.now() + delayMs;
    this.#timer = this.clock.setTimeout(() => {
      if (!extended && this.clock.now() - dueMs > LATE_MS) this.#arm(delayMs, otherwise, true);
      else otherwise();
    }, delayMs);
  }
}
