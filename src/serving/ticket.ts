/**
 * A ticket is an admitted request: its deadline, how often it ran, and the one way to answer it. Whatever happens to
 * lanes, `finish` takes effect exactly once; later results are counted by the caller of `finish` and dropped.
 */
import { ServeError, type ErrorCode, type Outcome } from '../errors.js';
import { errorCodes } from '../errors.js';
import type { NamedTensor } from '../tensor/datatype.js';

export interface InferCall {
  readonly inputs: readonly NamedTensor[];
  /** Outputs wanted; all when absent. */
  readonly outputs?: readonly string[] | undefined;
  readonly requestId: string;
  /** The caller's budget in ms; the actor's own default applies when absent. */
  readonly timeoutMs?: number | undefined;
  /** False forbids a second run. True changes nothing: only the spec can allow. */
  readonly idempotent?: boolean | undefined;
  readonly priority?: 0 | 1 | undefined;
  /** Executions still allowed over all layers. */
  readonly attemptsLeft?: number | undefined;
  /** 1: another host sent it here, and nobody sends it on. */
  readonly hops?: number | undefined;
  /** Actors this call came through, outermost first. Empty for calls from outside. */
  readonly path?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** An operator tries a quarantined request again: it runs alone, on a replica that is not the last one, or not at all. */
  readonly suspect?: boolean | undefined;
}

export interface InferAnswer {
  readonly outputs: readonly NamedTensor[];
  /** `<replica>#<incarnation>` that answered. */
  readonly servedBy: string;
  /** Host of that replica; absent when it is this one. */
  readonly host?: string | undefined;
  readonly attempts: number;
  readonly version: string;
  readonly device: string;
  /** Why the answer is second best. */
  readonly degraded?: string | undefined;
}

export type TicketEnd =
  | { readonly ok: true; readonly answer: InferAnswer }
  | { readonly ok: false; readonly error: ServeError }
  | { readonly ok: false; readonly canceled: unknown };

export class Ticket {
  inputs: readonly NamedTensor[];
  /** Runs that started or are believed to have started. */
  attempts = 0;
  /** Runs alone, as a suspect. */
  soloRuns = 0;
  /** Lanes that ended by themselves while it was running there. */
  deaths = 0;
  /** One of them had nothing else on it, and no signal from outside ended it. */
  #diedAlone = false;
  /** Copies of it now on lanes; two while a suspect replica still has the first. */
  onLanes = 0;
  /** Replica whose answer to it was refused. */
  avoid: string | undefined;
  /** Waits in a queue or among the suspects. */
  waiting = false;
  #ended: TicketEnd | undefined;
  #abort: AbortController | undefined;

  constructor(
    readonly call: InferCall,
    readonly bytes: number,
    readonly admittedAtMs: number,
    readonly deadlineAtMs: number,
    readonly idempotent: boolean,
    readonly attemptsMax: number,
    private readonly onEnd: (ticket: Ticket, end: TicketEnd) => void,
  ) {
    this.inputs = call.inputs;
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Aborts when the ticket ends: nested calls of a request that is over are of use to nobody. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#ended) this.#abort.abort();
    return this.#abort.signal;
  }

  diedUnder(alone: boolean): void {
    this.deaths++;
    this.#diedAlone ||= alone;
  }

  /** Those deaths were the machine's. */
  absolve(): void {
    this.deaths = 0;
    this.#diedAlone = false;
  }

  /** Two lanes ended under it, and on one of them it was alone; in whichever order its copies ended. */
  isProven(aloneNow: boolean): boolean {
    return (aloneNow || this.#diedAlone) && (this.deaths > 1 || this.call.suspect === true);
  }

  answer(answer: InferAnswer): boolean {
    return this.#finish({ ok: true, answer });
  }

  fail(error: ServeError): boolean {
    return this.#finish({ ok: false, error });
  }

  failWith(code: ErrorCode, message: string, options?: { outcome?: 'unknown'; reason?: 'guard'; retryAfterMs?: number }): boolean {
    return !this.ended && this.fail(new ServeError(code, message, { ...options, attempts: this.attempts }));
  }

  /** The caller is gone. */
  cancel(reason: unknown): boolean {
    return this.#finish({ ok: false, canceled: reason });
  }

  #finish(end: TicketEnd): boolean {
    if (this.#ended) return false;
    this.#ended = end;
    this.inputs = []; // A queue may keep an ended ticket for a while, its bytes it must not keep.
    this.onEnd(this, end);
    this.#abort?.abort();
    return true;
  }
}

export function outcomeOf(end: TicketEnd): Outcome {
  if (end.ok) return 'ok';
  return 'canceled' in end ? 'canceled' : errorCodes[end.error.code].countedAs;
}
