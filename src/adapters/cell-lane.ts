/**
 * A lane in a process of its own: the default, because a process can be killed and takes nobody with it.
 *
 * The child runs actors/cell.js, which hosts the same thread a thread lane does; here is only the proxy. Bytes pass over
 * a socket pair made at spawn. What the child had answered before it died is still delivered: the socket is read to its
 * end before the exit is reported. It never loads native inference code, and it does not decide when a cell must die.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Socket } from 'node:net';
import { CellLimit, type LimitClock } from './cell-limit.js';
import { unbornLane } from './cell-unborn.js';
import { cellSocketFd } from '../protocol/cell-order.js';
import type { CellOrder } from '../protocol/cell-order.js';
import { FrameLink } from '../protocol/frame-link.js';
import { ProtocolError } from '../protocol/frames.js';
import type { Message } from '../protocol/frames.js';
import { LaneCalls } from '../protocol/lane-calls.js';
import { decodeJson, decodeNumber, encodeNumber, messageType, priorityOf, typeOf } from '../protocol/task-codec.js';
import type { MessageType } from '../protocol/task-codec.js';
import type { ExitReason } from '../errors.js';
import type { Lane, LaneExit, LaneFactory, LaneOrder, Log } from '../ports.js';
import type { LoadReply, RunReply, RunTask } from '../protocol/task.js';

export interface CellLanesOptions {
  /** The compiled entries; by default the ones compiled beside this file. */
  readonly entries?: { readonly cell?: URL; readonly worker?: URL };
  /** Heap bounds of the worker thread inside the cell. */
  readonly resourceLimits?: CellOrder['resourceLimits'];
  /** More environment for the cells. */
  readonly env?: Readonly<Record<string, string>>;
  /** Longest message a cell may claim to send; 1 GiB. */
  readonly messageBytesMax?: number;
  /** Of the time limits on the way out; the machine's by default. */
  readonly clock?: LimitClock;
  readonly log?: Log;
}

/** glibc keeps freed memory otherwise, and every restarted session looks like a leak. */
const cellEnv = { MALLOC_TRIM_THRESHOLD_: '131072', MALLOC_ARENA_MAX: '2' };
/** From the child's death to the end of its socket; only something that inherited the socket makes it longer. */
const drainMs = 100;
/** From the word `ended` to the death of the child, before it is helped. */
const leaveMs = 1000;
/** From SIGKILL to the report of a process the kernel cannot end (a device driver that does not return). */
const killMs = 2000;

export function createCellLanes(options: CellLanesOptions = {}): LaneFactory {
  const cell = options.entries?.cell ?? new URL('../../actors/cell.js', import.meta.url);
  const worker = options.entries?.worker ?? new URL('../../actors/worker.js', import.meta.url);
  const zombies = new Set<ChildProcess>();
  return {
    open: (order) => {
      const child = startCell(order, options, { cell, worker });
      return child instanceof Error ? unbornLane(child) : new CellLane(order, child, options, zombies);
    },
    get zombies() {
      return zombies.size;
    },
  };
}

/** An Error where the system refuses: some refusals throw, others leave a child without streams. */
function startCell(order: LaneOrder, options: CellLanesOptions, entries: { cell: URL; worker: URL }): ChildProcess | Error {
  const { resourceLimits } = options;
  const cellOrder: CellOrder = {
    replica: order.replica, worker: entries.worker.href, concurrency: order.concurrency, ...(resourceLimits && { resourceLimits }),
  };
  try {
    const child = spawn(process.execPath, [fileURLToPath(entries.cell), JSON.stringify(cellOrder)], {
      env: { ...process.env, ...cellEnv, ...options.env },
      // stdout belongs to answers: what a module prints goes to this process's stderr.
      stdio: ['ignore', 2, 2, 'pipe'],
    });
    if ((child.stdio as unknown) !== undefined && child.stdio[cellSocketFd]) return child;
    child.once('error', () => {});
    return new Error('too many open files');
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

class CellLane implements Lane {
  readonly pid: number;
  threadId = 0;
  memoryBytes = 0;
  readonly spawned: Promise<void>;
  readonly #order: LaneOrder;
  readonly #log: Log | undefined;
  readonly #zombies: Set<ChildProcess>;
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #link: FrameLink;
  readonly #calls: LaneCalls;
  readonly #listeners: ((exit: LaneExit) => void)[] = [];
  #pings: ((answered: boolean) => void)[] = [];
  /** Why it ends, once that is known. The first word counts. */
  #cause: LaneExit | undefined;
  #exit: LaneExit | undefined;
  #stopping = false;
  /** The one time limit on the way out: each later stage replaces the one before. */
  readonly #limit: CellLimit;

  constructor(order: LaneOrder, child: ChildProcess, options: CellLanesOptions, zombies: Set<ChildProcess>) {
    this.#order = order;
    this.#log = options.log;
    this.#zombies = zombies;
    this.#limit = new CellLimit(options.clock);
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.#socket = child.stdio[cellSocketFd] as unknown as Socket;
    this.#link = new FrameLink(this.#socket, (bytes) => this.#receive(bytes), options.messageBytesMax);
    this.#calls = new LaneCalls((message) => this.#send(message), order.host);
    this.spawned = this.#watchChild();
    this.#watchSocket();
  }

  load(): Promise<LoadReply> {
    return this.#calls.load(this.#order.load);
  }

  run(task: RunTask): Promise<RunReply | undefined> {
    if (this.#stopping) return Promise.resolve(undefined);
    return this.#calls.run(task);
  }

  cancel(runId: number): void {
    this.#calls.cancel(runId);
  }

  ping(): Promise<boolean> {
    if (this.#exit) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#pings.push(resolve);
      this.#send(encodeNumber('ping'));
    });
  }

  stop(budgetMs: number): void {
    if (this.#stopping || this.#cause) return;
    this.#stopping = true;
    this.#send(encodeNumber('unload'));
    this.#limit.set(budgetMs, () => this.kill('killed', `did not stop within ${budgetMs} ms`));
  }

  kill(reason: ExitReason, detail: string): void {
    if (this.#exit) return;
    this.#cause ??= { reason, detail };
    if (this.#childEnded) return;
    this.#child.kill('SIGKILL');
    this.#limit.set(killMs, () => {
      this.#zombies.add(this.#child);
      this.#report();
    });
  }

  onExit(listener: (exit: LaneExit) => void): void {
    const exit = this.#exit;
    if (exit) queueMicrotask(() => listener(exit));
    else this.#listeners.push(listener);
  }

  get #childEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #watchChild(): Promise<void> {
    const child = this.#child;
    child.once('exit', (code, signal) => {
      this.#zombies.delete(child);
      this.#cause ??= causeOf(code, signal);
      if (this.#socket.closed) this.#report();
      else this.#limit.set(drainMs, () => this.#report());
    });
    const spawned = new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(error);
        // No process, no 'exit'. With a process, 'error' means that a signal could not be sent: 'exit' will follow.
        if (child.pid !== undefined) return;
        this.#cause ??= { reason: 'crashed', detail: `no process: ${error.message}` };
        this.#report();
      });
    });
    spawned.catch(() => {});
    return spawned;
  }

  #watchSocket(): void {
    this.#socket.on('data', (chunk: Uint8Array) => {
      try {
        this.#link.receive(chunk);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.kill('crashed', `protocol error: ${error.message}`);
      }
    });
    // The child is dying or dead (EPIPE, ECONNRESET): its 'exit' says why.
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      if (this.#childEnded) this.#report();
      else this.#limit.set(leaveMs, () => this.kill('crashed', 'closed its socket and went on living'));
    });
  }

  #send(message: Message): void {
    this.#link.send(message, priorityOf(message.parts[0]![0] as MessageType));
  }

  #receive(bytes: Uint8Array): void {
    if (this.#exit) return;
    switch (typeOf(bytes)) {
      case messageType.pong:
        this.memoryBytes = decodeNumber(bytes);
        this.#pings.shift()?.(true);
        return;
      case messageType.started:
        this.threadId = decodeNumber(bytes);
        return;
      case messageType.ended: {
        const { reason, detail } = decodeJson('ended', bytes);
        this.#cause ??= { reason: reason as ExitReason, detail };
        this.#limit.set(leaveMs, () => this.kill('crashed', detail));
        return;
      }
      default:
        if (!this.#calls.receive(bytes)) throw new ProtocolError(`unexpected message type ${bytes[0]}`);
    }
  }

  #report(): void {
    if (this.#exit) return;
    const exit = this.#cause!;
    this.#exit = exit;
    this.#limit.clear();
    this.#socket.destroy();
    this.#calls.end(exit.detail);
    for (const answer of this.#pings) answer(false);
    this.#pings = [];
    this.#log?.log('debug', 'cell-ended', { replica: this.#order.replica, pid: this.pid, ...exit });
    for (const listener of this.#listeners) listener(exit);
  }
}

/** Signals a process gives itself when it breaks; any other comes from outside. */
const faults: readonly NodeJS.Signals[] = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP', 'SIGSYS'];

function causeOf(code: number | null, signal: NodeJS.Signals | null): LaneExit {
  if (signal !== null) return { reason: faults.includes(signal) ? 'crashed' : 'killed', detail: signal };
  return { reason: 'crashed', detail: `exit code ${code}` };
}
