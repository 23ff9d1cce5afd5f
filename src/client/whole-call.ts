/**
 * One call from its first attempt to its one answer: attempts one after the other or side by side, under one deadline.
 *
 * Holds, while it lasts, at most two timers, one listener on the caller's signal and one on the bus; whatever ends it
 * takes all of them down and drops the attempts still out. What to do about a failure is policy/retry, where to go is
 * policy/hosts-seen; this file only sequences.
 */
import { ServeError, isServeError } from '../errors.js';
import { readEpoch, type EpochMarks } from '../policy/lease.js';
import { LATE_MS } from '../policy/deadline.js';
import type { HostsSeen } from '../policy/hosts-seen.js';
import type { RunTimes } from '../policy/latency.js';
import type { ReplayMeter } from '../policy/replay-meter.js';
import { afterFailure, grantOf, lateAfterMs, pauseMs } from '../policy/retry.js';
import type { BusErrorCode, TimerHandle } from '../ports.js';
import { isToken } from '../protocol/subjects.js';
import type { NamedTensor } from '../tensor/datatype.js';
import { shapesKey } from '../tensor/shape.js';
import { inferOverBus, type BusAnswer } from './call.js';
import type { ClientOutside, Scout } from './scout.js';

/** Between two looks for somebody else who could answer. */
const LOOK_AGAIN_MS = 500;
/** The same, after a host that was asked refused at once. */
const SOON_MS = 20;

/** What all calls of a client share. */
export interface ClientShared {
  readonly outside: ClientOutside;
  readonly seen: HostsSeen;
  readonly scout: Scout;
  readonly budget: ReplayMeter;
  /** Of answers, per actor and shapes. */
  readonly times: RunTimes;
  readonly attemptsMax: number;
  /** Of singletons: the highest epoch an answer came from. */
  epochs: EpochMarks;
}

export interface WholeCallOptions {
  readonly actor: string;
  readonly inputs: readonly NamedTensor[];
  readonly outputs?: readonly string[] | undefined;
  readonly timeoutMs: number;
  readonly requestId: string;
  /** Undefined: as the actor's kind says. */
  readonly idempotent?: boolean | undefined;
  readonly priority?: 0 | 1 | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Attempt {
  readonly host: string | undefined;
  /** Executions it may use up. */
  readonly granted: number;
  readonly sentMs: number;
  /** When it is late; Infinity once that was noticed. */
  lateAtMs: number;
  /** Hosts known to have the actor when it was sent, or at the first look: if it was one, that one has it. */
  known: readonly string[];
  looked: boolean;
  /** Since it was sent there was a time when nobody who has the actor answered a ping. */
  silenced: boolean;
}

/** Of the budget, for the way back: a host that answers "too late" shall be heard before the time is over. */
const wayBackMs = (budgetMs: number): number => Math.min(10, budgetMs / 10);

export class WholeCall {
  readonly #deadlineMs: number;
  /** Executions nobody has used yet; those of open attempts are still among them. */
  #left: number;
  readonly #open = new Set<Attempt>();
  readonly #tried = new Set<string>();
  /** An execution may have taken place, so that another one is a repetition. */
  #ran = false;
  /** Paid out of the retry budget and not used, because nothing ran. */
  #paid = false;
  #pauses = 0;
  #last: ServeError | undefined;
  #ended = false;
  #timer: TimerHandle;
  #pause: TimerHandle;
  #stopListening: (() => void) | undefined;
  /** Drops the attempts still out. */
  readonly #drop = new AbortController();
  #resolve!: (answer: BusAnswer) => void;
  #reject!: (error: unknown) => void;

  constructor(
    private readonly shared: ClientShared,
    private readonly options: WholeCallOptions,
  ) {
    this.#deadlineMs = this.#now() + options.timeoutMs;
    this.#left = options.idempotent === false ? 1 : shared.attemptsMax;
  }

  /** Settles at the deadline at the latest. Rejects with a ServeError, or with the reason of the caller's signal. */
  run(): Promise<BusAnswer> {
    const { signal, actor } = this.options;
    const { budget, scout } = this.shared;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      if (signal?.aborted) return this.#fail(signal.reason);
      signal?.addEventListener('abort', this.#abort, { once: true });
      budget.count(this.#now());
      if (this.shared.outside.bus.state === 'up') scout.introduce(actor);
      scout.review(actor);
      this.#arm();
      this.#next(this.shared.seen.first(actor, this.#now(), this.#chance()));
    });
  }

  // -------------------------------------------------------------------------------------------------------- attempts

  /** Sends the next attempt, or waits for what it needs, or ends the call if it can have none. */
  #next(host: string | undefined): void {
    const { bus } = this.shared.outside;
    if (this.#ended) return;
    if (bus.state === 'closed') return this.#fail(new ServeError('UNAVAILABLE', 'this client is closed', this.#cause()));
    if (bus.state === 'down') return this.#whenUp(() => this.#next(this.#elsewhere()));
    if (this.#free() >= 1 && this.#mayRun()) return this.#send(host);
    if (this.#open.size === 0) this.#fail(this.#last ?? new ServeError('UNAVAILABLE', 'no execution is left'));
  }

  #free(): number {
    let free = this.#left;
    for (const { granted } of this.#open) free -= granted;
    return free;
  }

  /** The first execution is free, another one is paid for. */
  #mayRun(): boolean {
    if (this.#paid || (!this.#ran && this.#open.size === 0)) return true;
    return (this.#paid = this.shared.budget.take(this.#now()));
  }

  #send(host: string | undefined): void {
    const { outside: { bus, subjects }, times } = this.shared;
    const { actor, inputs, outputs, requestId, idempotent, priority, timeoutMs } = this.options;
    const nowMs = this.#now();
    const budgetMs = this.#deadlineMs - nowMs;
    const granted = grantOf(this.#free(), this.#repeats() !== false);
    const lateMs = Math.min(lateAfterMs(times.p99Ms(this.#shape()), timeoutMs), budgetMs / 2);
    const attempt: Attempt = { host, granted, sentMs: nowMs, lateAtMs: nowMs + lateMs, known: this.shared.seen.hostsOf(actor), looked: false, silenced: false };
    this.#open.add(attempt);
    this.#arm();
    const subject = host === undefined ? subjects.infer(actor) : subjects.hostInfer(host, actor);
    inferOverBus(bus, subject, {
      inputs, outputs, requestId, idempotent, priority, attemptsLeft: granted, timeoutMs: budgetMs - wayBackMs(budgetMs), signal: this.#drop.signal,
    }).then(
      (answer) => this.#answered(attempt, answer),
      (error: unknown) => this.#failed(attempt, error),
    );
  }

  #answered(attempt: Attempt, answer: BusAnswer): void {
    if (this.#ended) return;
    if (!this.#isNewest(answer.epoch)) return this.#failed(attempt, outdated(this.options.actor, this.#repeats() !== false));
    const { seen, times } = this.shared;
    const nowMs = this.#now();
    const host = answer.servedBy?.split('/', 1)[0];
    if (attempt.host !== undefined) seen.heard(attempt.host, nowMs);
    if (host !== undefined && isToken(host)) {
      seen.serves(host, this.options.actor);
      seen.heard(host, nowMs);
    }
    times.learn(this.#shape(), nowMs - attempt.sentMs);
    this.#open.delete(attempt);
    this.#end();
    this.#resolve(answer);
  }

  /** Nothing of an earlier owner is taken for an answer. */
  #isNewest(epoch: number | undefined): boolean {
    if (epoch === undefined) return true;
    const { accepted, marks } = readEpoch(this.shared.epochs, this.options.actor, epoch);
    this.shared.epochs = marks;
    return accepted;
  }

  #failed(attempt: Attempt, thrown: unknown): void {
    if (this.#ended) return;
    this.#open.delete(attempt);
    if (!isServeError(thrown)) return this.#fail(thrown);
    const bus = (thrown.cause as { code?: BusErrorCode } | undefined)?.code;
    const direct = attempt.host !== undefined;
    if (bus === undefined && direct) this.shared.seen.heard(attempt.host, this.#now());
    if (bus === 'DISCONNECTED' && this.#repeats() === undefined) return this.#lostUndecided(attempt, thrown);
    const { next, used } = afterFailure({
      bus, direct, retryable: thrown.retryable, attempts: thrown.attempts, granted: attempt.granted, repeats: this.#repeats() !== false,
    });
    this.#left -= used;
    if (used > 0) {
      this.#ran = true;
      this.#paid = false;
    }
    this.#last = thrown;
    switch (next) {
      case 'give-up':
        return this.#fail(thrown);
      case 'unknown':
        return this.#fail(unknownOutcome(thrown));
      case 'when-up':
        return this.#next(undefined);
      case 'at-once':
        this.shared.seen.gone(attempt.host!, this.options.actor);
        // While another attempt is out this one was a second copy: where the next goes is for a ping to say, not for a guess.
        if (this.#open.size > 0) return this.#lookAgain([...this.#open][0]!, SOON_MS);
        return this.#next(this.#elsewhere());
      case 'after-pause':
        if (direct) this.#tried.add(attempt.host!);
        if (bus === 'NO_RESPONDERS') void this.#nobodyThere();
        else this.#afterPause(thrown.retryAfterMs);
    }
  }

  /** Undefined while nobody has said of what kind the actor is. */
  #repeats(): boolean | undefined {
    const { idempotent, actor } = this.options;
    if (idempotent !== undefined) return idempotent;
    const kind = this.shared.scout.kindOf(actor);
    return kind && kind === 'model';
  }

  /** As #repeats, and asks if need be. What nobody vouches for is not repeated. */
  async #mayRepeat(): Promise<boolean> {
    if (this.#repeats() === undefined) await this.shared.scout.status();
    return this.#repeats() ?? false;
  }

  /** The connection went with an attempt of an actor of unknown kind: somebody must say whether it may be repeated. */
  #lostUndecided(attempt: Attempt, lost: ServeError): void {
    this.#ran = true;
    this.#left -= attempt.granted;
    this.#last = unknownOutcome(lost);
    this.#whenUp(() => void this.#mayRepeat().then((may) => {
      if (this.#ended) return;
      if (may) this.#next(undefined);
      else this.#fail(this.#last);
    }));
  }

  /** Silence has two meanings: the actor is down for a moment, or nobody has it. A host that answers knows which. */
  async #nobodyThere(): Promise<void> {
    const { actor } = this.options;
    const cluster = await this.shared.scout.status();
    if (this.#ended) return;
    const known = cluster && new Set(cluster.hosts.flatMap((host) => host.actors.map(({ name }) => name)));
    if (known && !known.has(actor)) {
      return this.#fail(new ServeError('NOT_FOUND', `no host has an actor "${actor}"; there ${known.size === 1 ? 'is' : 'are'}: ${[...known].join(', ') || 'none'}`));
    }
    this.#afterPause(undefined);
  }

  // ------------------------------------------------------------------------------------------------------------ where

  /** For another attempt: a host this call has not tried; when there is none, the queue group and all of them again. */
  #elsewhere(): string | undefined {
    const { seen } = this.shared;
    const host = seen.another(this.options.actor, this.#tried, this.#chance());
    if (host === undefined) this.#tried.clear();
    return host;
  }

  /** An answer is overdue: its host is doubted, and what may run twice is sent to a host that lives. The first answer wins. */
  async #late(attempt: Attempt): Promise<void> {
    const { seen, scout } = this.shared;
    const { actor } = this.options;
    if (attempt.host === undefined) seen.doubtGroup(actor, this.#now());
    else {
      seen.silent(attempt.host, this.#now());
      this.#tried.add(attempt.host);
    }
    // The only host anybody knows has the request already; so somebody else must be known first.
    if (seen.hostsOf(actor).length <= 1) await scout.status();
    // Before the pings: they strike off the host that may have gone with the request.
    const known = seen.hostsOf(actor);
    if (!attempt.looked && attempt.known.length === 0) attempt.known = known;
    attempt.looked = true;
    const [host, may] = await Promise.all([scout.liveHost(actor, this.#tried), this.#mayRepeat()]);
    if (this.#ended || !this.#open.has(attempt)) return;
    if (!may) return this.#lookAgain(attempt);
    // With nobody known at all the queue group may still pick another member; with somebody known, nobody else lives.
    if (host === undefined && seen.hostsOf(actor).length > 0) {
      // Whoever comes back from a silence may have lost the request, or its answer, with its connection.
      attempt.silenced = true;
      return this.#lookAgain(attempt);
    }
    const mayHaveIt = host !== undefined && !attempt.silenced && attempt.host === undefined && attempt.known.length === 1 && attempt.known[0] === host && known.length === 1;
    if (mayHaveIt && (await this.#isAlone(host))) return this.#lookAgain(attempt);
    if (this.#ended || !this.#open.has(attempt)) return;
    this.#next(host);
    // Not paid for now: the budget fills while it waits.
    if (!this.#ended && this.#open.size === 1 && this.#open.has(attempt)) this.#lookAgain(attempt);
  }

  /** Whether a request to the queue group can only be with this host: nobody else has the actor, or has fallen silent with it. */
  async #isAlone(host: string): Promise<boolean> {
    const document = await this.shared.scout.status();
    const has = (actors: readonly { readonly name: string; readonly ready: number }[]): boolean => actors.some(({ name, ready }) => name === this.options.actor && ready > 0);
    return document?.hosts.every(({ id, liveness, actors }) => id === host || (liveness === 'alive' && !has(actors))) ?? false;
  }

  /** Nobody else for now. Another host may take the actor over, or the budget come back, long before the deadline. */
  #lookAgain(attempt: Attempt, inMs = LOOK_AGAIN_MS): void {
    attempt.lateAtMs = this.#now() + inMs;
    this.#arm();
  }

  // ------------------------------------------------------------------------------------------------------------- time

  /** One timer for the deadline and for the next attempt to be late. */
  #arm(): void {
    const { clock } = this.shared.outside;
    let nextMs = this.#deadlineMs;
    for (const { lateAtMs } of this.#open) nextMs = Math.min(nextMs, lateAtMs);
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => this.#tick(), nextMs - clock.now());
  }

  #tick(): void {
    const nowMs = this.#now();
    if (nowMs >= this.#deadlineMs) return this.#timeUp();
    for (const attempt of [...this.#open]) {
      if (nowMs < attempt.lateAtMs) continue;
      // A late timer is this process's own fault: the answer may be waiting in its socket.
      const own = nowMs - attempt.lateAtMs > LATE_MS;
      attempt.lateAtMs = own ? nowMs + LATE_MS : Infinity;
      if (!own) void this.#late(attempt);
    }
    this.#arm();
  }

  #timeUp(): void {
    const { actor, timeoutMs } = this.options;
    if (this.#open.size > 0) return this.#fail(new ServeError('DEADLINE_EXCEEDED', `no answer from ${actor} within ${Math.round(timeoutMs)} ms`, this.#cause()));
    this.#fail(this.#last ?? new ServeError('UNAVAILABLE', `not connected within the ${Math.round(timeoutMs)} ms of the call`));
  }

  #afterPause(retryAfterMs: number | undefined): void {
    const { clock } = this.shared.outside;
    const waitMs = pauseMs(this.#pauses++, this.#chance(), retryAfterMs);
    // Waiting past the deadline helps nobody, unless another attempt is still out.
    if (this.#now() + waitMs >= this.#deadlineMs) {
      if (this.#open.size === 0) this.#fail(this.#last);
      return;
    }
    clock.clearTimeout(this.#pause);
    this.#pause = clock.setTimeout(() => this.#next(this.#elsewhere()), waitMs);
  }

  #whenUp(then: () => void): void {
    const { bus } = this.shared.outside;
    this.#stopListening?.();
    this.#stopListening = bus.onState((state) => {
      if (state === 'down') return;
      this.#stopListening?.();
      this.#stopListening = undefined;
      then();
    });
  }

  // -------------------------------------------------------------------------------------------------------------- end

  readonly #abort = (): void => this.#fail(this.options.signal!.reason);

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#end();
    this.#reject(error);
  }

  #end(): void {
    const { clock } = this.shared.outside;
    this.#ended = true;
    clock.clearTimeout(this.#timer);
    clock.clearTimeout(this.#pause);
    this.#stopListening?.();
    this.options.signal?.removeEventListener('abort', this.#abort);
    if (this.#open.size > 0) this.#drop.abort();
    this.#open.clear();
  }

  #cause(): { cause?: unknown } {
    return this.#last ? { cause: this.#last } : {};
  }

  #now(): number {
    return this.shared.outside.clock.now();
  }

  #chance(): number {
    return this.shared.outside.random.next();
  }

  /** What is learned is learned per actor and shapes. */
  #shape(): string {
    return `${this.options.actor};${shapesKey(this.options.inputs)}`;
  }
}

function unknownOutcome(lost: ServeError): ServeError {
  return new ServeError('UNAVAILABLE', `${lost.message}; it may have run, so it was not repeated`, { outcome: 'unknown', cause: lost.cause });
}

const outdated = (actor: string, repeats: boolean): ServeError =>
  new ServeError('UNAVAILABLE', `the answer came from a host that no longer owns ${actor}`, { attempts: 1, ...(!repeats && { outcome: 'unknown' as const }) });
