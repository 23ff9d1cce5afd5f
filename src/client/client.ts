/**
 * The caller's side of regrow over NATS: one deadline for the whole call, other hosts for what failed or is late, and a
 * memory of hosts that let it wait.
 *
 * Models may run twice, modules may not, unless the caller says otherwise with `idempotent`; a call that may have run and
 * must not run again ends as UNAVAILABLE with outcome unknown. While the connection is down calls wait for it, within
 * their deadlines. One client serves any number of calls side by side.
 */
import { ServeError } from '../errors.js';
import { HostsSeen } from '../policy/hosts-seen.js';
import { RunTimes } from '../policy/latency.js';
import { ReplayMeter } from '../policy/replay-meter.js';
import { ATTEMPTS_MAX } from '../policy/retry.js';
import type { StatusDocument } from '../protocol/status.js';
import { namedTensors, typedRecord, type TensorLike, type TypedTensor } from '../tensor/typed.js';
import type { BusAnswer } from './call.js';
import { Scout, type ClientOutside } from './scout.js';
import { WholeCall, type ClientShared } from './whole-call.js';

export type { ClientOutside } from './scout.js';

export interface InferOptions {
  /** Budget of the whole call, retries included, in ms. */
  readonly timeoutMs?: number;
  readonly outputs?: readonly string[];
  readonly signal?: AbortSignal;
  /**
   * False: run at most once. True: run again when nobody knows whether it ran. Default: true for models, false for
   * modules. An actor's own spec may forbid what is allowed here, never the other way round.
   */
  readonly idempotent?: boolean;
  /** 0 interactive (default), 1 bulk. */
  readonly priority?: 0 | 1;
  readonly requestId?: string;
}

export interface InferResult {
  readonly outputs: Record<string, TypedTensor>;
  /** `<host>/<replica>#<incarnation>`. */
  readonly servedBy: string;
  /** Of singletons: since which take-over this owner has it. */
  readonly epoch?: number | undefined;
  /** Executions the answer took. */
  readonly attempts: number;
  readonly modelVersion: string;
  readonly device: string;
  /** Why the answer is second best, when it is: the device the actor would rather be on cannot be used. */
  readonly degraded?: string;
}

export type TensorInputs = Readonly<Record<string, TensorLike>>;

const TIMEOUT_MS = 5000;
/** The longest a timer can be: an Infinity would fire at once. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

export interface ClientOptions {
  /** Executions one call may use over all hosts and layers, the first included. Default 3. */
  readonly attemptsMax?: number;
}

export class Client implements AsyncDisposable {
  readonly #shared: ClientShared;

  /** @throws ServeError INVALID_ARGUMENT for an option that cannot be */
  constructor(private readonly outside: ClientOutside, { attemptsMax = ATTEMPTS_MAX }: ClientOptions = {}) {
    if (!Number.isInteger(attemptsMax) || attemptsMax < 1) throw new ServeError('INVALID_ARGUMENT', `attemptsMax: ${attemptsMax} is not a whole number >= 1`);
    const seen = new HostsSeen();
    this.#shared = { outside, seen, scout: new Scout(outside, seen), budget: new ReplayMeter(outside.clock.now()), times: new RunTimes(), attemptsMax, epochs: new Map() };
  }

  /** Rejects with a ServeError, or with the reason of `options.signal`. */
  async infer(actor: string, inputs: TensorInputs, options: InferOptions = {}): Promise<InferResult> {
    const { timeoutMs = TIMEOUT_MS, outputs, signal, idempotent, priority, requestId = this.outside.random.ulid() } = options;
    const tensors = wellFormed(() => namedTensors(inputs));
    wellFormed(() => this.outside.subjects.infer(actor));
    if (Number.isNaN(timeoutMs)) throw new ServeError('INVALID_ARGUMENT', 'timeoutMs: NaN is not a number of milliseconds');
    const budgetMs = Math.min(timeoutMs, TIMEOUT_MAX_MS);
    return resultOf(await new WholeCall(this.#shared, { actor, inputs: tensors, outputs, timeoutMs: budgetMs, requestId, idempotent, priority, signal }).run());
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

function resultOf(answer: BusAnswer): InferResult {
  return {
    outputs: typedRecord(answer.outputs),
    servedBy: answer.servedBy ?? '',
    ...(answer.epoch !== undefined && { epoch: answer.epoch }),
    attempts: answer.attempts ?? 1,
    modelVersion: answer.modelVersion ?? '',
    device: answer.device ?? '',
    ...(answer.degraded !== undefined && { degraded: answer.degraded }),
  };
}
