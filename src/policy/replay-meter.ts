/** Keeps one replay budget (replay.ts): a host's for its requests, a client's for its calls. */
import { countRequests, freshReplayBudget, takeReplay, type ReplayBudget } from './replay.js';

export class ReplayMeter {
  #budget: ReplayBudget;
  /** Since the last look at the budget; counted in bulk, because this is no work for every request. */
  #requests = 0;

  constructor(nowMs: number) {
    this.#budget = freshReplayBudget(nowMs);
  }

  count(nowMs: number): void {
    this.#requests++;
    if (nowMs - this.#budget.secondMs >= 1000) this.#flush(nowMs);
  }

  /** Takes one replay out of the budget, if there is one left. */
  take(nowMs: number): boolean {
    this.#flush(nowMs);
    const { granted, budget } = takeReplay(this.#budget, nowMs);
    this.#budget = budget;
    return granted;
  }

  #flush(nowMs: number): void {
    this.#budget = countRequests(this.#budget, nowMs, this.#requests);
    this.#requests = 0;
  }
}
