/**
 * One thread that speaks the lane protocol in bytes: a one-thread piscina pool, thrown away after any death.
 *
 * Piscina respawns without limit and hangs after a failed start, so it never gets the chance: no minimum, no respawn,
 * everything beyond the first function is loaded by a task. A thread that may be inside native code is never
 * terminated, because that aborts the process: it is retired by a shared flag, reported as ended at once, and counted
 * as a zombie until it really ends. It cannot stop an endless loop: that is what cells are for.
 */
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import type { MessagePort, ResourceLimits, Worker } from 'node:worker_threads';
import { move, Piscina } from 'piscina';
import { joinMessage } from '../protocol/frames.js';
import type { Message } from '../protocol/frames.js';
import { LaneFlags } from '../protocol/lane-flags.js';
import { encodeNumber, messageType, priorityOf, typeOf } from '../protocol/task-codec.js';
import type { ExitReason } from '../errors.js';
import type { LaneExit } from '../ports.js';

/** How many runs may wait in a thread. Posting eight ahead instead of one doubles the throughput of a tiny model. */
const POSTED_MAX = 16;

/** First task of a worker. */
export interface OpenThread {
  readonly port: MessagePort;
  readonly flags: SharedArrayBuffer;
  /** Runs at once, for modules. */
  readonly concurrency: number;
}

/** For the worker: an answer whose memory is handed over, not copied. */
export function moved(message: Message): unknown {
  return move(joinMessage(message));
}

export interface ThreadOptions {
  /** The compiled worker entry. */
  readonly worker: URL;
  /** Heap bounds of the thread; V8's own when absent. */
  readonly resourceLimits?: ResourceLimits;
  readonly concurrency: number;
  readonly onMessage: (bytes: Uint8Array) => void;
  /** Exactly once. `zombie`: settles when the thread, given up for now, has really ended. */
  readonly onExit: (exit: LaneExit, zombie?: Promise<void>) => void;
}

/** One thread that takes and gives the bytes of the lane protocol. Cells host it too, without ever decoding a run. */
export class ThreadLink {
  readonly threadId: number;
  /** Resolves when the thread runs, rejects when it ended before. */
  readonly online: Promise<void>;
  readonly #options: ThreadOptions;
  readonly #pool: Piscina;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #flags = new LaneFlags();
  readonly #ended: Promise<void>;
  /** Why it ends, once something has decided that it does. */
  #cause: LaneExit | undefined;
  #reported = false;
  #stopTimer: NodeJS.Timeout | undefined;

  constructor(options: ThreadOptions) {
    this.#options = options;
    this.#pool = new Piscina({
      filename: fileURLToPath(options.worker),
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
      recordTiming: false,
      // Without it a task that found no room goes to the end of the queue: runs would overtake each other.
      stricterFIFO: true,
      // Never less than the data path posts ahead: what waits here instead of in the thread costs a wake-up of its own.
      concurrentTasksPerWorker: Math.max(POSTED_MAX, options.concurrency + 1),
      ...(options.resourceLimits && { resourceLimits: options.resourceLimits }),
    });
    // Without a listener an 'error' would end this process; the worker's own events say the same, earlier.
    this.#pool.on('error', () => {});
    const { port1, port2 } = new MessageChannel();
    const open: OpenThread = { port: port2, flags: this.#flags.shared, concurrency: options.concurrency };
    this.#post(open, [port2]);
    this.#worker = this.#pool.threads[0]!;
    this.threadId = this.#worker.threadId;
    this.#ended = new Promise((resolve) => {
      this.#worker.once('error', (error) => this.#blame('crashed', textOf(error)));
      this.#worker.once('exit', (code) => {
        this.#blame('crashed', `worker exited with code ${code}`);
        this.#report();
        resolve();
      });
    });
    this.online = new Promise((resolve, reject) => {
      this.#worker.once('online', resolve);
      this.#worker.once('exit', () => reject(new Error(this.#cause?.detail ?? 'the thread ended')));
    });
    this.online.catch(() => {});
    this.#port = port1;
    port1.on('message', (bytes: Uint8Array) => this.#receive(bytes));
    port1.unref();
  }

  /** The bytes are handed over: their memory is gone afterwards. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#cause) return;
    if (priorityOf(typeOf(bytes)) < 2) this.#port.postMessage(bytes, [bytes.buffer]);
    else this.#post(bytes, [bytes.buffer]);
  }

  /** Lets what was posted finish, unloads, ends. After `budgetMs` (Infinity: never) it is killed. */
  stop(budgetMs: number): void {
    if (this.#cause || this.#stopTimer) return;
    this.#post(joinMessage(encodeNumber('unload')), []);
    if (budgetMs >= timerMsMax) return;
    this.#stopTimer = setTimeout(() => this.kill('killed', `did not stop within ${budgetMs} ms`), budgetMs);
  }

  kill(reason: ExitReason, detail: string): void {
    if (this.#cause) return;
    this.#blame(reason, detail);
    if (!this.#flags.retire()) {
      // Ended by this, the worker's 'exit' reports. Nothing can have entered native code since the flag was set.
      void this.#pool.destroy();
      return;
    }
    // In case it does not hang in native code but waits for something, it hears this and leaves.
    this.#port.postMessage(joinMessage(encodeNumber('unload')));
    this.#report(this.#ended);
  }

  #post(task: OpenThread | Uint8Array, transferList: (MessagePort | ArrayBuffer)[]): void {
    this.#pool.run(task, { transferList }).then(
      (bytes) => {
        if (bytes instanceof Uint8Array) this.#receive(bytes);
      },
      // A death rejects every task and is known already. Anything else is a worker that broke its own rules.
      (error: unknown) => this.kill('crashed', textOf(error)),
    );
  }

  #receive(bytes: Uint8Array): void {
    if (this.#cause) return;
    if (typeOf(bytes) === messageType.unloadReply) this.kill('shutdown', 'stopped');
    else this.#options.onMessage(bytes);
  }

  #blame(reason: ExitReason, detail: string): void {
    this.#cause ??= { reason, detail };
  }

  #report(zombie?: Promise<void>): void {
    if (this.#reported) return;
    this.#reported = true;
    clearTimeout(this.#stopTimer);
    if (!zombie) this.#port.close();
    else void zombie.then(() => this.#port.close());
    this.#options.onExit(this.#cause!, zombie);
  }
}

/** Longer delays overflow Node's timers and fire at once. */
const timerMsMax = 2 ** 31 - 1;

function textOf(error: unknown): string {
  if ((error as { code?: unknown } | null)?.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'heap out of memory';
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
