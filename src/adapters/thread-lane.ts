/**
 * A lane in a thread of this process, for trusted models that want the last microseconds.
 *
 * Here is only the host's side: tasks become bytes, each tensor copied once because the caller keeps its own for a
 * replay. What a thread may and may not survive is in thread-link.ts.
 */
import type { ResourceLimits } from 'node:worker_threads';
import { joinMessage, ProtocolError } from '../protocol/frames.js';
import { LaneCalls } from '../protocol/lane-calls.js';
import { ThreadLink } from './thread-link.js';
import type { ExitReason } from '../errors.js';
import type { Lane, LaneExit, LaneFactory, LaneOrder } from '../ports.js';
import type { LoadReply, RunReply, RunTask } from '../protocol/task.js';

export interface ThreadLanesOptions {
  /** The compiled worker; by default the one compiled beside this file. */
  readonly worker?: URL;
  readonly resourceLimits?: ResourceLimits;
}

export function createThreadLanes(options: ThreadLanesOptions = {}): LaneFactory {
  const worker = options.worker ?? new URL('../../actors/worker.js', import.meta.url);
  let zombies = 0;
  return {
    open: (order) => new ThreadLane(order, { ...options, worker }, (zombie) => {
      zombies++;
      void zombie.then(() => zombies--);
    }),
    get zombies() {
      return zombies;
    },
  };
}

class ThreadLane implements Lane {
  readonly pid = process.pid;
  readonly memoryBytes = 0;
  readonly #order: LaneOrder;
  readonly #calls: LaneCalls;
  readonly #link: ThreadLink;
  readonly #listeners: ((exit: LaneExit) => void)[] = [];
  #exit: LaneExit | undefined;

  constructor(order: LaneOrder, options: ThreadLanesOptions & { readonly worker: URL }, onZombie: (zombie: Promise<void>) => void) {
    this.#order = order;
    this.#calls = new LaneCalls((message) => this.#link.send(joinMessage(message)), order.host);
    this.#link = new ThreadLink({
      ...options,
      concurrency: order.concurrency,
      onMessage: (bytes) => this.#receive(bytes),
      onExit: (exit, zombie) => {
        this.#exit = exit;
        if (zombie) onZombie(zombie);
        this.#calls.end(exit.detail);
        for (const listener of this.#listeners) listener(exit);
      },
    });
  }

  get threadId(): number {
    return this.#link.threadId;
  }

  get spawned(): Promise<void> {
    return this.#link.online;
  }

  load(): Promise<LoadReply> {
    return this.#calls.load(this.#order.load);
  }

  run(task: RunTask): Promise<RunReply | undefined> {
    return this.#calls.run(task);
  }

  cancel(runId: number): void {
    this.#calls.cancel(runId);
  }

  /** Its loop is this process's own: it answered by getting here. */
  ping(): Promise<boolean> {
    return Promise.resolve(this.#exit === undefined);
  }

  stop(budgetMs: number): void {
    this.#link.stop(budgetMs);
  }

  kill(reason: ExitReason, detail: string): void {
    this.#link.kill(reason, detail);
  }

  onExit(listener: (exit: LaneExit) => void): void {
    const exit = this.#exit;
    if (exit) queueMicrotask(() => listener(exit));
    else this.#listeners.push(listener);
  }

  #receive(bytes: Uint8Array): void {
    try {
      this.#calls.receive(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#link.kill('crashed', `protocol error: ${error.message}`);
    }
  }
}
