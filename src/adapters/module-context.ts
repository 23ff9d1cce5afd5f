/**
 * The `context` a module's `run` and `load` get: nested calls, checkpoints, logs, the run's signal and what is
 * left of its budget.
 *
 * The signal and its timer are made when the module first asks for the signal: most runs are shorter than making them.
 * An aborted signal is advice. Nothing here stops a module that does not listen.
 */
import { performance } from 'node:perf_hooks';
import { errorCodes } from '../errors.js';
import { namedTensors, typedRecord } from '../tensor/typed.js';
import type { ErrorCode } from '../errors.js';
import type { TensorLike, TypedTensor } from '../tensor/typed.js';
import type { SessionHost } from '../protocol/session.js';
import { storeValueBytesMax } from '../protocol/store-keys.js';
import type { CheckpointReply, LaneLog, NestedReply, RunTask } from '../protocol/task.js';

export interface NestedOptions {
  /** Outputs to compute; all when absent. */
  readonly outputs?: readonly string[];
  /** Less than what is left of the run's own budget; more has no effect. */
  readonly timeoutMs?: number;
  /** Stops waiting. The call itself may still be carried out. */
  readonly signal?: AbortSignal;
}

export interface ModuleLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/**
 * What a singleton's next owner goes on from, wherever it starts. Both reject with an Error that has `code` (one of
 * regrow's), `retryable` and perhaps `outcome: 'unknown'`: without a store, for an actor that is no singleton, and when
 * another host owns it by now.
 */
export interface ModuleCheckpoint {
  /** What was saved last, here or by an earlier owner; undefined: nothing yet. */
  load(): Promise<Uint8Array | undefined>;
  /**
   * Replaces what was saved before. Once it resolves, every later owner loads these bytes or newer ones. At most
   * 1,000,000 bytes (PAYLOAD_TOO_LARGE); they may be written to again as soon as this returns.
   */
  save(bytes: Uint8Array): Promise<void>;
}

export interface ModuleLoadContext {
  readonly log: ModuleLog;
  readonly checkpoint: ModuleCheckpoint;
}

export interface ModuleContext extends ModuleLoadContext {
  readonly requestId: string;
  /** Aborts when the caller is gone and when the deadline passes. */
  readonly signal: AbortSignal;
  /** What is left of the budget now, in ms; never below 0. */
  readonly deadlineMs: number;
  /** Ownership epoch, of singletons. */
  readonly epoch: number | undefined;
  /**
   * Asks another actor, through this host, within this run's deadline. Inputs as in `run`.
   * Rejects with an Error that has `code` (one of regrow's), `retryable` and perhaps `outcome: 'unknown'`.
   */
  infer(
    actor: string,
    inputs: Readonly<Record<string, TensorLike>>,
    options?: NestedOptions,
  ): Promise<{ outputs: Record<string, TypedTensor> }>;
}

export interface RunContext extends ModuleContext {
  abort(): void;
  /** The run is answered: no timer stays behind. */
  end(): void;
}

export function loadContext(host: SessionHost): ModuleLoadContext {
  return { log: moduleLog(host), checkpoint: moduleCheckpoint(host) };
}

export function runContext(task: RunTask, host: SessionHost): RunContext {
  const deadline = performance.now() + task.budgetMs;
  let controller: AbortController | undefined;
  let timer: NodeJS.Timeout | undefined;
  let reason: DOMException | undefined;
  let log: ModuleLog | undefined;
  const remaining = (): number => Math.max(0, deadline - performance.now());
  const abort = (why: string): void => {
    reason ??= new DOMException(why, 'AbortError');
    controller?.abort(reason);
  };
  // Timers may fire a little early: look again, so that an aborted signal and `deadlineMs` never contradict each other.
  const watch = (): void => {
    const leftMs = remaining();
    if (leftMs === 0) abort('the deadline has passed');
    else if (leftMs < timerMsMax) timer = setTimeout(watch, Math.ceil(leftMs));
  };
  return {
    requestId: task.requestId,
    epoch: task.epoch,
    get checkpoint() {
      return moduleCheckpoint(host);
    },
    get log() {
      return (log ??= moduleLog(host));
    },
    get deadlineMs() {
      return remaining();
    },
    get signal() {
      if (controller) return controller.signal;
      controller = new AbortController();
      if (reason) controller.abort(reason);
      else watch();
      return controller.signal;
    },
    async infer(actor, inputs, options = {}) {
      const { outputs, timeoutMs, signal } = options;
      signal?.throwIfAborted();
      const call = {
        runId: task.id, actor, inputs: namedTensors(inputs), ...(outputs && { outputs }), ...(timeoutMs !== undefined && { timeoutMs }),
      };
      const reply = await untilAborted(host.nested(call), signal);
      if (!reply.ok) throw failureError(actor, reply);
      return { outputs: typedRecord(reply.outputs) };
    },
    abort: () => abort('the caller is gone'),
    end: () => clearTimeout(timer),
  };
}

/** Longer delays overflow Node's timers and fire at once. */
const timerMsMax = 2 ** 31 - 1;

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop!);
  }
}

function moduleCheckpoint(host: SessionHost): ModuleCheckpoint {
  return {
    async load() {
      const reply = await host.checkpoint({ op: 'load' });
      if (!reply.ok) throw failureError('checkpoint', reply);
      // A copy: what came may be a view into a larger message.
      return reply.bytes?.slice();
    },
    async save(bytes) {
      if (!(bytes instanceof Uint8Array)) throw new TypeError(`a checkpoint is a Uint8Array, got ${bytes === null ? 'null' : typeof bytes}`);
      if (bytes.byteLength > storeValueBytesMax) {
        throw failureError('checkpoint', { ok: false, code: 'PAYLOAD_TOO_LARGE', message: `it has ${bytes.byteLength} bytes, at most ${storeValueBytesMax} are kept` });
      }
      const reply = await host.checkpoint({ op: 'save', bytes });
      if (!reply.ok) throw failureError('checkpoint', reply);
    },
  };
}

function failureError(what: string, reply: Extract<NestedReply | CheckpointReply, { ok: false }>): Error {
  const code: ErrorCode = reply.code;
  const retryable = errorCodes[code].retryable && reply.outcome === undefined;
  return Object.assign(new Error(`${what}: ${reply.message}`), { code, retryable, ...(reply.outcome && { outcome: reply.outcome }) });
}

function moduleLog(host: SessionHost): ModuleLog {
  const at = (level: LaneLog['level']) => (message: string, fields?: Readonly<Record<string, unknown>>): void => {
    host.log({ level, message: String(message), ...(fields && { fields: plain(fields) }) });
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** What JSON cannot hold becomes text: a log line must not fail a run. */
function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof Error) kept[key] = value.stack ?? value.message;
    else {
      try {
        kept[key] = JSON.parse(JSON.stringify(value) ?? 'null') as unknown;
      } catch {
        kept[key] = String(value);
      }
    }
  }
  return kept;
}
