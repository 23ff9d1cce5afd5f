/** A lane without a thread: runs finish when the test says so, or die when it says that. */
import type { ExitReason } from '../../src/errors.js';
import type { Lane, LaneExit, LoadReply, RunReply, RunTask } from '../../src/ports.js';

export interface PendingRun {
  readonly task: RunTask;
  readonly settle: (reply: RunReply | undefined) => void;
}

let pids = 1000;

export class SimLane implements Lane {
  readonly pid = ++pids;
  readonly threadId = 1;
  memoryBytes: number = 0;
  readonly spawned = Promise.resolve();
  /** Posted and not answered, in order. */
  readonly pending: PendingRun[] = [];
  readonly canceled: number[] = [];
  /** How often each request ran here, by id; posted-ahead runs that never started are not in it. */
  ended: LaneExit | undefined;
  #listeners: ((exit: LaneExit) => void)[] = [];

  load(): Promise<LoadReply> {
    return Promise.resolve({ ok: true, runtime: 'sim', loadMs: 0 });
  }

  run(task: RunTask): Promise<RunReply | undefined> {
    if (this.ended) return Promise.resolve(undefined);
    return new Promise((resolve) => this.pending.push({ task, settle: resolve }));
  }

  cancel(runId: number): void {
    this.canceled.push(runId);
  }

  ping(): Promise<boolean> {
    return Promise.resolve(this.ended === undefined);
  }

  stop(): void {
    for (const run of this.pending.splice(0)) run.settle({ ok: true, outputs: [], runMs: 0 });
    this.die('shutdown', 'stopped');
  }

  kill(reason: ExitReason, detail: string): void {
    this.die(reason, detail);
  }

  onExit(listener: (exit: LaneExit) => void): void {
    if (this.ended) queueMicrotask(() => listener(this.ended!));
    else this.#listeners.push(listener);
  }

  /** Answers the oldest run, which is the one that runs. */
  answer(reply: RunReply = { ok: true, outputs: [], runMs: 1 }): string {
    const run = this.pending.shift();
    if (!run) throw new Error('nothing runs on this lane');
    run.settle(reply);
    return run.task.requestId;
  }

  die(reason: ExitReason = 'crashed', detail = 'SIGSEGV'): void {
    if (this.ended) return;
    this.ended = { reason, detail };
    for (const run of this.pending.splice(0)) run.settle(undefined);
    for (const listener of this.#listeners.splice(0)) listener(this.ended);
  }

  /** Ids of the requests on it, in order. */
  get on(): string[] {
    return this.pending.map((run) => run.task.requestId);
  }
}
