/**
 * Whether the process of a lane is frozen. A cell's main thread answers while its model runs, so silence means that the
 * process stands still, not that it is busy. Of runs that take long it knows nothing.
 */
import type { Clock, Lane, TimerHandle } from '../ports.js';
import type { ReplicaLimits } from './replica-ports.js';

export type PingReport = { type: 'lane.silent'; silentMs: number } | { type: 'lane.answers' };

export class Pings {
  #lastAnswerMs = 0;
  #dueMs = 0;
  #silent = false;
  #waiting = false;
  #ended = false;
  #timer: TimerHandle | undefined;

  constructor(
    private readonly lane: Pick<Lane, 'ping' | 'kill'>,
    private readonly clock: Clock,
    private readonly limits: Pick<ReplicaLimits, 'pingMs' | 'silentSuspectMs' | 'silentKillMs'>,
    private readonly report: (event: PingReport) => void,
  ) {}

  begin(): void {
    this.#lastAnswerMs = this.clock.now();
    this.#beatIn(this.limits.pingMs);
  }

  end(): void {
    this.#ended = true;
    this.clock.clearTimeout(this.#timer);
  }

  #beatIn(delayMs: number): void {
    this.#dueMs = this.clock.now() + delayMs;
    this.#timer = this.clock.setTimeout(() => this.#beat(), delayMs);
  }

  #beat(): void {
    const { pingMs, silentSuspectMs, silentKillMs } = this.limits;
    const nowMs = this.clock.now();
    // A late timer is this process's own fault: nothing may be concluded from answers that waited in its own queue.
    const late = nowMs - this.#dueMs > pingMs * 2;
    const silentMs = nowMs - this.#lastAnswerMs;
    if (late) this.#lastAnswerMs = nowMs;
    else if (silentMs > silentKillMs) return this.lane.kill('hung', `did not answer pings for ${Math.round(silentMs)} ms`);
    else if (silentMs > silentSuspectMs && !this.#silent) {
      this.#silent = true;
      this.report({ type: 'lane.silent', silentMs });
    }
    this.#ask();
    this.#beatIn(pingMs);
  }

  #ask(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    void this.lane.ping().then((answered) => {
      this.#waiting = false;
      if (!answered || this.#ended) return;
      this.#lastAnswerMs = this.clock.now();
      if (this.#silent) this.report({ type: 'lane.answers' });
      this.#silent = false;
    });
  }
}
