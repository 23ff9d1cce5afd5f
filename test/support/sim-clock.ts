/**
 * A clock for tests: time stands still until `advance`, which steps from deadline to deadline in order (equal deadlines
 * in the order they were set), so that a timer armed by a timer within the span fires within the span too.
 *
 * xstate's own SimulatedClock jumps to the end of the span first; with that a backoff of 1 s armed at 0.5 s is late.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock, TimerHandle } from '../../src/ports.js';

interface Timer { readonly at: number; readonly order: number; readonly callback: () => void }

export class SimClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #timers = new Map<number, Timer>();
  readonly #wallStart: number;

  constructor({ nowMs = 0, wallStart = Date.UTC(2030, 0, 1) } = {}) {
    this.#nowMs = nowMs;
    this.#wallStart = wallStart - nowMs;
  }

  now(): number { return this.#nowMs; }
  wallTime(): number { return this.#wallStart + this.#nowMs; }

  setTimeout(callback: () => void, delayMs: number): TimerHandle {
    const order = (this.#order += 1);
    this.#timers.set(order, { at: this.#nowMs + Math.max(0, delayMs), order, callback });
    return order;
  }

  clearTimeout(handle: TimerHandle): void {
    this.#timers.delete(handle as number);
  }

  /** Timers armed and not yet fired or cleared. */
  get pending(): number { return this.#timers.size; }

  /** Time from now to the next deadline in ms; undefined without one. */
  get nextInMs(): number | undefined {
    const next = this.#next();
    return next && next.at - this.#nowMs;
  }

  /** Steps through all deadlines of the span, letting promises settle after each, and stands at its end. */
  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms;
    await settle();
    while (this.#fireNext(end)) await settle();
    this.#nowMs = end;
  }

  /** The same without promises: for what is synchronous throughout. */
  advanceSync(ms: number): void {
    const end = this.#nowMs + ms;
    while (this.#fireNext(end));
    this.#nowMs = end;
  }

  /** Fires the next deadline, wherever it is. False when there is none. */
  async step(): Promise<boolean> {
    await settle();
    const fired = this.#fireNext(Infinity);
    await settle();
    return fired;
  }

  stepSync(): boolean { return this.#fireNext(Infinity); }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers.values()) {
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }

  #fireNext(end: number): boolean {
    const timer = this.#next();
    if (!timer || timer.at > end) return false;
    this.#timers.delete(timer.order);
    this.#nowMs = Math.max(this.#nowMs, timer.at);
    timer.callback();
    return true;
  }
}

/** Lets everything that waits for promises, not for time, happen. */
export async function settle(turns = 2): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await nextTurn();
}
