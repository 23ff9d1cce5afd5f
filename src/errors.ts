/**
 * Two small vocabularies, side by side so that nobody mixes them.
 *
 * A **ServeError** is for callers: a stable code, whether another try can help, and what is known of the outcome.
 * An **ExitReason** is for supervisors: why a replica's lane or a machine ended. A caller never sees an ExitReason, a
 * supervisor never decides by an error code. Match on codes, never on messages.
 */

/** The codes of the contract, section 4. Their meaning is fixed; new situations get an existing code and a clear text. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PAYLOAD_TOO_LARGE'
  | 'POISON'
  | 'RESOURCE_EXHAUSTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED';

/** How the end of a request is counted. `canceled` has no code: the caller is gone and hears nothing. */
export type Outcome = 'ok' | 'rejected' | 'canceled' | 'timeout' | 'failed';

interface CodeFacts {
  /** HTTP status, and the number in `Nats-Service-Error-Code`. */
  readonly number: number;
  /** Whether the same request may succeed elsewhere or a little later. */
  readonly retryable: boolean;
  readonly countedAs: Outcome;
}

export const errorCodes: Readonly<Record<ErrorCode, CodeFacts>> = {
  INVALID_ARGUMENT: { number: 400, retryable: false, countedAs: 'rejected' },
  NOT_FOUND: { number: 404, retryable: false, countedAs: 'rejected' },
  PAYLOAD_TOO_LARGE: { number: 413, retryable: false, countedAs: 'rejected' },
  POISON: { number: 422, retryable: false, countedAs: 'rejected' },
  RESOURCE_EXHAUSTED: { number: 429, retryable: true, countedAs: 'rejected' },
  INTERNAL: { number: 500, retryable: false, countedAs: 'failed' },
  UNAVAILABLE: { number: 503, retryable: true, countedAs: 'failed' },
  DEADLINE_EXCEEDED: { number: 504, retryable: false, countedAs: 'timeout' },
};

/**
 * - `guard`: a replica answered and the answer was refused twice.
 * - `suspect`: replicas ended under the request, perhaps because of it, so no machine may try it elsewhere.
 */
export type ErrorReason = 'guard' | 'suspect';

export interface ServeErrorOptions {
  /** `unknown`: the request was dispatched, may have run, and must not be repeated by a machine. */
  readonly outcome?: 'unknown';
  readonly reason?: ErrorReason;
  /** When trying again makes sense, in milliseconds from now. */
  readonly retryAfterMs?: number;
  /** Executions the request took before it failed; absent when that is not known. */
  readonly attempts?: number;
  readonly cause?: unknown;
}

/** The error body on NATS and HTTP (contract, section 4). */
export interface ErrorBody {
  readonly error: string;
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly outcome?: 'unknown';
  readonly reason?: ErrorReason;
}

/** What a caller gets instead of an answer. The only error class that crosses regrow's public surface. */
export class ServeError extends Error {
  override readonly name = 'ServeError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly outcome: 'unknown' | undefined;
  readonly reason: ErrorReason | undefined;
  readonly retryAfterMs: number | undefined;
  readonly attempts: number | undefined;

  constructor(code: ErrorCode, message: string, options: ServeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.outcome = options.outcome;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs;
    this.attempts = options.attempts;
    this.retryable = errorCodes[code].retryable && options.outcome !== 'unknown' && options.reason !== 'suspect';
  }

  /** The number for HTTP status lines and NATS service headers. */
  get number(): number {
    return errorCodes[this.code].number;
  }

  toBody(): ErrorBody {
    return {
      error: this.message,
      code: this.code,
      retryable: this.retryable,
      ...(this.outcome && { outcome: this.outcome }),
      ...(this.reason && { reason: this.reason }),
    };
  }

  static fromBody(body: ErrorBody, options: ServeErrorOptions = {}): ServeError {
    return new ServeError(body.code, body.error, { ...options, outcome: body.outcome, reason: body.reason });
  }
}

/** True for anything shaped like a ServeError, also when it comes from another copy of this package. */
export function isServeError(value: unknown): value is ServeError {
  return value instanceof Error && value.name === 'ServeError' && (value as { code?: string }).code! in errorCodes;
}

/**
 * Why a supervised thing ended.
 * - `normal`, `shutdown`: by itself with nothing wrong / because it was asked to.
 * - `crashed`: threw, exited or aborted by itself. `killed`: ended from outside by a signal.
 * - `hung`: regrow ended it because it did not answer. `load-failed`, `unproven`: never became ready.
 */
export type ExitReason = 'normal' | 'shutdown' | 'crashed' | 'killed' | 'hung' | 'load-failed' | 'unproven';
