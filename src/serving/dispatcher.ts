/**
 * Moves the tickets of one actor through its routed lanes: queue, dispatch, answer, and again when a lane is lost.
 *
 * Assumes that lanes answer in the order runs were posted and that a lane's exit is reported exactly once. Decides
 * nothing itself: admission, replay and availability are policies. Deliberately knows no wire format.
 */
import { ServeError, errorCodes, type Outcome } from '../errors.js';
import { admit, learnServiceMs, runsAhead } from '../policy/admission.js';
import { noResults, shouldEject, withResult } from '../policy/ejection.js';
import { LATE_MS } from '../policy/deadline.js';
import { RunTimes, suspectAfterMs } from '../policy/latency.js';
import { nextAvailability, takesRequests, type Availability, type AvailabilityEvent } from '../policy/availability.js';
import { afterLaneLoss } from '../policy/replay.js';
import type { LaneExit, TimerHandle } from '../ports.js';
import type { RunReply } from '../protocol/task.js';
import type { NamedTensor } from '../tensor/datatype.js';
import { fingerprint } from '../tensor/digest.js';
import { refusedAnswer, type GuardRules } from '../tensor/guard.js';
import { shapesKey } from '../tensor/shape.js';
import { TicketQueue } from './queue.js';
import type { Route, RouteListener } from './routes.js';
import type { SharedServing } from './shared.js';
import { Slot, runningMs, type Run } from './slot.js';
import { Suspects } from './suspects.js';
import { Ticket, outcomeOf, type InferAnswer, type InferCall, type TicketEnd } from './ticket.js';

/** How often running runs are looked at. A suspicion is at most this late. */
const WATCH_MS = 25;

/** A replica whose answer was refused gives way to its siblings for this long, or until its proof speaks for it. */
const DOUBT_MS = 1000;

export interface DispatcherOptions {
  readonly name: string;
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  readonly timeoutMaxMs: number;
  readonly hangMs: number;
  readonly queue: { readonly sizeMax: number; readonly bytesMax: number };
  readonly replaysMax: number;
  readonly quarantineMs: number;
  /** Wanted by the spec; 1 when absent. */
  readonly replicas?: number | undefined;
  /** A run that takes longer is run elsewhere too; learned when absent. */
  readonly suspectMs?: number | undefined;
  readonly guard?: GuardRules | undefined;
}

export interface DispatcherEvents {
  /** Requests are taken from now on, or no longer. */
  availability(takes: boolean, reason: string): void;
  /** A lane ended; the ids of the requests that were on it, in order. */
  laneLost(route: Route, requestIds: readonly string[]): void;
  /** Its answer was refused: it should prove itself again. `first`: since it was last proven. */
  doubted(route: Route, reason: string, first: boolean): void;
  /** A run on it is late; undefined when it answered after all. */
  slow(route: Route, runningMs: number | undefined): void;
  /** Its device cannot be used from now on; it gets no more work. */
  deviceFailed(route: Route, detail: string): void;
  /** It fails where its siblings do not. */
  errs(route: Route, detail: string): void;
  /** A request ended a replica in a solo run. */
  poisoned(ticket: Ticket, fingerprint: string, exit: LaneExit): void;
}

export class Dispatcher implements RouteListener {
  readonly outcomes: Record<Outcome, number> = { ok: 0, rejected: 0, canceled: 0, timeout: 0, failed: 0 };
  replays = 0;
  lateResults = 0;
  quarantined = 0;
  guardFailures = 0;
  readonly #runTimes = new RunTimes();
  readonly #queue = new TicketQueue();
  readonly #suspects: Suspects;
  readonly #slots: Slot[] = [];
  #open = 0;
  /** Replica that reported a device as broken, per device, since its last new replica. */
  readonly #failedOn = new Map<string, string>();
  /** Of the newest replica. */
  #version = '';
  #next = 0;
  #serviceMs: number | undefined;
  /** Learned time a run takes inside its lane, without the way there and back. */
  #laneMs: number | undefined;
  #answers = 0;
  /** Runs that may wait in a lane behind those that run. */
  #ahead = 1;
  #availability: Availability = { state: 'starting' };
  /** A suspect was run while nothing else served, and no replica came since. */
  #suspectHadItsTurn = false;
  #restartUnderWay = true;
  #downReason = 'the host is starting';
  #holdTimer: TimerHandle | undefined;
  #hangTimer: TimerHandle | undefined;
  #onIdle: (() => void)[] = [];

  constructor(
    private options: DispatcherOptions,
    private readonly shared: SharedServing,
    private readonly events: DispatcherEvents,
  ) {
    this.#suspects = new Suspects();
    shared.onMassDeath(() => this.#absolveSuspects());
  }

  // ------------------------------------------------------------------------------------------------ requests come in

  /** Settles exactly once, at the deadline at the latest. Rejects with a ServeError, or with the signal's reason. */
  submit(call: InferCall): Promise<InferAnswer> {
    const { clock } = this.shared;
    const nowMs = clock.now();
    const { budgetMs, attemptsMax, idempotent } = this.grant(call);
    if (call.signal?.aborted) {
      this.outcomes.canceled++;
      return Promise.reject(call.signal.reason);
    }
    const refusal = this.#refusal(call, nowMs, budgetMs);
    if (refusal) {
      this.outcomes[outcomeOf({ ok: false, error: refusal })]++;
      return Promise.reject(refusal);
    }
    this.shared.countRequest(nowMs);
    return new Promise((resolve, reject) => {
      let onAbort: (() => void) | undefined;
      const deadline = clock.setTimeout(() => {
        const where = ticket.onLanes > 0 ? 'while it ran' : `in the queue (${this.#whyWaiting()})`;
        ticket.failWith('DEADLINE_EXCEEDED', `no answer within ${Math.round(budgetMs)} ms; the time was used up ${where}`);
      }, budgetMs);
      const settle = (ended: Ticket, end: TicketEnd): void => {
        clock.clearTimeout(deadline);
        if (onAbort) call.signal?.removeEventListener('abort', onAbort);
        this.#ticketEnded(ended, end);
        if (end.ok) resolve(end.answer);
        else reject('canceled' in end ? end.canceled : end.error);
      };
      const ticket = new Ticket(
        call, bytesOf(call), nowMs, nowMs + budgetMs, idempotent, attemptsMax, settle,
      );
      if (call.signal) {
        onAbort = () => void ticket.cancel(call.signal!.reason);
        call.signal.addEventListener('abort', onAbort, { once: true });
      }
      if (call.suspect) {
        this.#suspects.add(ticket, -Infinity); // never one of a crowd: it was found guilty before
        this.#trySolo();
        return;
      }
      this.#enqueue(ticket, 'last');
      this.#pump();
    });
  }

  /** An answer given in good faith could not be delivered (too large for the bus): the request ends as rejected. */
  answerRefused(): void {
    this.outcomes.ok--;
    this.outcomes.rejected++;
  }

  /** The request failed here and goes to another host; how it ends there is what counts. */
  sentOn({ code }: ServeError): void {
    this.outcomes[errorCodes[code].countedAs]--;
  }

  /** What a call gets at most: its budget in ms, its executions over all hosts, and whether it may have a second one. */
  grant(call: InferCall): { readonly budgetMs: number; readonly attemptsMax: number; readonly idempotent: boolean } {
    const { timeoutMs, timeoutMaxMs, replaysMax, idempotent } = this.options;
    return {
      // What an operator tries again may have to wait for a replica of its own; no caller can say `suspect`.
      budgetMs: call.suspect ? (call.timeoutMs ?? timeoutMaxMs) : Math.min(call.timeoutMs ?? timeoutMs, timeoutMaxMs),
      attemptsMax: Math.min(1 + replaysMax, call.attemptsLeft ?? Infinity),
      idempotent: idempotent && call.idempotent !== false,
    };
  }

  get queueCount(): number {
    return this.#queue.count + this.#suspects.count;
  }

  get queueBytes(): number {
    return this.#queue.bytes;
  }

  get takesRequests(): boolean {
    return takesRequests(this.#availability);
  }

  /** Resolves when every accepted request was answered. Their deadlines bound the wait. */
  whenIdle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }

  /** Accepted requests not answered yet. */
  get inFlight(): number {
    return this.queueCount + this.#slots.reduce((sum, slot) => sum + slot.runs.filter((run) => !run.ticket.ended).length, 0);
  }

  #refusal(call: InferCall, nowMs: number, budgetMs: number): ServeError | undefined {
    const { name, queue } = this.options;
    if (!(budgetMs > 0)) return new ServeError('DEADLINE_EXCEEDED', 'the budget was used up before the request was admitted');
    if (call.attemptsLeft !== undefined && call.attemptsLeft < 1) return new ServeError('UNAVAILABLE', 'no execution is left (Attempts-Left: 0)');
    if (!takesRequests(this.#availability)) {
      return new ServeError('UNAVAILABLE', `actor ${name} has no ready replica here: ${this.#downReason}`, { retryAfterMs: 1000, attempts: 0 });
    }
    if (call.suspect) return undefined;
    if (this.shared.isQuarantined(() => this.#fingerprint(call.inputs, this.#version), nowMs)) {
      this.quarantined++;
      return new ServeError('POISON', `an equal request ended a replica of ${name} in a run of its own; it is refused for ${this.options.quarantineMs} ms`);
    }
    const verdict = admit(
      {
        count: this.#queue.count, bytes: this.#queue.bytes, sizeMax: queue.sizeMax, bytesMax: queue.bytesMax,
        hostBytes: this.shared.queueBytes, hostBytesMax: this.shared.queueBytesMax,
        serviceMs: this.#serviceMs, lanes: this.#lanes(), running: this.#running(),
      },
      bytesOf(call), budgetMs,
    );
    return verdict.admit ? undefined : new ServeError('RESOURCE_EXHAUSTED', `${name}: ${verdict.message}`, { retryAfterMs: verdict.retryAfterMs, attempts: 0 });
  }

  /** Lanes that take work now or in a moment: a lane set aside for a solo run is back after one run. */
  #lanes(): number {
    return this.#slots.reduce((sum, slot) => sum + (slot.mode === 'closed' ? 0 : slot.route.concurrency), 0);
  }

  #running(): number {
    return this.#slots.reduce((sum, slot) => sum + (slot.mode === 'closed' ? 0 : slot.runs.length), 0);
  }

  // -------------------------------------------------------------------------------------------------- requests go out

  #enqueue(ticket: Ticket, where: 'first' | 'last'): void {
    if (where === 'first') this.#queue.unshift(ticket);
    else this.#queue.push(ticket);
    this.shared.queueBytes += ticket.bytes;
  }

  #pump(): void {
    for (let ticket = this.#queue.peek(); ticket; ticket = this.#queue.peek()) {
      const slot = this.#pick(ticket);
      if (!slot) return;
      this.#queue.shift();
      this.shared.queueBytes -= ticket.bytes;
      this.#post(slot, ticket, false);
    }
  }

  /** Replicas nobody doubts first, then doubted ones; one that failed its proof only when nothing better serves. */
  #pick(ticket: Ticket): Slot | undefined {
    if (!this.#slots.some((slot) => slot.unproven || slot.doubtedUntilMs > 0)) return this.#pickFrom(ticket, anySlot);
    const nowMs = this.shared.clock.now();
    const picked = this.#pickFrom(ticket, (slot) => !slot.unproven && slot.doubtedUntilMs <= nowMs) ?? this.#pickFrom(ticket, (slot) => !slot.unproven);
    return picked ?? (this.#slots.some((slot) => slot.serves) ? undefined : this.#pickFrom(ticket, anySlot));
  }

  /** An idle lane, least recently used first; else, for what may run twice, the shortest line with room ahead. */
  #pickFrom(ticket: Ticket, eligible: (slot: Slot) => boolean): Slot | undefined {
    let ahead: Slot | undefined;
    const count = this.#slots.length;
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[(this.#next + i) % count]!;
      if (!eligible(slot)) continue;
      // A ticket whose answer this replica got wrong goes to another one while there is another one.
      if (ticket.avoid === slot.route.replica && this.#slots.some((other) => other !== slot && other.serves)) continue;
      if (slot.idle) {
        this.#next = (this.#next + i + 1) % count;
        return slot;
      }
      if (ticket.idempotent && slot.roomAhead(this.#ahead) && (!ahead || slot.runs.length < ahead.runs.length)) ahead = slot;
    }
    return ahead;
  }

  #post(slot: Slot, ticket: Ticket, solo: boolean): void {
    const nowMs = this.shared.clock.now();
    const run: Run = {
      id: this.shared.nextRunId(), ticket, solo, inputs: ticket.inputs, startedAtMs: undefined, nestedPending: 0, nestedSinceMs: 0, pausedMs: 0, hung: false, late: false,
    };
    ticket.attempts++;
    ticket.onLanes++;
    if (solo) ticket.soloRuns++;
    slot.add(run, nowMs);
    this.#watchForHangs();
    void slot.route.lane
      .run({
        id: run.id,
        requestId: ticket.call.requestId,
        inputs: ticket.inputs,
        ...(ticket.call.outputs && { outputs: ticket.call.outputs }),
        budgetMs: ticket.deadlineAtMs - nowMs,
        path: [...(ticket.call.path ?? []), this.options.name],
      })
      .then((reply) => {
        if (reply) this.#answered(slot, run, reply); // undefined: the lane ended, `#laneExited` deals with its runs
      });
  }

  #answered(slot: Slot, run: Run, reply: RunReply): void {
    const nowMs = this.shared.clock.now();
    const tookMs = runningMs(run, nowMs);
    // Says how long what waits will wait: not a replica's cold first run, not a suspect's, not one that was frozen.
    if (slot.lastAnswerMs > 0 && !run.solo && slot.mode !== 'suspect') this.#serviceMs = learnServiceMs(this.#serviceMs, tookMs);
    if (reply.ok) {
      this.#laneMs = learnServiceMs(this.#laneMs, reply.runMs);
      this.#ahead = runsAhead(this.#laneMs, ++this.#answers);
    }
    this.#runTimes.learn(shapesKey(run.inputs), tookMs);
    slot.lastAnswerMs = nowMs;
    slot.remove(run, nowMs);
    const { ticket } = run;
    ticket.onLanes--;
    const refused = reply.ok && this.options.guard ? refusedAnswer(reply.outputs, run.inputs, this.options.guard) : undefined;
    this.#judge(slot, refused !== undefined || (!reply.ok && reply.code === 'INTERNAL'));
    if (ticket.ended) this.lateResults++;
    else if (refused !== undefined) this.#refused(slot, run, refused);
    else if (reply.ok) {
      const { replica, incarnation, version, device, degraded } = slot.route;
      ticket.answer({ outputs: reply.outputs, servedBy: `${replica}#${incarnation}`, attempts: ticket.attempts, version, device, ...(degraded !== undefined && { degraded }) });
    } else if (reply.deviceFatal && slot.route.device !== 'cpu') {
      this.#lostDevice(run, reply.message);
    } else {
      ticket.failWith(reply.code, reply.message, reply.outcome && { outcome: reply.outcome });
    }
    if (!reply.ok && reply.deviceFatal && slot.route.device !== 'cpu') this.#closeDevice(slot, reply.message);
    if (slot.mode === 'suspect') {
      slot.mode = 'open'; // it answers, so it is not frozen
      this.events.slow(slot.route, undefined);
    }
    if (slot.mode === 'solo') slot.mode = 'reserved';
    this.#trySolo();
    this.#pump();
    this.#noticeIdle();
  }

  /** The device under the run broke: what may run twice is run again, and by then on another device or another replica. */
  #lostDevice({ ticket }: Run, why: string): void {
    if (ticket.onLanes > 0 || ticket.waiting) return;
    if (!ticket.idempotent) {
      ticket.failWith('UNAVAILABLE', `${why}; it is not idempotent, so it was not repeated`, { outcome: 'unknown' });
    } else if (ticket.attempts < ticket.attemptsMax && this.shared.takeReplay(this.shared.clock.now())) {
      this.replays++;
      this.#enqueue(ticket, 'first');
    } else {
      ticket.failWith('UNAVAILABLE', `${why}; ${ticket.attempts} executions are used up or the host's replay budget is empty`);
    }
  }

  /** One replica's fault may be its own context; a second one's is the device's, and then its siblings there get no more work either. */
  #closeDevice(slot: Slot, why: string): void {
    const { device } = slot.route;
    const second = this.#failedOn.has(device) && this.#failedOn.get(device) !== slot.route.replica;
    this.#failedOn.set(device, slot.route.replica);
    const closing = second ? this.#slots.filter((other) => other.route.device === device) : [slot];
    for (const { route } of closing) this.routeClosed(route);
    this.events.deviceFailed(slot.route, why);
  }

  /** A refused answer is tried once more, elsewhere if there is an elsewhere; the replica proves itself meanwhile. */
  #refused(slot: Slot, run: Run, why: string): void {
    const { ticket } = run;
    this.guardFailures++;
    slot.doubtedUntilMs = this.shared.clock.now() + DOUBT_MS;
    this.events.doubted(slot.route, `its answer was refused: ${why}`, !slot.doubtTold);
    slot.doubtTold = true;
    const again = ticket.idempotent && ticket.avoid === undefined && ticket.attempts < ticket.attemptsMax && !ticket.waiting && ticket.onLanes === 0;
    if (again && this.shared.takeReplay(this.shared.clock.now())) {
      this.replays++;
      ticket.avoid = slot.route.replica;
      this.#enqueue(ticket, 'first');
    } else if (ticket.onLanes === 0 && !ticket.waiting) {
      ticket.failWith('INTERNAL', `the answer was refused ${ticket.avoid === undefined ? '' : 'twice'}: ${why}`.replace('  ', ' '), { reason: 'guard' });
    }
  }

  /** What came of a proof of a replica that serves. One that failed it is used only while nothing better is there. */
  proved(replica: string, right: boolean): void {
    const slot = this.#slots.find((candidate) => candidate.route.replica === replica);
    if (!slot) return;
    slot.unproven = !right;
    if (right) {
      slot.doubtedUntilMs = 0;
      slot.doubtTold = false;
    }
    this.#pump();
  }

  #judge(slot: Slot, failed: boolean): void {
    slot.results = withResult(slot.results, failed);
    if (!failed || !shouldEject(slot.results, this.#slots.filter((other) => other !== slot).map((other) => other.results))) return;
    slot.results = noResults; // told once; a replica that is kept is judged anew
    this.events.errs(slot.route, 'fails on requests where its siblings do not');
  }

  // ------------------------------------------------------------------------------------------------------ lanes change

  routeAdded(route: Route): void {
    const slot = new Slot(route);
    this.#version = route.version;
    this.#failedOn.delete(route.device);
    // A request suspected of ending replicas runs on the newcomer first, alone: if it is guilty, nobody else is hit.
    // Where nothing else serves, every second newcomer serves, or the innocents would wait until the last suspect is judged;
    // not where no other newcomer will come, for there the suspects would wait for ever.
    const othersCome = (this.options.replicas ?? 1) > 1;
    const innocentsFirst = othersCome && this.#suspectHadItsTurn && this.#queue.count > 0 && !this.#slots.some((other) => other.serves);
    if (this.#suspects.count > 0 && !innocentsFirst) slot.mode = 'reserved';
    this.#suspectHadItsTurn = false;
    this.#slots.push(slot);
    this.#open++;
    route.lane.onExit((exit) => this.#laneExited(slot, exit));
    this.#step({ type: 'replicaReady' });
    this.#trySolo();
    this.#pump();
  }

  routeClosed(route: Route): void {
    const slot = this.#slots.find((candidate) => candidate.route === route);
    if (!slot || slot.mode === 'closed') return;
    slot.mode = 'closed';
    this.#lostRoute(`replica ${route.replica} left`);
  }

  routeSuspect(route: Route, suspect: boolean): void {
    const slot = this.#slots.find((candidate) => candidate.route === route);
    if (!slot) return;
    if (!suspect) {
      if (slot.mode === 'suspect') slot.mode = 'open';
      return this.#pump();
    }
    if (slot.mode !== 'open' && slot.mode !== 'reserved') return;
    slot.mode = 'suspect';
    for (const run of [...slot.runs].reverse()) {
      if (!this.#mayRunAgain(run)) continue;
      // The late one may be what keeps the lane busy for ever: its second copy runs alone, so that a second death is proof.
      if (run.late) this.#suspects.add(run.ticket, this.shared.clock.now(), 'late');
      else this.#enqueue(run.ticket, 'first');
    }
    this.#trySolo();
    this.#pump();
  }

  /** A frozen replica still has the run; whether a second copy may go elsewhere. First answer wins. */
  #mayRunAgain(run: Run): boolean {
    const { ticket } = run;
    if (ticket.ended || ticket.waiting || ticket.onLanes > 1 || !ticket.idempotent || run.solo) return false;
    if (ticket.attempts >= ticket.attemptsMax || !this.shared.takeReplay(this.shared.clock.now())) return false;
    this.replays++;
    return true;
  }

  #laneExited(slot: Slot, exit: LaneExit): void {
    const nowMs = this.shared.clock.now();
    const wasRouted = slot.mode !== 'closed';
    slot.mode = 'closed';
    this.#slots.splice(this.#slots.indexOf(slot), 1);
    const ended = exit.reason === 'crashed' || exit.reason === 'killed';
    const crowd = ended && this.shared.laneDied(nowMs, slot.runs.map((run) => run.ticket));
    if (wasRouted) this.#lostRoute(`replica ${slot.route.replica} ended (${exit.reason}: ${exit.detail})`);
    this.events.laneLost(slot.route, slot.runs.map((run) => run.ticket.call.requestId));
    // Newest first, because each goes back to the head of the queue.
    for (const run of slot.runs.splice(0).reverse()) this.#lost(slot, run, exit, (ended && !crowd) || run.hung);
    this.#trySolo();
    this.#pump();
    this.#noticeIdle();
  }

  #lost(slot: Slot, run: Run, exit: LaneExit, laneDiedByItself: boolean): void {
    const { ticket } = run;
    ticket.onLanes--;
    // A replica that breaks may take along an answer it had not sent yet: then the run posted ahead was the one that ran.
    const wasRunning = slot.wasRunning(run) || exit.reason === 'crashed';
    if (!wasRunning) ticket.attempts--;
    else if (laneDiedByItself) ticket.diedUnder(run.solo && exit.reason !== 'killed');
    if (ticket.ended || ticket.onLanes > 0) return;
    const nowMs = this.shared.clock.now();
    if (ticket.waiting) {
      // It was late here and waits for another lane, already counted as a replay; but now it is a suspect.
      if (!wasRunning || !laneDiedByItself) return;
      if (!this.#suspects.remove(ticket)) {
        this.#queue.remove(ticket);
        this.shared.queueBytes -= ticket.bytes;
      }
      return this.#suspects.add(ticket, nowMs);
    }
    const decide = (budgetLeft: boolean) =>
      afterLaneLoss({
        idempotent: ticket.idempotent, wasRunning, laneDiedByItself, suspect: ticket.deaths > 0,
        soloRuns: ticket.isProven(run.solo) ? ticket.soloRuns : 0, killed: exit.reason === 'killed',
        attempts: ticket.attempts, attemptsMax: ticket.attemptsMax, budgetLeft,
      });
    let decision = decide(true);
    if ((decision === 'replay' || decision === 'solo') && !this.shared.takeReplay(nowMs)) decision = decide(false);
    const what = `replica ${slot.route.replica}#${slot.route.incarnation} ended (${exit.reason}: ${exit.detail}) while the request was on it`;
    switch (decision) {
      case 'requeue':
        return this.#enqueue(ticket, 'first');
      case 'replay':
        this.replays++;
        return this.#enqueue(ticket, 'first');
      case 'solo':
        this.replays++;
        return this.#suspects.add(ticket, nowMs);
      case 'unknown':
        ticket.failWith('UNAVAILABLE', `${what}; it is not idempotent, so it was not repeated`, { outcome: 'unknown' });
        return;
      case 'exhausted':
        ticket.failWith('UNAVAILABLE', `${what}; ${ticket.attempts} executions are used up or the host's replay budget is empty`);
        return;
      case 'poison': {
        const print = this.#fingerprint(ticket.inputs, slot.route.version);
        this.shared.quarantine(print, nowMs, this.options.quarantineMs);
        this.events.poisoned(ticket, print, exit);
        ticket.failWith('POISON', `this input ended a replica of ${this.options.name} in a run of its own (${exit.reason}: ${exit.detail})`);
      }
    }
  }

  /**
   * Runs the oldest suspect alone: on a lane set aside for it, which a newcomer is by itself; else one of several open
   * lanes is set aside and emptied first. The last open lane is never spent on a suspect, only on the second copy of a
   * late run: it may be all that hides a frozen replica from its callers.
   */
  #trySolo(): void {
    for (const slot of this.#slots) {
      if (slot.mode !== 'reserved' || slot.runs.length > 0) continue;
      // A caller's request may cost the replacement; what an operator tries again only ever a replica beside one that serves.
      const serving = this.#slots.some((other) => other !== slot && other.serves);
      const ticket = this.#suspects.take(({ call }, late) => late || serving || (!call.suspect && !slot.forLate));
      slot.forLate = false;
      if (ticket) {
        slot.mode = 'solo';
        if (!serving) this.#suspectHadItsTurn = true;
        this.#post(slot, ticket, true);
      } else {
        slot.mode = 'open';
      }
    }
    if (this.#suspects.count === 0) return;
    const aside = this.#slots.some((slot) => slot.mode === 'reserved' || slot.mode === 'solo');
    const open = this.#slots.filter((slot) => slot.serves);
    const late = this.#suspects.lateCount > this.#slots.filter((slot) => slot.mode === 'reserved' && slot.forLate).length;
    if (open.length === 0 || (aside && !late)) return;
    if (aside || !late) {
      if (open.length < 2) return;
    }
    const least = open.reduce((best, slot) => (slot.runs.length < best.runs.length ? slot : best));
    least.forLate = late;
    least.mode = 'reserved';
    if (least.runs.length === 0) this.#trySolo();
  }

  /** Several lanes died at once: the machine did it, so what ran on them is innocent and goes on as usual. */
  #absolveSuspects(): void {
    for (const ticket of this.#suspects.takeRecent(this.shared.clock.now())) {
      ticket.absolve();
      this.#enqueue(ticket, 'first');
    }
    this.#trySolo();
    this.#pump();
  }

  // ------------------------------------------------------------------------------------------------- nested calls, hangs

  /** The run a nested call came from, for what it inherits. Undefined when its caller is gone. */
  runOf(replica: string, runId: number): Run | undefined {
    const slot = this.#slots.find((candidate) => candidate.route.replica === replica);
    return slot?.runs.find((run) => run.id === runId);
  }

  /** Replicas that take work; a suspect is only ever run beside one of them. */
  get openCount(): number {
    return this.#slots.filter((slot) => slot.mode === 'open').length;
  }

  /** Whether the replica runs a suspect request alone. */
  onProbation(replica: string): boolean {
    return this.#slots.some((slot) => slot.route.replica === replica && slot.mode === 'solo');
  }

  /** Stops the hang clock of a run while `pending` is under way. */
  async whileNested<T>(run: Run, pending: Promise<T>): Promise<T> {
    const { clock } = this.shared;
    if (run.nestedPending++ === 0) run.nestedSinceMs = clock.now();
    try {
      return await pending;
    } finally {
      if (--run.nestedPending === 0) run.pausedMs += clock.now() - run.nestedSinceMs;
    }
  }

  #watchForHangs(): void {
    if (this.#hangTimer !== undefined) return;
    const { clock } = this.shared;
    const periodMs = Math.min(WATCH_MS, Math.max(20, this.options.hangMs / 8));
    const dueMs = clock.now() + periodMs;
    this.#hangTimer = clock.setTimeout(() => {
      this.#hangTimer = undefined;
      const nowMs = clock.now();
      // A late timer is this process's own fault: answers may be waiting in its queue, so nobody is judged this time.
      if (nowMs - dueMs <= LATE_MS) for (const slot of [...this.#slots]) this.#judgeRuns(slot, nowMs);
      if (this.#slots.some((slot) => slot.runs.length > 0)) this.#watchForHangs();
    }, periodMs);
  }

  #judgeRuns(slot: Slot, nowMs: number): void {
    this.#suspectIfLate(slot, nowMs);
    const hung = slot.runs.find((run) => runningMs(run, nowMs) > this.options.hangMs);
    if (!hung || hung.hung) return;
    hung.hung = true;
    // A process takes a moment to die, and nothing may be posted to it meanwhile. A solo run has the lane for itself anyway.
    if (slot.mode !== 'solo') this.routeClosed(slot.route);
    slot.route.lane.kill('hung', `a run took longer than hangMs (${this.options.hangMs})`);
  }

  /** A run much longer than its like: what may run twice is run elsewhere too, if there is an elsewhere. */
  #suspectIfLate(slot: Slot, nowMs: number): void {
    if (slot.mode !== 'open') return;
    const late = slot.runs.find((run) => !run.late && run.startedAtMs !== undefined && runningMs(run, nowMs) > this.#suspectAfterMs(run));
    if (!late) return;
    late.late = true;
    if (!this.#slots.some((other) => other !== slot && other.serves)) return;
    this.events.slow(slot.route, runningMs(late, nowMs));
    this.routeSuspect(slot.route, true);
  }

  #suspectAfterMs(run: Run): number {
    return suspectAfterMs(this.#runTimes.p99Ms(shapesKey(run.inputs)), this.options.timeoutMs, this.options.suspectMs);
  }

  /** When the replica last answered, and whether a run is on it that nobody suspects; for the freshness of its readiness. */
  vitals(replica: string): { readonly lastAnswerMs: number; readonly busy: boolean } | undefined {
    const slot = this.#slots.find((candidate) => candidate.route.replica === replica);
    return slot && { lastAnswerMs: slot.lastAnswerMs, busy: slot.mode !== 'suspect' && slot.runs.length > 0 };
  }

  // ------------------------------------------------------------------------------------------------------- availability

  /** New bounds and time-outs, for requests from now on. */
  reconfigure(options: DispatcherOptions): void {
    this.options = options;
  }

  /** Told by the control path: whether a replacement is being made, and if not, why. */
  setProspect(restartUnderWay: boolean, reason: string): void {
    this.#restartUnderWay = restartUnderWay;
    if (this.#open === 0) this.#downReason = reason;
    if (!restartUnderWay) this.#step({ type: 'noRestart', reason });
  }

  /** The host is stopping: fails what still waits and leaves no timer behind. */
  close(reason: string): void {
    this.setProspect(false, reason);
    this.#failWaiting(reason);
    this.shared.clock.clearTimeout(this.#holdTimer);
    this.shared.clock.clearTimeout(this.#hangTimer);
  }

  #lostRoute(reason: string): void {
    if (--this.#open > 0) return;
    this.#downReason = reason;
    // Where another host is ready, nobody has to wait for a replica here. A suspect waits all the same: what it is suspected
    // of must not go from host to host.
    const held = this.#restartUnderWay && (!this.shared.readyElsewhere(this.options.name) || this.#suspects.count > 0);
    this.#step({ type: 'lastReplicaLost', restartUnderWay: held, reason });
  }

  #step(event: AvailabilityEvent): void {
    const before = this.#availability;
    const after = nextAvailability(before, event, this.shared.clock.now(), this.shared.holdMs);
    if (after === before) return;
    this.#availability = after;
    if (this.#holdTimer !== undefined) this.shared.clock.clearTimeout(this.#holdTimer);
    this.#holdTimer = undefined;
    if (after.state === 'holding') {
      // One millisecond late rather than early: a timer may fire a fraction before its time.
      this.#holdTimer = this.shared.clock.setTimeout(() => this.#step({ type: 'timePassed' }), this.shared.holdMs + 1);
    }
    if (takesRequests(after) !== takesRequests(before)) this.events.availability(takesRequests(after), this.#downReason);
    if (after.state === 'closed') this.#failWaiting(after.reason);
  }

  #failWaiting(reason: string): void {
    const message = `actor ${this.options.name} has no ready replica here: ${reason}; ${this.#downReason}`;
    for (const ticket of [...this.#queue, ...this.#suspects]) ticket.failWith('UNAVAILABLE', message, { retryAfterMs: 1000 });
  }

  #whyWaiting(): string {
    if (this.#open === 0) return this.#downReason;
    return `${this.#queue.count} requests waited for ${this.#open} replica${this.#open === 1 ? '' : 's'}`;
  }

  #ticketEnded(ticket: Ticket, end: TicketEnd): void {
    this.outcomes[outcomeOf(end)]++;
    if (ticket.waiting && !this.#suspects.remove(ticket)) {
      this.#queue.drop(ticket);
      this.shared.queueBytes -= ticket.bytes;
    }
    if (ticket.onLanes > 0 && !end.ok) {
      for (const slot of this.#slots) for (const run of slot.runs) if (run.ticket === ticket) slot.route.lane.cancel(run.id);
    }
    this.#noticeIdle();
  }

  /** Of actor, version and inputs: what ended one version may be harmless to the next. */
  #fingerprint(inputs: readonly NamedTensor[], version: string): string {
    return `${this.options.name}:${version}:${fingerprint(inputs, this.shared.hash)}`;
  }

  #isIdle(): boolean {
    return this.inFlight === 0;
  }

  #noticeIdle(): void {
    if (this.#onIdle.length > 0 && this.#isIdle()) for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}

const anySlot = (): boolean => true;

function bytesOf(call: InferCall): number {
  let bytes = 0;
  for (const tensor of call.inputs) bytes += tensor.data.byteLength;
  return bytes;
}
