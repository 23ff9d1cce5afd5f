/**
 * The caller's side of regrow over NATS: one deadline for the whole call, retries of what may be retried.
 *
 * Idempotent by default, as models are; for a module with effects say `idempotent: false`, and a call whose outcome is
 * unknown is reported as such and never repeated. Knows nothing of hosts beyond what answers say.
 */
import { ServeError, isServeError } from '../errors.js';
import type { Bus, Clock, Random } from '../ports.js';
import type { StatusDocument } from '../protocol/status.js';
import type { Subjects } from '../protocol/subjects.js';
import { namedTensors, typedRecord, type TensorLike, type TypedTensor } from '../tensor/typed.js';
import { inferOverBus, type BusAnswer } from './call.js';

export interface InferOptions {
  /** Budget of the whole call, retries included, in ms. */
  readonly timeoutMs?: number;
  readonly outputs?: readonly string[];
  readonly signal?: AbortSignal;
  /** False: run at most once. */
  readonly idempotent?: boolean;
  /** 0 interactive (default), 1 bulk. */
  readonly priority?: 0 | 1;
  readonly requestId?: string;
}

export interface InferResult {
  readonly outputs: Record<string, TypedTensor>;
  /** `<host>/<replica>#<incarnation>`. */
  readonly servedBy: string;
  /** Executions the answer took. */
  readonly attempts: number;
  readonly modelVersion: string;
  readonly device: string;
  /** Why the answer is second best, when it is: the device the actor would rather be on cannot be used. */
  readonly degraded?: string;
}

export type TensorInputs = Readonly<Record<string, TensorLike>>;

const TIMEOUT_MS = 5000;
const STATUS_TIMEOUT_MS = 1000;
/** First pause before another try; doubles, with jitter, so that callers do not return in step. */
const RETRY_MIN_MS = 20;
const RETRY_MAX_MS = 500;

export interface ClientOutside {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly clock: Clock;
  readonly random: Random;
}

export class Client implements AsyncDisposable {
  constructor(private readonly outside: ClientOutside) {}

  /** Rejects with a ServeError, or with the reason of `options.signal`. */
  async infer(actor: string, inputs: TensorInputs, options: InferOptions = {}): Promise<InferResult> {
    const { bus, subjects, clock, random } = this.outside;
    const deadlineMs = clock.now() + (options.timeoutMs ?? TIMEOUT_MS);
    const tensors = wellFormed(() => namedTensors(inputs));
    const subject = wellFormed(() => subjects.infer(actor));
    const requestId = options.requestId ?? random.ulid();
    let pauseMs = RETRY_MIN_MS;
    for (;;) {
      options.signal?.throwIfAborted();
      const leftMs = deadlineMs - clock.now();
      try {
        return resultOf(await inferOverBus(bus, subject, { ...options, inputs: tensors, requestId, timeoutMs: leftMs }));
      } catch (error) {
        if (!isServeError(error) || !error.retryable) throw error;
        if (nobodyAnswered(error)) await this.#assertKnown(actor, deadlineMs - clock.now());
        const waitMs = Math.max(pauseMs * (0.5 + random.next() / 2), Math.min(error.retryAfterMs ?? 0, RETRY_MAX_MS));
        if (clock.now() + waitMs >= deadlineMs) throw error;
        await pause(clock, waitMs, options.signal);
        pauseMs = Math.min(RETRY_MAX_MS, pauseMs * 2);
      }
    }
  }

  /** Silence has two meanings: the actor is down for a moment, or nobody has it. A host that answers knows which. */
  async #assertKnown(actor: string, leftMs: number): Promise<void> {
    const cluster = await this.status(Math.max(1, Math.min(leftMs, STATUS_TIMEOUT_MS))).catch(() => undefined);
    if (!cluster) return;
    const known = new Set(cluster.hosts.flatMap((host) => host.actors.map(({ name }) => name)));
    if (!known.has(actor)) throw new ServeError('NOT_FOUND', `no host has an actor "${actor}"; there ${known.size === 1 ? 'is' : 'are'}: ${[...known].join(', ') || 'none'}`);
  }

  /** The cluster as one of its hosts sees it. */
  async status(timeoutMs = 2000): Promise<StatusDocument> {
    const { bus, subjects } = this.outside;
    const message = await bus.request(subjects.status, new Uint8Array(), { timeoutMs }).catch((error: unknown) => {
      throw new ServeError('UNAVAILABLE', `no host answers on ${subjects.status}: ${String(error)}`, { cause: error });
    });
    return JSON.parse(new TextDecoder().decode(message.data)) as StatusDocument;
  }

  close(): Promise<void> {
    return this.outside.bus.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What the caller wrote, as a ServeError where it cannot be sent. */
function wellFormed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new ServeError('INVALID_ARGUMENT', error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function nobodyAnswered({ cause }: ServeError): boolean {
  return (cause as { code?: string } | undefined)?.code === 'NO_RESPONDERS';
}

function resultOf(answer: BusAnswer): InferResult {
  return {
    outputs: typedRecord(answer.outputs),
    servedBy: answer.servedBy ?? '',
    attempts: answer.attempts ?? 1,
    modelVersion: answer.modelVersion ?? '',
    device: answer.device ?? '',
    ...(answer.degraded !== undefined && { degraded: answer.degraded }),
  };
}

function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clock.clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
