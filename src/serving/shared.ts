/**
 * What all actors of one host share on the data path: bytes waiting, the replay budget, deaths that come in crowds,
 * and the quarantine.
 */
import { MASS_DEATH_MS, countRequests, freshReplayBudget, takeReplay, type ReplayBudget } from '../policy/replay.js';
import { confirmPoison, emptyQuarantine, isEmpty, isQuarantined, type Quarantine } from '../policy/quarantine.js';
import type { Clock } from '../ports.js';
import type { HashChunks } from '../tensor/digest.js';

export interface SharedServingOptions {
  readonly clock: Clock;
  readonly queueBytesMax: number;
  readonly holdMs: number;
  /** For fingerprints of poison: nobody may be able to forge an equal one for an innocent request. */
  readonly hash: HashChunks;
}

export class SharedServing {
  readonly clock: Clock;
  readonly queueBytesMax: number;
  readonly holdMs: number;
  readonly hash: HashChunks;
  /** Bytes of waiting requests over all actors. */
  queueBytes = 0;
  #runId = 0;
  #budget: ReplayBudget;
  #requests = 0;
  #lastDeathMs = -Infinity;
  #absolve: (() => void)[] = [];
  #quarantine: Quarantine = emptyQuarantine;

  constructor(options: SharedServingOptions) {
    this.clock = options.clock;
    this.queueBytesMax = options.queueBytesMax;
    this.holdMs = options.holdMs;
    this.hash = options.hash;
    this.#budget = freshReplayBudget(options.clock.now());
  }

  /** Ascending over the whole host, so also on each lane. */
  nextRunId(): number {
    return ++this.#runId;
  }

  countRequest(nowMs: number): void {
    this.#requests++;
    if (nowMs - this.#budget.secondMs >= 1000) this.#flushRequests(nowMs);
  }

  /** Takes one replay out of the host's budget, if there is one left. */
  takeReplay(nowMs: number): boolean {
    this.#flushRequests(nowMs);
    const { granted, budget } = takeReplay(this.#budget, nowMs);
    this.#budget = budget;
    return granted;
  }

  /** Called back when lanes die in a crowd: what ran on them is no longer suspect. */
  onMassDeath(absolve: () => void): void {
    this.#absolve.push(absolve);
  }

  /** A lane died by itself. @returns true when another one did within the last 100 ms, so no request is to blame. */
  laneDied(nowMs: number): boolean {
    const mass = nowMs - this.#lastDeathMs <= MASS_DEATH_MS;
    this.#lastDeathMs = nowMs;
    if (mass) for (const absolve of this.#absolve) absolve();
    return mass;
  }

  /** @param fingerprint computed only when something is quarantined at all */
  isQuarantined(fingerprint: () => string, nowMs: number): boolean {
    return !isEmpty(this.#quarantine, nowMs) && isQuarantined(this.#quarantine, fingerprint(), nowMs);
  }

  quarantine(fingerprint: string, nowMs: number, quarantineMs: number): void {
    this.#quarantine = confirmPoison(this.#quarantine, fingerprint, nowMs, quarantineMs);
  }

  #flushRequests(nowMs: number): void {
    this.#budget = countRequests(this.#budget, nowMs, this.#requests);
    this.#requests = 0;
  }
}
