/**
 * Finds the actor a call is for, checks the call against what the actor's model says of itself, and hands it to the
 * actor's dispatcher. Calls from outside, from this process and from modules (`context.infer`) all come through here.
 */
import { ServeError, isServeError } from '../errors.js';
import type { Clock, NestedCall, NestedReply } from '../ports.js';
import { selectOutputs, validateInputs } from '../protocol/validate.js';
import type { ModelMetadata } from '../tensor/datatype.js';
import type { Dispatcher } from './dispatcher.js';
import type { InferAnswer, InferCall } from './ticket.js';

/** Actors a call may come through; more is a loop somebody did not see. */
export const DEPTH_MAX = 8;

export interface ActorEntry {
  readonly name: string;
  readonly dispatcher: Dispatcher;
  /** Known after the first load; undefined for modules that declare none. */
  metadata: ModelMetadata | undefined;
  version: string;
}

/** Where calls for actors this host does not run go, if anywhere. */
export type Elsewhere = (actor: string, call: InferCall) => Promise<InferAnswer>;

export class Router {
  readonly #actors = new Map<string, ActorEntry>();
  #refusing: string | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly elsewhere?: Elsewhere,
  ) {}

  register(entry: ActorEntry): void {
    this.#actors.set(entry.name, entry);
  }

  unregister(actor: string): void {
    this.#actors.delete(actor);
  }

  entry(actor: string): ActorEntry | undefined {
    return this.#actors.get(actor);
  }

  /** A call from outside. Rejects with a ServeError, or with the reason of the call's own signal. */
  async infer(actor: string, call: InferCall): Promise<InferAnswer> {
    if (this.#refusing !== undefined) throw new ServeError('UNAVAILABLE', this.#refusing, { retryAfterMs: 1000 });
    return this.#route(actor, call);
  }

  /**
   * `context.infer` of a run on `replica`: inherits its deadline, request id and path. Never rejects, because the
   * answer crosses a thread boundary. Goes on while the host drains: the run it belongs to was accepted.
   */
  async nested(caller: string, replica: string, nested: NestedCall): Promise<NestedReply> {
    const dispatcher = this.#actors.get(caller)?.dispatcher;
    const run = dispatcher?.runOf(replica, nested.runId);
    if (!dispatcher || !run || run.ticket.ended) return { ok: false, code: 'DEADLINE_EXCEEDED', message: 'the request this call belongs to is over' };
    const { ticket } = run;
    const path = [...(ticket.call.path ?? []), caller];
    if (path.includes(nested.actor)) {
      return { ok: false, code: 'INVALID_ARGUMENT', message: `${nested.actor} is on the path of this request already: ${path.join(' > ')}` };
    }
    if (path.length >= DEPTH_MAX) {
      return { ok: false, code: 'INVALID_ARGUMENT', message: `nested calls are ${path.length} deep (at most ${DEPTH_MAX}): ${path.join(' > ')}` };
    }
    const leftMs = ticket.deadlineAtMs - this.clock.now();
    const call: InferCall = {
      inputs: nested.inputs,
      outputs: nested.outputs,
      requestId: ticket.call.requestId,
      timeoutMs: Math.min(nested.timeoutMs ?? leftMs, leftMs),
      priority: ticket.call.priority,
      path,
      signal: ticket.signal,
    };
    try {
      const answer = await dispatcher.whileNested(run, this.#route(nested.actor, call));
      return { ok: true, outputs: answer.outputs };
    } catch (error) {
      if (!isServeError(error)) return { ok: false, code: 'DEADLINE_EXCEEDED', message: 'the request this call belongs to is over' };
      return { ok: false, code: error.code, message: error.message, ...(error.outcome && { outcome: error.outcome }) };
    }
  }

  /** From now on calls from outside are refused with this reason; nested ones go on. */
  refuse(reason: string): void {
    this.#refusing = reason;
  }

  /** Resolves when no accepted call is left. Their deadlines bound the wait. */
  async idle(): Promise<void> {
    // Again after each round: the last nested call of a request may have gone to an actor that was idle already.
    while ([...this.#actors.values()].some((entry) => entry.dispatcher.inFlight > 0)) {
      await Promise.all([...this.#actors.values()].map((entry) => entry.dispatcher.whenIdle()));
    }
  }

  async #route(actor: string, call: InferCall): Promise<InferAnswer> {
    const entry = this.#actors.get(actor);
    if (!entry) {
      if (this.elsewhere) return this.elsewhere(actor, call);
      const known = [...this.#actors.keys()].join(', ');
      throw new ServeError('NOT_FOUND', `no actor "${actor}" here; there ${this.#actors.size === 1 ? 'is' : 'are'}: ${known || 'none'}`);
    }
    try {
      validateInputs(call.inputs, entry.metadata);
      if (call.outputs) selectOutputs(call.outputs.map((name) => ({ name })), entry.metadata);
    } catch (error) {
      entry.dispatcher.outcomes.rejected++;
      throw error;
    }
    return entry.dispatcher.submit(call);
  }
}
