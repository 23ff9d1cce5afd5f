/**
 * One process of the simulated cluster as its operating system runs it: a clock of its own that goes too fast or too slow,
 * and the moments in which it does not run at all. Everything that reaches the process comes through here: its timers, and
 * through `outside` what the world brings (messages, answers of the store, news of its lanes).
 *
 * Frozen (SIGSTOP, a swapped-out machine): nothing runs, time goes on, and on waking the late timers come first, then the
 * mail, as in Node's loop. Suspended (a laptop, a paused virtual machine): the monotonic clock stands still as well, and
 * only the wall clock knows. Dead: nothing runs any more.
 */
import type { Clock, Random, TimerHandle } from '../../../src/ports.js';
import { Chance } from '../chance.js';
import type { SimTime } from '../sim-time.js';

const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export type ProcessState = 'running' | 'frozen' | 'suspended' | 'dead';

interface Timer {
  readonly dueMs: number;
  readonly callback: () => void;
  handle: TimerHandle;
  cleared: boolean;
}

export class Process {
  state: ProcessState = 'running';
  /** Times it was frozen or suspended, to see whether it ran all along. */
  interruptions = 0;
  readonly clock: Clock & { readonly pending: number };
  /** Undrifting and gated: for what is not the process itself but reports to it. */
  readonly outsideClock: Clock;
  readonly random: Random;
  readonly #chance: Chance;
  readonly #timers = new Set<Timer>();
  #late: Timer[] = [];
  #mail: (() => void)[] = [];
  readonly #startMs: number;
  #stoodStillMs = 0;
  #stoppedAtMs = 0;

  constructor(
    private readonly time: SimTime,
    readonly name: string,
    /** Milliseconds of its own per true one. */
    readonly rate: number,
    private readonly wallOffsetMs: number,
    seed: number,
  ) {
    this.#startMs = time.now();
    const timers = this.#timers;
    this.clock = {
      now: () => this.now(),
      wallTime: () => this.wallTime(),
      setTimeout: (callback, delayMs) => this.#arm(callback, delayMs),
      clearTimeout: (handle) => this.#disarm(handle as Timer | undefined),
      get pending() { return timers.size; },
    };
    this.outsideClock = {
      now: () => time.now(),
      wallTime: () => time.wallTime(),
      setTimeout: (callback, delayMs) => {
        const order = { cleared: false };
        time.setTimeout(() => this.outside(() => { if (!order.cleared) callback(); }), delayMs);
        return order;
      },
      clearTimeout: (handle) => { if (handle) (handle as { cleared: boolean }).cleared = true; },
    };
    this.#chance = new Chance(seed, `${name}'s timers@${time.now()}`);
    const chance = new Chance(seed, `${name}@${time.now()}`);
    // As real ones: sorted by the wall clock of the process that made them.
    this.random = { next: () => chance.next(), ulid: () => encoded(this.wallTime(), 10) + Array.from({ length: 16 }, () => LETTERS[chance.integer(0, 31)]).join('') };
  }

  get runs(): boolean {
    return this.state === 'running';
  }

  /** Monotonic, of its own. */
  now(): number {
    return (this.time.now() - this.#startMs - this.#stillMs()) * this.rate;
  }

  wallTime(): number {
    return Math.floor(this.time.wallTime() + this.wallOffsetMs);
  }

  /** Counts on while the machine is suspended. */
  bootTimeMs(): number {
    return this.time.now() - this.#startMs;
  }

  /** Something arrives: at once, or when it runs again, or never. */
  outside(callback: () => void): void {
    if (this.state === 'running' && this.#mail.length === 0) callback();
    else if (this.state !== 'dead') this.#mail.push(callback);
  }

  freeze(): void {
    this.#stop('frozen');
  }

  suspend(): void {
    this.#stop('suspended');
  }

  wake(): void {
    if (this.state === 'running' || this.state === 'dead') return;
    if (this.state === 'suspended') this.#stoodStillMs += this.time.now() - this.#stoppedAtMs;
    this.state = 'running';
    const late = this.#late.splice(0).sort((a, b) => a.dueMs - b.dueMs);
    for (const timer of late) this.time.setTimeout(() => this.#fire(timer), 0);
    // One by one, so that what each causes has happened before the next; new mail queues up behind.
    const read = (): void => {
      if (this.state !== 'running') return;
      this.#mail.shift()?.();
      if (this.#mail.length > 0) this.time.setTimeout(read, 0);
    };
    if (this.#mail.length > 0) this.time.setTimeout(read, 0);
  }

  kill(): void {
    this.state = 'dead';
    for (const timer of this.#timers) this.time.clearTimeout(timer.handle);
    this.#timers.clear();
    this.#late = [];
    this.#mail = [];
  }

  #stop(state: 'frozen' | 'suspended'): void {
    if (this.state !== 'running') return;
    this.state = state;
    this.interruptions++;
    this.#stoppedAtMs = this.time.now();
  }

  #stillMs(): number {
    return this.#stoodStillMs + (this.state === 'suspended' ? this.time.now() - this.#stoppedAtMs : 0);
  }

  #arm(callback: () => void, delayMs: number): Timer {
    // As Node: a NaN or a negative delay is 1 ms at most, and what does not fit into 31 bits fires at once.
    const ms = delayMs >= 0 && delayMs < 2 ** 31 ? delayMs : 0;
    const timer: Timer = { dueMs: this.now() + ms, callback, handle: undefined, cleared: false };
    if (this.state === 'dead') return timer;
    this.#timers.add(timer);
    // As Node's: never early, and never on the dot.
    timer.handle = this.time.setTimeout(() => this.#fire(timer), (ms + this.#chance.real(0.01, 1)) / this.rate);
    return timer;
  }

  #disarm(timer: Timer | undefined): void {
    if (!timer) return;
    timer.cleared = true;
    this.#timers.delete(timer);
    this.time.clearTimeout(timer.handle);
  }

  #fire(timer: Timer): void {
    if (timer.cleared || this.state === 'dead') return;
    if (this.state !== 'running') return void this.#late.push(timer);
    const leftMs = timer.dueMs - this.now();
    // Its clock stood still meanwhile.
    if (leftMs > 1e-6) return void (timer.handle = this.time.setTimeout(() => this.#fire(timer), leftMs / this.rate));
    this.#timers.delete(timer);
    timer.callback();
  }
}

function encoded(value: number, length: number): string {
  let text = '';
  for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) text = LETTERS[rest % 32] + text;
  return text;
}
