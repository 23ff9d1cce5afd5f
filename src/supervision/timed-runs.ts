/**
 * Runs of a proof on a replica that serves, one after the other, each with its time limit. The data path times what it
 * posts itself; a proof is posted past it, so nobody else would notice that its run never returns.
 *
 * A lane works off what was posted to it in order, so a run has begun when nothing of a caller's was there before it, or
 * is there any more. While that is not known nobody is judged here: the caller's run has a time limit of its own.
 */
import type { Clock, Lane, RunReply, RunTask, TimerHandle } from '../ports.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';
import type { ProvingLane } from './replica-ports.js';

interface Surroundings {
  /** Whether a caller's run is on the lane, and when it last answered one, monotonic ms. */
  readonly vitals: () => { readonly busy: boolean; readonly lastAnswerMs: number };
  readonly hung: () => void;
}

export class TimedRuns implements ProvingLane {
  #timer: TimerHandle | undefined;
  #ended = false;

  constructor(
    private readonly lane: ProvingLane,
    private readonly clock: Clock,
    private readonly hangMs: number,
    private readonly around: Surroundings,
  ) {}

  async run(task: RunTask): ReturnType<Lane['run']> {
    const postedMs = this.clock.now();
    const reply: Promise<RunReply | undefined> = this.lane.run(task);
    if (!this.#ended) this.#judgeAt(startDeadline(this.hangMs, postedMs), postedMs, this.around.vitals().busy ? undefined : postedMs);
    try {
      return await reply;
    } finally {
      this.clock.clearTimeout(this.#timer);
    }
  }

  end(): void {
    this.#ended = true;
    this.clock.clearTimeout(this.#timer);
  }

  #judgeAt(deadline: Deadline, postedMs: number, begunMs: number | undefined): void {
    this.#timer = this.clock.setTimeout(() => {
      const nowMs = this.clock.now();
      const later = extendIfLate(deadline, nowMs);
      if (later) return this.#judgeAt(later, postedMs, begunMs);
      const { busy, lastAnswerMs } = this.around.vitals();
      const sinceMs = begunMs ?? (busy ? undefined : Math.max(postedMs, lastAnswerMs));
      const leftMs = sinceMs === undefined ? this.hangMs : sinceMs + this.hangMs - nowMs;
      if (leftMs <= 0) return this.around.hung();
      this.#judgeAt(startDeadline(leftMs, nowMs), postedMs, sinceMs);
    }, deadline.delayMs);
  }
}
