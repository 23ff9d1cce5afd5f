/** What one client may spend on executions beyond the first: a share of its recent calls plus a floor (policy/replay). */
import { countRequests, freshReplayBudget, takeReplay, type ReplayBudget } from '../policy/replay.js';

export class RetryBudget {
  #budget: ReplayBudget;
  /** Counted in bulk, because this is no work for every call. */
  #calls = 0;

  constructor(nowMs: number) {
    this.#budget = freshReplayBudget(nowMs);
  }

  countCall(nowMs: number): void {
    this.#calls++;
    if (nowMs - this.#budget.secondMs >= 1000) this.#flush(nowMs);
  }

  take(nowMs: number): boolean {
    this.#flush(nowMs);
    const { granted, budget } = takeReplay(this.#budget, nowMs);
    this.#budget = budget;
    return granted;
  }

  #flush(nowMs: number): void {
    this.#budget = countRequests(this.#budget, nowMs, this.#calls);
    this.#calls = 0;
  }
}
