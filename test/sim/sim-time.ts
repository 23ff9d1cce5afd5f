/**
 * Simulated time for long runs: a heap of timers, and one turn of the real event loop after each, in which every promise
 * that can settle does. Beside the SimClock of the other floors it can stall: the host's loop stands still, and what was
 * due meanwhile comes late.
 */
import type { Clock, TimerHandle } from '../../src/ports.js';

interface Timer {
  /** Of the host's own loop; anything else is the world outside, which reaches the host through that loop. */
  readonly isHost: boolean;
  readonly atMs: number;
  readonly order: number;
  callback: (() => void) | undefined;
  /** Stands in for this one, which a stall has put off. */
  moved?: Timer;
}

export class SimTime implements Clock {
  #nowMs = 0;
  #order = 0;
  #heap: Timer[] = [];
  #pending = 0;

  now(): number { return this.#nowMs; }
  wallTime(): number { return Date.UTC(2030, 0, 1) + this.#nowMs; }
  get pending(): number { return this.#pending; }

  setTimeout(callback: () => void, delayMs: number, isHost = false): TimerHandle {
    return this.#arm({ isHost, atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback });
  }

  #arm(timer: Timer): Timer {
    this.#pending++;
    let at = this.#heap.push(timer) - 1;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = this.#heap[(at - 1) >> 1]!;
      if (!before(timer, parent)) break;
      this.#heap[at] = parent;
    }
    this.#heap[at] = timer;
    return timer;
  }

  clearTimeout(handle: TimerHandle): void {
    let timer = handle as Timer | undefined;
    while (timer?.moved) timer = timer.moved;
    if (!timer?.callback) return;
    timer.callback = undefined;
    this.#pending--;
  }

  /** The host's own timers that are due meanwhile fire late, and before anything that came from outside is heard. */
  stall(ms: number): void {
    this.#nowMs += ms;
    const waiting = this.#heap.filter((timer) => timer.callback && !timer.isHost && timer.atMs <= this.#nowMs).sort((a, b) => (before(a, b) ? -1 : 1));
    for (const timer of waiting) {
      const { callback } = timer;
      timer.callback = undefined;
      this.#pending--;
      timer.moved = this.#arm({ isHost: false, atMs: this.#nowMs, order: this.#order++, callback });
    }
  }

  /** Fires what is due until `endMs`, or until `done` says so. Rejects with what a callback throws. */
  run(endMs: number, done: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          if (done()) return resolve();
          const timer = this.#take(endMs);
          if (!timer) {
            this.#nowMs = Math.max(this.#nowMs, endMs);
            return resolve();
          }
          this.#nowMs = Math.max(this.#nowMs, timer.atMs);
          const { callback } = timer;
          timer.callback = undefined;
          this.#pending--;
          callback!();
        } catch (error) {
          return reject(error as Error);
        }
        setImmediate(turn);
      };
      setImmediate(turn);
    });
  }

  /** The next live timer that is due by then. */
  #take(endMs: number): Timer | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (!first || (first.callback && first.atMs > endMs)) return undefined;
      const last = this.#heap.pop()!;
      if (last !== first) this.#sink(last);
      if (first.callback) return first;
    }
  }

  #sink(timer: Timer): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, timer)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = timer;
  }
}

const before = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** The same time for the host, whose timers are counted. */
export class CountedClock implements Clock {
  readonly #armed = new Set<TimerHandle>();
  constructor(private readonly clock: SimTime) {}
  get pending(): number { return this.#armed.size; }
  now(): number { return this.clock.now(); }
  wallTime(): number { return this.clock.wallTime(); }

  setTimeout(callback: () => void, delayMs: number): TimerHandle {
    const handle = this.clock.setTimeout(() => {
      this.#armed.delete(handle);
      callback();
    }, delayMs, true);
    this.#armed.add(handle);
    return handle;
  }

  clearTimeout(handle: TimerHandle): void {
    this.#armed.delete(handle);
    this.clock.clearTimeout(handle);
  }
}
