/**
 * A ticket is an admitted request: its deadline, how often it ran, and the one way to answer it. Whatever happens to
 * lanes, `finish` takes effect exactly once; later results are counted by the caller of `finish` and dropped.
 */
import { ServeError, errorCodes, type ErrorCode, type Outcome, type ServeErrorOptions } from '../errors.js';
import { MASS_DEATH_MS } from '../policy/replay.js';
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
  /** In which this host, its owner, took it; of singletons. */
  readonly epoch?: number | undefined;
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
  /** Of singletons: an answer of a lower one than was seen before does not count. */
  readonly epoch?: number | undefined;
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
  /** Lanes that ended by themselves while it was running there. More than none: it is a suspect. */
  deaths = 0;
  /** Of those, the ones that had nothing else on them and were ended by no signal from outside. */
  #deathsAlone = 0;
  #lastDeathMs = -Infinity;
  #lastDeathAlone = false;
  /** A death of its lane was believed to be the machine's. */
  #absolved = false;
  /** Copies of it now on lanes; two while a suspect replica still has the first. */
  onLanes = 0;
  /** Replica whose answer to it was refused. */
  avoid: string | undefined;
  /** Waits in a queue or among the suspects. */
  waiting = false;
  #call: Omit<InferCall, 'inputs'>;
  #ended: TicketEnd | undefined;
  #abort: AbortController | undefined;

  constructor(
    call: InferCall,
    readonly bytes: number,
    readonly admittedAtMs: number,
    readonly deadlineAtMs: number,
    readonly idempotent: boolean,
    readonly attemptsMax: number,
    private readonly onEnd: (ticket: Ticket, end: TicketEnd) => void,
  ) {
    this.inputs = call.inputs;
    this.#call = call;
  }

  /** What was asked; the inputs are the ticket's own, because they go when it ends. */
  get call(): Omit<InferCall, 'inputs'> {
    return this.#call;
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

  diedUnder(alone: boolean, nowMs: number): void {
    this.deaths++;
    if (alone) this.#deathsAlone++;
    this.#lastDeathMs = nowMs;
    this.#lastDeathAlone = alone;
  }

  /** Other lanes died as well. Once that is an accident; who is there a second time is suspect all the same. */
  diedInCrowd(): void {
    if (this.#absolved) this.deaths++;
    this.#absolved = true;
  }

  /** Its last death turns out to be one of a crowd, if it was only just now. @returns whether it is no suspect any more */
  absolve(nowMs: number): boolean {
    if (this.deaths === 0 || this.#absolved || nowMs - this.#lastDeathMs > MASS_DEATH_MS) return false;
    this.#absolved = true;
    this.deaths--;
    if (this.#lastDeathAlone) this.#deathsAlone--;
    return this.deaths === 0;
  }

  /** A replica lived through it. */
  acquit(): void {
    this.deaths = 0;
    this.#deathsAlone = 0;
  }

  /** Two lanes ended under it, and on one of them it was alone; in whichever order its copies ended. */
  isProven(aloneNow: boolean): boolean {
    return (aloneNow || this.#deathsAlone > 0) && (this.deaths > 1 || this.call.suspect === true);
  }

  answer(answer: InferAnswer): boolean {
    return this.#finish({ ok: true, answer });
  }

  fail(error: ServeError): boolean {
    return this.#finish({ ok: false, error });
  }

  failWith(code: ErrorCode, message: string, options?: Pick<ServeErrorOptions, 'outcome' | 'reason' | 'retryAfterMs'>): boolean {
    return !this.ended && this.fail(new ServeError(code, message, { ...options, attempts: this.attempts }));
  }

  /** The caller is gone. */
  cancel(reason: unknown): boolean {
    return this.#finish({ ok: false, canceled: reason });
  }

  #finish(end: TicketEnd): boolean {
    if (this.#ended) return false;
    this.#ended = end;
    // A queue or a list of deaths may keep an ended ticket for a while, its bytes they must not keep. Of one that was simply
    // answered nothing is left anywhere, and it is spared the copy.
    this.inputs = [];
    if (!end.ok || this.attempts > 1) this.#call = withoutInputs(this.#call);
    this.onEnd(this, end);
    this.#abort?.abort();
    return true;
  }
}

function withoutInputs(call: Omit<InferCall, 'inputs'>): Omit<InferCall, 'inputs'> {
  const { requestId, outputs, priority, path, suspect } = call;
  return { requestId, outputs, priority, path, suspect };
}

export function outcomeOf(end: TicketEnd): Outcome {
  if (end.ok) return 'ok';
  return 'canceled' in end ? 'canceled' : errorCodes[end.error.code].countedAs;
}
