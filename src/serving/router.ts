/**
 * Finds the actor a call is for, checks the call against what the actor's model says of itself, and hands it to the
 * actor's dispatcher. Calls from outside, from this process and from modules (`context.infer`) all come through here.
 */
import { ServeError, isServeError } from '../errors.js';
import type { Clock, NestedCall, NestedReply } from '../ports.js';
import { selectOutputs, validateInputs } from '../protocol/validate.js';
import type { ModelMetadata } from '../tensor/datatype.js';
import type { Dispatcher } from './dispatcher.js';
import { changeWithin, lostMeanwhile, notOwned, whileMoving, type OwnerGate } from './owner-gate.js';
import type { InferAnswer, InferCall } from './ticket.js';

/** Actors a call may come through; more is a loop somebody did not see. */
export const DEPTH_MAX = 8;

/** For an actor whose spec this host does not have: the defaults of every spec. Its own host knows better and caps them. */
const UNKNOWN_TIMEOUT_MS = 5000;
const UNKNOWN_ATTEMPTS = 3;

/** For what was given away to be ready where it went. */
const HAND_OVER_MS = 2000;

export interface ActorEntry {
  readonly name: string;
  readonly dispatcher: Dispatcher;
  /** Known after the first load; undefined for modules that declare none. */
  metadata: ModelMetadata | undefined;
  version: string;
  /** Of a singleton. */
  gate?: OwnerGate | undefined;
}

/** Other hosts, for what this one cannot answer. */
export interface Elsewhere {
  /** A host that is not suspect says it has a ready replica of the actor. */
  ready(actor: string): boolean;
  /** Names of all actors other hosts have, ready or not. */
  actors(): readonly string[];
  /**
   * Rejects as `Router.infer` does. `call.timeoutMs` and `call.attemptsLeft` are what is left; `ran` executions it had
   * here, which count in the answer.
   */
  infer(actor: string, call: InferCall, ran?: number): Promise<InferAnswer>;
}

export class Router {
  readonly #actors = new Map<string, ActorEntry>();
  #refusing: string | undefined;
  /** Requests other hosts are answering for this one. */
  #sentOn = 0;
  #onReturn: (() => void)[] = [];

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
    if (this.#refusing !== undefined) throw new ServeError('UNAVAILABLE', this.#refusing, { retryAfterMs: 1000, attempts: 0 });
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
    while (this.#sentOn > 0 || [...this.#actors.values()].some((entry) => entry.dispatcher.inFlight > 0)) {
      await Promise.all([...this.#actors.values()].map((entry) => entry.dispatcher.whenIdle()));
      if (this.#sentOn > 0) await new Promise<void>((resolve) => this.#onReturn.push(resolve));
    }
  }

  /** A singleton: answered by its owner alone, in the epoch in which it was taken. */
  async #asOwner(entry: ActorEntry, gate: OwnerGate, call: InferCall, elsewhere: Elsewhere | undefined): Promise<InferAnswer> {
    const { name, dispatcher } = entry;
    const { budgetMs, attemptsMax, idempotent } = dispatcher.grant(call);
    const deadlineMs = this.clock.now() + budgetMs;
    const epoch = await this.#untilOwned(entry, gate, elsewhere, deadlineMs, (timeoutMs) => elsewhere!.infer(name, { ...call, timeoutMs, attemptsLeft: attemptsMax }));
    if (typeof epoch !== 'number') return epoch;
    const owned = { ...call, timeoutMs: deadlineMs - this.clock.now(), epoch };
    const answer = elsewhere ? await this.#hereOrElsewhere(entry, owned, elsewhere) : await dispatcher.submit(owned);
    if (answer.host !== undefined) return answer;
    if (gate.epoch() !== epoch) throw lostMeanwhile(name, answer.attempts, idempotent);
    return { ...answer, epoch };
  }

  /**
   * The epoch in which this host may run it, or the answer of the host that owns it. While the actor changes hands neither
   * may be there: whoever was asked has just given it away. Then both are looked for again.
   */
  async #untilOwned(
    { name }: ActorEntry, gate: OwnerGate, elsewhere: Elsewhere | undefined, deadlineMs: number, ask: (timeoutMs: number) => Promise<InferAnswer>,
  ): Promise<number | InferAnswer> {
    let giveUpMs: number | undefined;
    for (;;) {
      if (gate.moving()) await whileMoving(gate, () => elsewhere?.ready(name) ?? false, this.clock, deadlineMs);
      const epoch = gate.moving() ? undefined : gate.epoch();
      if (epoch !== undefined) return epoch;
      let refusal: ServeError = notOwned(gate);
      if (elsewhere?.ready(name)) {
        try {
          return await ask(deadlineMs - this.clock.now());
        } catch (error) {
          if (!isServeError(error) || error.code !== 'UNAVAILABLE' || error.attempts !== 0) throw error;
          refusal = error;
        }
      }
      if (gate.epoch() !== undefined) continue;
      // Given away and not taken yet; or taken, and not loaded yet.
      const nowMs = this.clock.now();
      giveUpMs ??= Math.min(deadlineMs, nowMs + HAND_OVER_MS);
      if (!elsewhere || !gate.hasLivingOwner() || nowMs >= giveUpMs || !(await changeWithin(gate, this.clock, giveUpMs - nowMs))) throw refusal;
    }
  }

  /** A full pool, or one that was just lost, is no answer while another host has a better one. */
  async #hereOrElsewhere({ name, dispatcher }: ActorEntry, call: InferCall, elsewhere: Elsewhere): Promise<InferAnswer> {
    const { budgetMs, attemptsMax, idempotent } = dispatcher.grant(call);
    const deadlineMs = this.clock.now() + budgetMs;
    try {
      return await dispatcher.submit(call);
    } catch (error) {
      if (!isServeError(error) || !mayGoOn(error) || !elsewhere.ready(name)) throw error;
      const attempts = error.attempts ?? 0;
      const timeoutMs = deadlineMs - this.clock.now();
      if (timeoutMs <= 0 || attempts >= attemptsMax || (attempts > 0 && !idempotent)) throw error;
      dispatcher.sentOn(error);
      return await this.#sendOn(elsewhere, name, { ...call, timeoutMs, attemptsLeft: attemptsMax - attempts, idempotent }, attempts);
    }
  }

  async #sendOn(elsewhere: Elsewhere, actor: string, call: InferCall, ran = 0): Promise<InferAnswer> {
    return this.#away(elsewhere.infer(actor, call, ran));
  }

  /** Not in any dispatcher of this host, and still a request it accepted. */
  async #away<T>(underWay: Promise<T>): Promise<T> {
    this.#sentOn++;
    try {
      return await underWay;
    } finally {
      if (--this.#sentOn === 0) for (const resolve of this.#onReturn.splice(0)) resolve();
    }
  }

  async #route(actor: string, call: InferCall): Promise<InferAnswer> {
    const entry = this.#actors.get(actor);
    // What is suspected of ending replicas stays where an operator tries it.
    const elsewhere = call.hops || call.suspect ? undefined : this.elsewhere;
    if (!entry) {
      if (elsewhere?.ready(actor)) return this.#sendOn(elsewhere, actor, { ...call, timeoutMs: call.timeoutMs ?? UNKNOWN_TIMEOUT_MS, attemptsLeft: call.attemptsLeft ?? UNKNOWN_ATTEMPTS });
      const known = [...new Set([...this.#actors.keys(), ...(elsewhere?.actors() ?? [])])];
      if (known.includes(actor)) throw new ServeError('UNAVAILABLE', `no host has a ready replica of ${actor} now`, { retryAfterMs: 1000, attempts: 0 });
      throw new ServeError('NOT_FOUND', `no actor "${actor}" here; there ${known.length === 1 ? 'is' : 'are'}: ${known.join(', ') || 'none'}`);
    }
    try {
      validateInputs(call.inputs, entry.metadata);
      if (call.outputs) selectOutputs(call.outputs.map((name) => ({ name })), entry.metadata);
    } catch (error) {
      entry.dispatcher.outcomes.rejected++;
      throw error;
    }
    // Counted from here to its answer: between two looks it is nowhere, and this host accepted it.
    if (entry.gate) return this.#away(this.#asOwner(entry, entry.gate, call, elsewhere));
    if (!elsewhere) return entry.dispatcher.submit(call);
    return this.#hereOrElsewhere(entry, call, elsewhere);
  }
}

/** Refused or lost here without an outcome: somebody else may try. What may have ended replicas stays where it did. */
function mayGoOn({ code, retryable }: ServeError): boolean {
  return retryable && (code === 'UNAVAILABLE' || code === 'RESOURCE_EXHAUSTED');
}
