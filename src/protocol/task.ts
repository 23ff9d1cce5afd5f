/**
 * What the host and a lane say to each other, whether a thread boundary or a process boundary lies between them.
 *
 * Expected failures are values here: custom error properties do not survive a thread boundary, and a throw means that
 * the lane itself is broken and must exit. Tensors are raw bytes; a lane never sees a request it would have to refuse
 * for its names, types or shapes, because the endpoint checked them against the metadata the lane reported on load.
 */
import type { ErrorCode } from '../errors.js';
import type { ModelMetadata, NamedTensor } from '../tensor/datatype.js';

/** onnxruntime session options regrow passes on; every one explicit, because the defaults spin and oversubscribe. */
export interface SessionOptions {
  readonly intraOpThreads: number;
  readonly interOpThreads: number;
  readonly graphOptimization: 'disabled' | 'basic' | 'extended' | 'all';
  readonly memoryArena: boolean;
  /** `session.*` configuration entries, values are strings. */
  readonly extra: Readonly<Record<string, string>>;
}

/** First task of a lane: everything it needs to become able to run. */
export interface LoadTask {
  readonly actor: string;
  readonly kind: 'model' | 'module';
  /** Absolute path of the .onnx file or of the ES module; a small model may also be a base64 `data:` URL. */
  readonly file: string;
  /** SHA-256 (hex) the model file must have; other bytes fail the load with `model changed on disk`. */
  readonly sha256?: string;
  /** Copy of the pinned bytes, loaded instead when `file` has other bytes by now or is gone. */
  readonly keptFile?: string;
  /** `cpu`, `cuda:0`, `webgpu:0`. */
  readonly device: string;
  readonly session: SessionOptions;
  /** What a module's `load(spec, context)` gets as `spec`: the actor's spec, plain data. */
  readonly spec: Readonly<Record<string, unknown>>;
}

export type LoadReply =
  /** `notice`: it was loaded, but not as the spec says; an operator should look. */
  | { readonly ok: true; readonly metadata?: ModelMetadata; readonly runtime: string; readonly loadMs: number; readonly notice?: string }
  /** `permanent`: the same bytes will fail again (corrupt file, module throws), as opposed to a passing condition. */
  | { readonly ok: false; readonly message: string; readonly permanent: boolean; readonly deviceFatal: boolean };

export interface RunTask {
  /** Unique per lane, ascending. */
  readonly id: number;
  readonly requestId: string;
  readonly inputs: readonly NamedTensor[];
  /** Outputs to compute; all when absent. */
  readonly outputs?: readonly string[];
  /** Budget left at dispatch, in ms. Informs modules and their nested calls; never stops a lane. */
  readonly budgetMs: number;
  /** Actors this request came through, outermost first, the running one last. Modules only. */
  readonly path: readonly string[];
  /** Ownership epoch, for singletons. */
  readonly epoch?: number;
}

export type RunReply =
  | { readonly ok: true; readonly outputs: readonly NamedTensor[]; readonly runMs: number }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly retryable?: boolean;
      readonly outcome?: 'unknown';
      /** The device behind this session is unusable from now on. */
      readonly deviceFatal?: boolean;
    };

/** `context.infer` of a module, on its way to the host. */
export interface NestedCall {
  /** The run that asks; its deadline, request id and path are inherited. */
  readonly runId: number;
  readonly callId: number;
  readonly actor: string;
  readonly inputs: readonly NamedTensor[];
  readonly outputs?: readonly string[];
  /** Shorter budget than the run's own, if the module asked for one. */
  readonly timeoutMs?: number;
}

export type NestedReply =
  | { readonly ok: true; readonly outputs: readonly NamedTensor[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly outcome?: 'unknown' };

/** `context.checkpoint` of a module, on its way to the host. At most `storeValueBytesMax` bytes. */
export type CheckpointCall = { readonly op: 'load' } | { readonly op: 'save'; readonly bytes: Uint8Array };

export type CheckpointReply =
  /** `bytes`: of a load that found something. */
  | { readonly ok: true; readonly bytes?: Uint8Array }
  /** `outcome: 'unknown'`: it may have been saved. */
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly outcome?: 'unknown' };

/** A line a module wrote with `context.log`. */
export interface LaneLog {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}
