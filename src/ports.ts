/**
 * What the inside may ask of the outside. Interfaces only: adapters implement them, host.ts chooses them, simulations
 * replace them. Time and chance are here too, so that everything else is reproducible from a seed.
 */
import type { ExitReason } from './errors.js';
import type { Encoded, InferRequest, InferResponse } from './protocol/infer.js';
import type { CheckpointCall, CheckpointReply, LaneLog, LoadReply, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from './protocol/task.js';

/** Opaque; hand it back to `clearTimeout`. */
export type TimerHandle = unknown;

/** Satisfies xstate's clock as well, so machines and adapters share one time. */
export interface Clock {
  /** Monotonic milliseconds with fractions. Only differences mean anything. */
  now(): number;
  /** Wall-clock time in epoch milliseconds, for what people read; never for decisions. */
  wallTime(): number;
  setTimeout(callback: () => void, delayMs: number): TimerHandle;
  clearTimeout(handle: TimerHandle): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A ULID: sortable, unique per call. */
  ulid(): string;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** One event name, then fields. Transitions are logged, requests are not. */
export interface Log {
  log(level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): void;
}

export type { CheckpointCall, CheckpointReply, LoadReply, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from './protocol/task.js';

// ---------------------------------------------------------------------------------------------------------------- bus

/** Names compare without case. */
export type BusHeaders = ReadonlyMap<string, string>;

export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Keys in lower case. */
  readonly headers: BusHeaders;
  /** True when the sender waits for an answer; without it `respond` does nothing. */
  readonly hasReply: boolean;
  /** Fire and forget. Throws BusError `PAYLOAD_TOO_LARGE` before anything is sent. */
  respond(data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
}

export type BusErrorCode = 'NO_RESPONDERS' | 'TIMEOUT' | 'DISCONNECTED' | 'CLOSED' | 'PAYLOAD_TOO_LARGE' | 'PERMISSION';

export interface BusSubscription {
  unsubscribe(): void;
}

export interface BusRequestOptions {
  readonly timeoutMs: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export type BusState = 'up' | 'down' | 'closed';

export interface Bus {
  readonly state: BusState;
  readonly payloadBytesMax: number;
  /** Called after every change of `state`; returns the way to stop listening. */
  onState(listener: (state: BusState, detail: string) => void): () => void;
  /** At most once, lost without notice while the bus is down. */
  publish(subject: string, data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
  /** With `queue`, one member of the group gets each message. Survives reconnects. Handlers must not throw. */
  subscribe(subject: string, handler: (message: BusMessage) => void, options?: { readonly queue?: string }): BusSubscription;
  /** Rejects with a BusError (an Error whose `code` is a BusErrorCode), or with `signal.reason` once aborted. */
  request(subject: string, data: Uint8Array, options: BusRequestOptions): Promise<BusMessage>;
  /** Resolves when everything published and subscribed so far has reached the server. */
  flush(timeoutMs: number): Promise<void>;
  /** Stops receiving, lets published answers leave, closes. Never rejects. */
  close(): Promise<void>;
}

export class BusError extends Error {
  override readonly name = 'BusError';
  constructor(readonly code: BusErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

// -------------------------------------------------------------------------------------------------------------- codec

/** Large JSON, off the loop that also serves beats and pings. Rejects with a ServeError for what is malformed. */
export interface JsonCodec {
  decodeRequest(bytes: Uint8Array, jsonLength: number | undefined): Promise<InferRequest>;
  encodeResponse(response: InferResponse, request: InferRequest): Promise<Encoded>;
  close(): Promise<void>;
}

// -------------------------------------------------------------------------------------------------------------- lanes

export interface LaneExit {
  readonly reason: ExitReason;
  /** For people: `SIGKILL`, `exit code 134`, the text of an error. */
  readonly detail: string;
}

/** What a lane may ask of its host while it lives. */
export interface LaneHost {
  /** `context.infer`. Must settle; resolves with a failure value instead of rejecting. */
  nestedCall(call: NestedCall): Promise<NestedReply>;
  /** `context.checkpoint`; the same. Absent: this host keeps none. */
  checkpoint?(call: CheckpointCall): Promise<CheckpointReply>;
  log(line: LaneLog): void;
}

/**
 * What runs one replica: a thread in this process or a cell. Opening one starts it at once. The order of life:
 * `load` once, `run` any number of times, then `stop` or `kill`, or it ends by itself; `onExit` fires exactly once in
 * every case, after which every pending promise has been settled.
 */
export interface Lane {
  /** Of the process the model runs in. */
  readonly pid: number;
  /** Of the thread the model runs in; 0 until known. */
  readonly threadId: number;
  /** Resolves when the thread or process exists; rejects when it could not be made. */
  readonly spawned: Promise<void>;
  load(): Promise<LoadReply>;
  /**
   * Runs go one after the other, in order of posting (modules: up to `concurrency` at once). Resolves with `undefined`
   * when the lane ended before it answered, never rejects.
   */
  run(task: RunTask): Promise<RunReply | undefined>;
  /** The caller of a run is gone: its `context.signal` aborts (modules), its late answer is dropped. Never stops a lane. */
  cancel(runId: number): void;
  /** Resolves with true when the lane's main loop answered. A thread lane has no loop of its own besides the host's. */
  ping(): Promise<boolean>;
  /** Resident memory of the cell in bytes at the last ping; 0 when unknown. */
  readonly memoryBytes: number;
  /** Ordered end: finishes what was posted, unloads, ends. Beyond `budgetMs` it is killed (thread lane: retired). */
  stop(budgetMs: number): void;
  /** At once and without mercy. A busy thread lane cannot be killed: it is retired and reported as a zombie. */
  kill(reason: ExitReason, detail: string): void;
  onExit(listener: (exit: LaneExit) => void): void;
}

export interface LaneOrder {
  /** For names of processes and threads, and for logs. */
  readonly replica: string;
  readonly load: LoadTask;
  readonly concurrency: number;
  readonly host: LaneHost;
}

export interface LaneFactory {
  open(order: LaneOrder): Lane;
  /** Lanes that could not be ended (threads inside native code that never returns). */
  readonly zombies: number;
}

// -------------------------------------------------------------------------------------------------------------- store

/**
 * `ready`: calls go out. `down`: no connection, or its leader does not answer; comes back by itself. `absent`: there is
 * no store to come back to (no JetStream, not for this user, or a bucket that cannot be trusted); `detail` says why.
 */
export type StoreState = 'ready' | 'down' | 'absent' | 'closed';

/**
 * What is known about a failed call, which is all that counts:
 * `EXISTS`, `CONFLICT`: did not happen, somebody else's write stands or is under way.
 * `DOWN`: certainly did not happen: nothing was sent, or the store refused it. `CLOSED`: the same, and never will.
 * `UNKNOWN`: it was sent and no answer came; a write may have happened or may still happen. Read back, or repeat the
 * very same `create` or `update`: both can happen once only.
 */
export type StoreErrorCode = 'EXISTS' | 'CONFLICT' | 'UNKNOWN' | 'DOWN' | 'CLOSED';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  constructor(readonly code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

export interface StoreEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The store's sequence number of this write: unique among all keys, rising. */
  readonly revision: number;
}

export type StoreChange =
  | (StoreEntry & { readonly deleted: false })
  | { readonly key: string; readonly revision: number; readonly deleted: true };

export interface StoreCall {
  /** Of the whole call, whatever it takes inside. */
  readonly timeoutMs: number;
}

export interface StoreListing {
  /**
   * By revision. Has every entry up to `lastSequence`; one that was written while the list was read may be there in its
   * newer version, or be missing if it is new.
   */
  readonly entries: readonly StoreEntry[];
  /** Of the store at its leader when the reading began, whatever the prefix. */
  readonly lastSequence: number;
}

/**
 * A small replicated map with compare-and-set, arbiter of everything that may exist only once.
 *
 * Keys are tokens of `A-Za-z0-9_=/-` with dots between them (TypeError otherwise), values at most 1 MB (RangeError). Every
 * read asks the leader. A prefix is a number of whole tokens: `own.digits` holds `own.digits.7` but neither
 * `own.digits-2.7` nor itself; the empty one holds everything. Calls reject with a StoreError.
 */
export interface Store {
  readonly state: StoreState;
  /** For people: why it is in this state. */
  readonly detail: string;
  /** Called after every change of `state`; returns the way to stop listening. */
  onState(listener: (state: StoreState, detail: string) => void): () => void;
  /** The highest sequence this object has seen in anything. A leader behind it has lost writes. */
  readonly lastSequence: number;
  /** Undefined: there is none, or it was deleted. */
  get(key: string, call: StoreCall): Promise<StoreEntry | undefined>;
  /**
   * Only if the key was never written: also after `delete` it is EXISTS. Resolves with the revision. CONFLICT: it was
   * still undecided between others when the time was up.
   */
  create(key: string, value: Uint8Array, call: StoreCall): Promise<number>;
  put(key: string, value: Uint8Array, call: StoreCall): Promise<number>;
  /** Only if the last write to the key has this revision; CONFLICT otherwise. */
  update(key: string, value: Uint8Array, revision: number, call: StoreCall): Promise<number>;
  /** Leaves a mark that the key was used, so that `create` refuses it for ever. */
  delete(key: string, call: StoreCall): Promise<number>;
  /** Removes the mark as well. Only for keys that nobody will ever create again: `create` would succeed. */
  forget(key: string, call: StoreCall): Promise<void>;
  list(prefix: string, call: StoreCall): Promise<StoreListing>;
  /**
   * First what is there, then what changes; in order for each key, in between versions may be left out. Survives
   * reconnects. A convenience: it may be late and blind without a word, so nobody may conclude anything from its silence.
   * Returns the way to stop it.
   */
  watch(prefix: string, listener: (change: StoreChange) => void): () => void;
  /** Ends watches; calls under way still settle. Does not close what it runs over. */
  close(): Promise<void>;
}

export interface StoredObject {
  readonly sha256: string;
  readonly size: number;
}

/**
 * Files by their content: the name is the SHA-256 in hex, so an object never changes. READERS VERIFY: what `get` yields
 * is what the store had, and only hashing it (as `Pins` does with files) tells whether it is what the name says. Here
 * `timeoutMs` bounds each exchange with the store, not the whole transfer. Calls reject with a StoreError.
 */
export interface Objects {
  /** Does nothing when it is there and complete. CONFLICT: the content has another hash, nothing was kept. */
  put(sha256: string, content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>, call: StoreCall): Promise<void>;
  /** Undefined: there is none. Iterating may reject as well; CONFLICT then means that it was deleted meanwhile. */
  get(sha256: string, call: StoreCall): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** There, and with all its parts. */
  has(sha256: string, call: StoreCall): Promise<boolean>;
  list(call: StoreCall): Promise<readonly StoredObject[]>;
  /** Also when there is none. */
  delete(sha256: string, call: StoreCall): Promise<void>;
}
