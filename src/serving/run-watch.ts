/**
 * Looks at running runs from time to time: one that takes longer than `hangMs` is hung, one much longer than its like is
 * late. Only tells; what follows is the dispatcher's. A look that comes late itself judges by the time it was set, because
 * answers may be waiting in this process's own queue.
 */
import { LATE_MS } from '../policy/deadline.js';
import { RunTimes, suspectAfterMs } from '../policy/latency.js';
import type { TimerHandle } from '../ports.js';
import { shapesKey } from '../tensor/shape.js';
import type { Desk } from './desk.js';
import { runningMs, type Run, type Slot } from './slot.js';

/** How often running runs are looked at. A suspicion is at most this late. */
const WATCH_MS = 25;

export interface RunVerdicts {
  /** Told once per run. */
  hung(slot: Slot): void;
  /** Told once per run, of runs on open lanes. */
  late(slot: Slot, runningMs: number): void;
}

export class RunWatch {
  readonly #times = new RunTimes();
  #timer: TimerHandle;

  constructor(
    private readonly desk: Desk,
    private readonly verdicts: RunVerdicts,
  ) {}

  learn(run: Run, tookMs: number): void {
    this.#times.learn(shapesKey(run.inputs), tookMs);
  }

  /** Looks until no run is left. */
  start(): void {
    if (this.#timer !== undefined) return;
    const { clock } = this.desk.shared;
    const setMs = clock.now();
    const periodMs = Math.min(WATCH_MS, Math.max(20, this.desk.options.hangMs / 8));
    const dueMs = setMs + periodMs;
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      const nowMs = clock.now();
      this.#look(nowMs - dueMs <= LATE_MS ? nowMs : setMs);
      if (this.desk.lanes.slots.some((slot) => slot.runs.length > 0)) this.start();
    }, periodMs);
  }

  stop(): void {
    this.desk.shared.clock.clearTimeout(this.#timer);
  }

  #look(asOfMs: number): void {
    for (const slot of [...this.desk.lanes.slots]) {
      this.#lookForLate(slot, asOfMs);
      const hung = slot.runs.find((run) => runningMs(run, asOfMs) > this.desk.options.hangMs);
      if (!hung || hung.hung) continue;
      hung.hung = true;
      this.verdicts.hung(slot);
    }
  }

  #lookForLate(slot: Slot, asOfMs: number): void {
    if (slot.mode !== 'open') return;
    const late = slot.runs.find((run) => !run.late && run.startedAtMs !== undefined && runningMs(run, asOfMs) > this.#lateAfterMs(run));
    if (!late) return;
    late.late = true;
    this.verdicts.late(slot, runningMs(late, asOfMs));
  }

  #lateAfterMs(run: Run): number {
    const { timeoutMs, suspectMs } = this.desk.options;
    return suspectAfterMs(this.#times.p99Ms(shapesKey(run.inputs)), timeoutMs, suspectMs);
  }
}
