/**
 * Sends on what this host cannot answer, to a host that can: one hop, never further. The forwarder keeps the request and
 * relays the answer, so a target that dies in between is replaced by another one.
 *
 * Executions are counted over both hosts: a target may use all that are left but one, and one that is lost without a
 * word is taken to have used what it was given. Knows hosts only by what membership says of them.
 */
import { inferOverBus } from '../client/call.js';
import { ServeError, isServeError } from '../errors.js';
import { readEpoch, type EpochMarks } from '../policy/lease.js';
import type { Bus, Clock } from '../ports.js';
import type { Subjects } from '../protocol/subjects.js';
import type { Elsewhere } from '../serving/router.js';
import type { InferAnswer, InferCall } from '../serving/ticket.js';

export interface ForwardTarget {
  readonly host: string;
  /** Requests waiting or running there, over all actors. */
  readonly load: number;
  /** Proven replicas of the actor. */
  readonly ready: number;
  /** Whether the actor's spec there lets a request run twice. */
  readonly idempotent: boolean;
  /** About to leave: only where nobody else is ready. */
  readonly draining?: boolean | undefined;
}

export interface ForwarderOptions {
  /** Undefined while there is no connection. */
  readonly bus: () => Bus | undefined;
  readonly subjects: Subjects;
  readonly clock: Clock;
  /** Hosts that are alive and have ready replicas of the actor; this one is not among them. */
  readonly targets: (actor: string) => readonly ForwardTarget[];
  /** Every actor another host has. */
  readonly actors: () => readonly string[];
  /** Calls back once when the host is no longer to be waited for; returns the way to stop listening. */
  readonly onLost: (host: string, lost: () => void) => () => void;
  /** Takes one more execution out of this host's replay budget, if there is one left. */
  readonly takeReplay: () => boolean;
}

/** More than any load. */
const DRAINING_PRESSURE = 1e9;

export class Forwarder implements Elsewhere {
  /** Requests under way, per host. */
  readonly #underWay = new Map<string, number>();
  #epochs: EpochMarks = new Map();

  constructor(private readonly options: ForwarderOptions) {}

  ready(actor: string): boolean {
    return this.options.bus()?.state === 'up' && this.options.targets(actor).length > 0;
  }

  actors(): readonly string[] {
    return this.options.actors();
  }

  async infer(actor: string, call: InferCall, ran = 0): Promise<InferAnswer> {
    const { clock } = this.options;
    const deadlineMs = clock.now() + (call.timeoutMs ?? 0);
    const tried = new Set<string>();
    let left = call.attemptsLeft ?? 1;
    let used = ran;
    let failure = new ServeError('UNAVAILABLE', `no host has a ready replica of ${actor} now`, { retryAfterMs: 1000, attempts: used });
    let paid = false;
    while (left > 0 && clock.now() < deadlineMs) {
      const target = this.#best(actor, tried);
      if (target === undefined) break;
      // A refusal that ran nothing gives back what was paid, by leaving it for the next host.
      if (used > 0 && !paid && !(paid = this.options.takeReplay())) break;
      const { host } = target;
      tried.add(host);
      const idempotent = target.idempotent && call.idempotent !== false;
      const granted = idempotent ? Math.max(1, left - 1) : left;
      try {
        const answer = await this.#ask(host, actor, { ...call, idempotent, timeoutMs: deadlineMs - clock.now(), attemptsLeft: granted });
        return { ...answer, attempts: answer.attempts + used };
      } catch (error) {
        if (!isServeError(error)) throw error; // the caller is gone
        const ranThere = error.attempts ?? granted;
        used += ranThere;
        left -= ranThere;
        if (ranThere > 0) paid = false;
        failure = new ServeError(error.code, error.message, { outcome: error.outcome, reason: error.reason, retryAfterMs: error.retryAfterMs, attempts: used, cause: error });
        if (!error.retryable || (!idempotent && ranThere > 0)) break;
      }
    }
    throw failure;
  }

  async #ask(host: string, actor: string, call: InferCall & { readonly timeoutMs: number }): Promise<InferAnswer> {
    const { subjects } = this.options;
    const bus = this.options.bus();
    if (!bus) throw new ServeError('UNAVAILABLE', 'the connection to the other hosts is lost', { attempts: 0 });
    const lost = new AbortController();
    const stop = this.options.onLost(host, () => lost.abort(new ServeError('UNAVAILABLE', `host ${host} was lost with the request`, call.idempotent === false ? { outcome: 'unknown' } : {})));
    const signal = call.signal ? AbortSignal.any([call.signal, lost.signal]) : lost.signal;
    this.#underWay.set(host, (this.#underWay.get(host) ?? 0) + 1);
    try {
      const answer = await inferOverBus(bus, subjects.hostInfer(host, actor), {
        inputs: call.inputs, outputs: call.outputs, timeoutMs: call.timeoutMs, requestId: call.requestId, idempotent: call.idempotent,
        priority: call.priority, attemptsLeft: call.attemptsLeft, hops: 1, path: call.path, signal,
      });
      this.#assertNewest(host, actor, answer.epoch, call.idempotent !== false);
      return {
        outputs: answer.outputs,
        host,
        servedBy: answer.servedBy?.slice(answer.servedBy.indexOf('/') + 1) ?? '',
        attempts: answer.attempts ?? 1,
        version: answer.modelVersion ?? '',
        device: answer.device ?? '',
        degraded: answer.degraded,
        epoch: answer.epoch,
      };
    } catch (error) {
      if ((error as { cause?: { code?: string } }).cause?.code === 'NO_RESPONDERS') throw new ServeError('UNAVAILABLE', `host ${host} does not take ${actor} any more`, { attempts: 0, cause: error });
      throw error;
    } finally {
      stop();
      const rest = this.#underWay.get(host)! - 1;
      if (rest > 0) this.#underWay.set(host, rest);
      else this.#underWay.delete(host);
    }
  }

  /** Nothing of an earlier owner is taken for an answer. */
  #assertNewest(host: string, actor: string, epoch: number | undefined, repeatable: boolean): void {
    if (epoch === undefined) return;
    const { accepted, marks } = readEpoch(this.#epochs, actor, epoch);
    this.#epochs = marks;
    if (!accepted) throw new ServeError('UNAVAILABLE', `host ${host} no longer owns ${actor}; its answer does not count`, { attempts: 1, ...(!repeatable && { outcome: 'unknown' as const }) });
  }

  /** The least loaded per ready replica, counting what was sent there since its last beat. */
  #best(actor: string, tried: ReadonlySet<string>): ForwardTarget | undefined {
    let best: ForwardTarget | undefined;
    let least = Infinity;
    for (const target of this.options.targets(actor)) {
      const { host, load, ready } = target;
      const pressure = (load + (this.#underWay.get(host) ?? 0)) / ready + (target.draining ? DRAINING_PRESSURE : 0);
      if (tried.has(host) || pressure >= least) continue;
      best = target;
      least = pressure;
    }
    return best;
  }
}
