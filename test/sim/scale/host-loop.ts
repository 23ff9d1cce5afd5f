/**
 * The event loop of one simulated host: what it works on takes simulated time, and whatever is due meanwhile waits its
 * turn. So a look that takes too long delays beats here as it would in a real host. One queue, first come first served.
 */
import type { Clock } from '../../../src/ports.js';
import type { SimTime } from '../sim-time.js';

interface Turn {
  readonly dueMs: number;
  call: (() => void) | undefined;
}

/** Below this two times are one: sums of fractions differ in their last bits. */
const SAME_MS = 1e-6;

export class HostLoop implements Clock {
  #busyUntilMs = 0;
  #waiting: Turn[] = [];
  #ended = false;
  /** Of work, in all. */
  busyMs = 0;
  /** The longest anything had to wait. */
  lateMs = 0;

  constructor(private readonly time: SimTime) {}

  now(): number { return Math.max(this.time.now(), this.#busyUntilMs); }
  wallTime(): number { return this.time.wallTime(); }

  /** The work of the turn that runs now. */
  spend(ms: number): void {
    this.#busyUntilMs = this.now() + ms;
    this.busyMs += ms;
  }

  setTimeout(callback: () => void, delayMs: number): Turn {
    const dueMs = this.now() + Math.max(0, delayMs);
    const turn: Turn = { dueMs, call: callback };
    this.time.setTimeout(() => this.#arrive(turn), dueMs - this.time.now());
    return turn;
  }

  clearTimeout(handle: unknown): void {
    if (handle) (handle as Turn).call = undefined;
  }

  /** Something came from outside. */
  hear(call: () => void): void {
    this.#arrive({ dueMs: this.time.now(), call });
  }

  /** The process is gone: nothing runs any more. */
  end(): void {
    this.#ended = true;
    this.#waiting = [];
  }

  get #isBusy(): boolean {
    return this.#busyUntilMs - this.time.now() > SAME_MS;
  }

  #arrive(turn: Turn): void {
    if (this.#ended || !turn.call) return;
    if (this.#waiting.push(turn) === 1) this.#work();
  }

  #work(): void {
    while (!this.#isBusy) {
      const turn = this.#waiting[0];
      if (!turn) return;
      this.lateMs = Math.max(this.lateMs, turn.call ? this.time.now() - turn.dueMs : 0);
      turn.call?.();
      if (this.#ended) return;
      this.#waiting.shift();
    }
    if (this.#waiting.length > 0) this.time.setTimeout(() => this.#work(), this.#busyUntilMs - this.time.now());
  }
}
