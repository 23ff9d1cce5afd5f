/**
 * One life of a host under its guardian: started, greeted, watched, ended. Everything that is waited for has a deadline,
 * and every deadline ends in SIGKILL to the group. Whether there is a next life is not decided here.
 */
import type { HostExit, HostProcess } from '../adapters/process-group.js';
import type { FromHost } from '../adapters/process-lines.js';
import type { ExitReason } from '../errors.js';
import type { Clock, TimerHandle } from '../ports.js';
import type { HostEnd } from './exit-code.js';
import { beatHeard, look, startWatch, type StallWatch } from './stall.js';

/** From the start of the process to the word that its host file is accepted: loading code and parsing, no models. */
export const HELLO_MS = 60_000;
/** Asked to stop before that word: it has nothing to drain, and listens as soon as its code is loaded. */
export const STOP_EARLY_MS = 10_000;
/** From the word that it has stopped to the end of its process, before it is helped. */
export const LEAVE_MS = 5000;
/** From SIGKILL to the report of a process that the kernel cannot end (a device driver that does not return). */
export const KILL_MS = 10_000;

/** Signals a process gives itself when it breaks; any other comes from outside. */
const faults: readonly string[] = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP', 'SIGSYS'];

export class HostLife {
  /** Resolves once, when the process and its group are gone or beyond reach. */
  readonly ended: Promise<HostEnd>;
  readonly #process: HostProcess;
  readonly #clock: Clock;
  readonly #onGreeted: () => void;
  #greeted: { readonly stopMs: number } | undefined;
  #watch: StallWatch | undefined;
  #stopping = false;
  #stoppedWith: number | undefined;
  #over = false;
  /** Why it was killed from here; the first word counts. */
  #cause: Pick<HostEnd, 'reason' | 'detail'> | undefined;
  /** One time limit at a time: each stage replaces the one before. */
  #deadline: TimerHandle;
  #nextLook: TimerHandle;
  #end!: (end: HostEnd) => void;

  constructor(process: HostProcess, clock: Clock, onGreeted: () => void) {
    this.#process = process;
    this.#clock = clock;
    this.#onGreeted = onGreeted;
    this.ended = new Promise((resolve) => { this.#end = resolve; });
    this.#within(HELLO_MS, () => this.kill('hung', `did not come up within ${HELLO_MS} ms`));
    process.onMessage((message) => {
      if (message.type === 'hello') this.#greet(message);
      else if (message.type === 'beat' && this.#watch) this.#watch = beatHeard(this.#watch, clock.now());
      else if (message.type === 'stopped') this.#noteStopped(message.code);
    });
    void process.exited.then((exit) => this.#report(exit));
  }

  /** Asks it to drain and end, and makes it when that takes longer than it said it could. */
  stop(reason: string): void {
    if (this.#stopping || this.#stoppedWith !== undefined || this.#cause || this.#over) return;
    this.#stopping = true;
    this.#process.send({ type: 'drain', reason });
    this.#limitStop();
  }

  kill(reason: ExitReason, detail: string): void {
    if (this.#cause || this.#over) return;
    this.#cause = { reason, detail };
    this.#clock.clearTimeout(this.#nextLook);
    this.#process.kill();
    this.#within(KILL_MS, () => this.#report({ detail: 'still there after SIGKILL' }));
  }

  /** Again after a reload that changed its times. A stop that is under way then keeps the limit it began with. */
  #greet({ loopStallMs, beatMs, stopMs }: Extract<FromHost, { type: 'hello' }>): void {
    if (this.#stoppedWith !== undefined || this.#cause || this.#over) return;
    const isFirst = this.#greeted === undefined;
    this.#greeted = { stopMs };
    if (isFirst && this.#stopping) this.#limitStop();
    else if (isFirst) this.#clock.clearTimeout(this.#deadline);
    this.#clock.clearTimeout(this.#nextLook);
    this.#watch = startWatch({ loopStallMs, beatMs }, this.#clock.now());
    this.#lookLater(beatMs);
    if (isFirst) this.#onGreeted();
  }

  #noteStopped(code: number): void {
    if (this.#cause || this.#over) return;
    this.#stoppedWith = code;
    this.#clock.clearTimeout(this.#nextLook);
    this.#within(LEAVE_MS, () => this.kill('hung', `had stopped, but its process did not end within ${LEAVE_MS} ms`));
  }

  #lookLater(beatMs: number): void {
    this.#nextLook = this.#clock.setTimeout(() => {
      const { watch, standsStill } = look(this.#watch!, this.#clock.now());
      this.#watch = watch;
      if (standsStill) this.kill('hung', `its loop stood still for ${watch.loopStallMs} ms`);
      else this.#lookLater(beatMs);
    }, beatMs);
  }

  #limitStop(): void {
    const budgetMs = this.#greeted?.stopMs ?? STOP_EARLY_MS;
    this.#within(budgetMs, () => this.kill('killed', `did not drain and stop within ${budgetMs} ms`));
  }

  #within(delayMs: number, otherwise: () => void): void {
    this.#clock.clearTimeout(this.#deadline);
    this.#deadline = this.#clock.setTimeout(otherwise, delayMs);
  }

  #report(exit: HostExit): void {
    if (this.#over) return;
    this.#over = true;
    this.#clock.clearTimeout(this.#deadline);
    this.#clock.clearTimeout(this.#nextLook);
    const greeted = this.#greeted !== undefined;
    if (this.#stoppedWith !== undefined) this.#end({ ...causeOf({ ...exit, code: this.#stoppedWith }), code: this.#stoppedWith, greeted });
    else if (this.#cause) this.#end({ ...this.#cause, code: undefined, greeted });
    else this.#end({ ...causeOf(exit), code: exit.code, greeted });
  }
}

function causeOf({ code, signal, detail }: HostExit): Pick<HostEnd, 'reason' | 'detail'> {
  if (code === 0) return { reason: 'normal', detail };
  return { reason: signal === undefined || faults.includes(signal) ? 'crashed' : 'killed', detail };
}
