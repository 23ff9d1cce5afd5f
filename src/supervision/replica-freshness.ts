/**
 * The freshness of readiness: ready means a success or a proof within `freshMs`. An idle replica therefore proves itself
 * again from time to time, one that is doubted at once, and one that gives no sign of life all the same is stale.
 *
 * A look that comes late starts the proof that is due and judges nobody: what the replica has said meanwhile may not have
 * been heard yet. What becomes of a replica that fails a proof is not decided here.
 */
import type { Lane, TimerHandle } from '../ports.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';
import type { Loaded, ProofResult, ReplicaInput } from './replica-ports.js';
import { TimedRuns } from './timed-runs.js';

export type FreshnessReport =
  | { type: 'lane.stale'; ageMs: number }
  | { type: 'lane.fresh' }
  | { type: 'lane.hung'; detail: string };

/** A doubted replica proves itself again at most this often. */
const DOUBT_EVERY_MS = 10_000;

interface Listener {
  readonly report: (event: FreshnessReport) => void;
  /** Something threw that may not. */
  readonly failed: (cause: unknown) => void;
}

export class Freshness {
  /** It is suspect, and perhaps a caller's run is on it. */
  working = false;
  #loaded: Loaded | undefined;
  #lastProofMs = 0;
  #proofTookMs = 0;
  #lastDoubtMs = -Infinity;
  #proving = false;
  #stale = false;
  #ended = false;
  #timer: TimerHandle | undefined;
  readonly #runs: TimedRuns;

  constructor(
    private readonly lane: Lane,
    private readonly replica: ReplicaInput,
    private readonly listener: Listener,
  ) {
    const { clock } = replica.effects;
    const { hangMs } = replica.limits;
    this.#runs = new TimedRuns(lane, clock, hangMs, {
      vitals: () => ({ busy: this.working || this.#vitals.busy, lastAnswerMs: this.#vitals.lastAnswerMs }),
      hung: () => listener.report({ type: 'lane.hung', detail: `a run of its proof took longer than hangMs (${hangMs})` }),
    });
  }

  /** For the first time, before there are any callers: bounded by the start time-out, like everything up to then. */
  async prove(loaded: Loaded): Promise<ProofResult> {
    const { effects } = this.replica;
    this.#loaded = loaded;
    const sinceMs = effects.clock.now();
    const result = await effects.prove(this.lane, loaded);
    this.#lastProofMs = effects.clock.now();
    this.#proofTookMs = this.#lastProofMs - sinceMs;
    return result;
  }

  /** From now on, until its end. */
  keep(): void {
    const { effects, limits } = this.replica;
    const periodMs = Math.min(limits.freshMs / 2, effects.proveAfterMs(this.#proofTookMs));
    this.#lookAt(startDeadline(periodMs, effects.clock.now()), periodMs);
  }

  doubt(): void {
    const nowMs = this.replica.effects.clock.now();
    if (nowMs - this.#lastDoubtMs < DOUBT_EVERY_MS) return;
    this.#lastDoubtMs = nowMs;
    this.#proveAgain();
  }

  end(): void {
    this.#ended = true;
    this.replica.effects.clock.clearTimeout(this.#timer);
    this.#runs.end();
  }

  get #vitals(): { readonly lastAnswerMs: number; readonly busy: boolean } {
    return this.replica.effects.vitals(this.replica.id) ?? { lastAnswerMs: 0, busy: false };
  }

  #lookAt(deadline: Deadline, periodMs: number): void {
    const { clock } = this.replica.effects;
    this.#timer = clock.setTimeout(() => {
      const later = extendIfLate(deadline, clock.now());
      const { lastAnswerMs, busy } = this.#vitals;
      const ageMs = clock.now() - Math.max(this.#lastProofMs, lastAnswerMs);
      if (!later) this.#judge(ageMs > Math.max(this.replica.limits.freshMs, 2 * periodMs) && !busy, ageMs);
      if (ageMs >= periodMs && !busy) this.#proveAgain();
      if (later) this.#lookAt(later, periodMs);
      else this.keep();
    }, deadline.delayMs);
  }

  #judge(stale: boolean, ageMs = 0): void {
    if (stale === this.#stale) return;
    this.#stale = stale;
    this.listener.report(stale ? { type: 'lane.stale', ageMs } : { type: 'lane.fresh' });
  }

  #proveAgain(): void {
    if (!this.#proving) void this.#ask().catch(this.listener.failed);
  }

  async #ask(): Promise<void> {
    const { id, effects } = this.replica;
    const sinceMs = effects.clock.now();
    this.#proving = true;
    const result = await effects.prove(this.#runs, this.#loaded!).finally(() => { this.#proving = false; });
    if (this.#ended) return;
    const nowMs = effects.clock.now();
    this.#proofTookMs = nowMs - sinceMs;
    if (result.ok) {
      this.#lastProofMs = nowMs;
      this.#judge(false);
    }
    effects.provedAgain(id, result);
  }
}
