/**
 * Moves the tickets of one actor through its routed lanes: queue, dispatch, answer, and again when a lane is lost.
 *
 * Assumes that lanes answer in the order runs were posted and that a lane's exit is reported exactly once. Decides
 * nothing itself: admission, replay and availability are policies. Deliberately knows no wire format. Its parts: `Desk`
 * (where tickets lie), `Intake`, `Lanes`, `RunWatch`, `Trials`, `Hold`, `lost-runs`, `doubts`.
 */
import { errorCodes, type Outcome, type ServeError } from '../errors.js';
import type { LaneExit } from '../ports.js';
import type { RunReply } from '../protocol/task.js';
import { refusedAnswer } from '../tensor/guard.js';
import { Desk } from './desk.js';
import type { DispatcherEvents, DispatcherOptions } from './dispatcher-options.js';
import { BrokenDevices, answerRefused, compareWithSiblings, proved } from './doubts.js';
import { Hold } from './hold.js';
import { Intake, type Grant } from './intake.js';
import { deviceLost, runLost, secondCopy } from './lost-runs.js';
import type { Route, RouteListener } from './routes.js';
import { RunWatch } from './run-watch.js';
import type { SharedServing } from './shared.js';
import { Slot, runningMs, whileNested, type Run } from './slot.js';
import { Ticket, outcomeOf, type InferAnswer, type InferCall, type TicketEnd } from './ticket.js';
import { Trials } from './trials.js';

export type { DispatcherEvents, DispatcherOptions } from './dispatcher-options.js';

export class Dispatcher implements RouteListener {
  readonly outcomes: Record<Outcome, number> = { ok: 0, rejected: 0, canceled: 0, timeout: 0, failed: 0 };
  lateResults = 0;
  guardFailures = 0;
  readonly #desk: Desk;
  readonly #intake: Intake;
  readonly #watch: RunWatch;
  readonly #trials: Trials;
  readonly #hold: Hold;
  readonly #brokenDevices = new BrokenDevices();
  readonly #absolve = (): void => this.#absolveSuspects();
  /** Of the newest replica. */
  #version = '';
  #onIdle: (() => void)[] = [];

  constructor(
    options: DispatcherOptions,
    private readonly shared: SharedServing,
    private readonly events: DispatcherEvents,
  ) {
    this.#desk = new Desk(options, shared, events);
    this.#intake = new Intake(this.#desk);
    this.#watch = new RunWatch(this.#desk, {
      hung: (slot) => this.#endHung(slot),
      late: (slot, ms) => this.#runElsewhereToo(slot, ms),
    });
    this.#trials = new Trials(this.#desk, (slot, ticket) => this.#post(slot, ticket, true));
    this.#hold = new Hold(this.#desk);
    shared.onMassDeath(this.#absolve);
  }

  // ------------------------------------------------------------------------------------------------ requests come in

  /** Settles exactly once, at the deadline at the latest. Rejects with a ServeError, or with the signal's reason. */
  submit(call: InferCall): Promise<InferAnswer> {
    const nowMs = this.shared.clock.now();
    const grant = this.grant(call);
    if (call.signal?.aborted) {
      this.outcomes.canceled++;
      return Promise.reject(call.signal.reason);
    }
    const bytes = bytesOf(call);
    const refusal = this.#intake.refusal(call, bytes, grant.budgetMs, this.takesRequests ? undefined : this.#hold.downReason, this.#version);
    if (refusal) {
      this.outcomes[outcomeOf({ ok: false, error: refusal })]++;
      return Promise.reject(refusal);
    }
    this.shared.countRequest(nowMs);
    return new Promise((resolve, reject) => this.#admitted(call, bytes, nowMs, grant, resolve, reject));
  }

  /** No closure in here may name the call: it holds the inputs, and a closure lives as long as its ticket is known anywhere. */
  #admitted(call: InferCall, bytes: number, nowMs: number, { budgetMs, attemptsMax, idempotent }: Grant, resolve: (answer: InferAnswer) => void, reject: (error: unknown) => void): void {
    const { clock } = this.shared;
    const { signal } = call;
    let onAbort: (() => void) | undefined;
    const deadline = clock.setTimeout(() => {
      const where = ticket.onLanes > 0 ? 'while it ran' : `in the queue (${this.#hold.whyWaiting()})`;
      ticket.failWith('DEADLINE_EXCEEDED', `no answer within ${Math.round(budgetMs)} ms; the time was used up ${where}`);
    }, budgetMs);
    const settle = (ended: Ticket, end: TicketEnd): void => {
      clock.clearTimeout(deadline);
      if (onAbort) signal?.removeEventListener('abort', onAbort);
      this.#ticketEnded(ended, end);
      if (end.ok) resolve(end.answer);
      else reject('canceled' in end ? end.canceled : end.error);
    };
    const ticket = new Ticket(call, bytes, nowMs, nowMs + budgetMs, idempotent, attemptsMax, settle);
    if (signal) {
      onAbort = () => void ticket.cancel(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
    }
    if (call.suspect) {
      this.#desk.suspects.add(ticket);
      this.#trials.next();
    } else {
      this.#desk.queue.push(ticket);
      this.#pump();
    }
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

  /** What a call gets at most. */
  grant(call: InferCall): Grant {
    return this.#intake.grant(call);
  }

  // -------------------------------------------------------------------------------------------------- requests go out

  #pump(): void {
    const { queue, lanes } = this.#desk;
    for (let ticket = queue.peek(); ticket; ticket = queue.peek()) {
      const slot = lanes.pick(ticket, this.#intake.ahead, this.#now);
      if (!slot) return;
      queue.shift();
      this.#post(slot, ticket, false);
    }
  }

  readonly #now = (): number => this.shared.clock.now();

  #post(slot: Slot, ticket: Ticket, solo: boolean): void {
    const nowMs = this.shared.clock.now();
    const run: Run = {
      id: this.shared.nextRunId(), ticket, solo, inputs: ticket.inputs, startedAtMs: undefined, nestedPending: 0, nestedSinceMs: 0, pausedMs: 0, hung: false, late: false,
    };
    ticket.attempts++;
    ticket.onLanes++;
    if (solo) ticket.soloRuns++;
    slot.add(run, nowMs);
    this.#watch.start();
    void slot.route.lane
      .run({
        id: run.id,
        requestId: ticket.call.requestId,
        inputs: ticket.inputs,
        ...(ticket.call.outputs && { outputs: ticket.call.outputs }),
        budgetMs: ticket.deadlineAtMs - nowMs,
        path: [...(ticket.call.path ?? []), this.#desk.options.name],
        ...(ticket.call.epoch !== undefined && { epoch: ticket.call.epoch }),
      })
      .then((reply) => {
        if (reply) this.#answered(slot, run, reply); // undefined: the lane ended, `#laneExited` deals with its runs
      });
  }

  #answered(slot: Slot, run: Run, reply: RunReply): void {
    const nowMs = this.shared.clock.now();
    const { ticket } = run;
    const { guard } = this.#desk.options;
    const tookMs = runningMs(run, nowMs);
    this.#intake.learn(slot, run, reply, tookMs);
    this.#watch.learn(run, tookMs);
    slot.lastAnswerMs = nowMs;
    slot.remove(run, nowMs);
    ticket.onLanes--;
    const refused = reply.ok && guard ? refusedAnswer(reply.outputs, run.inputs, guard) : undefined;
    compareWithSiblings(this.#desk, slot, refused !== undefined || (!reply.ok && reply.code === 'INTERNAL'));
    const broken = !reply.ok && reply.deviceFatal && slot.route.device !== 'cpu' ? reply.message : undefined;
    if (ticket.ended) this.lateResults++;
    else if (refused !== undefined) {
      this.guardFailures++;
      answerRefused(this.#desk, slot, run, refused);
    } else if (reply.ok) {
      const { replica, incarnation, version, device, degraded } = slot.route;
      ticket.answer({ outputs: reply.outputs, servedBy: `${replica}#${incarnation}`, attempts: ticket.attempts, version, device, ...(degraded !== undefined && { degraded }) });
    } else if (broken !== undefined) deviceLost(this.#desk, run, broken);
    else ticket.failWith(reply.code, reply.message, reply.outcome && { outcome: reply.outcome });
    if (broken !== undefined) this.#closeDevice(slot, broken);
    if (slot.mode === 'suspect') {
      slot.mode = 'open'; // it answers, so it is not frozen
      this.events.slow(slot.route, undefined);
    }
    if (slot.mode === 'solo') slot.mode = 'reserved';
    this.#goOn();
    this.#noticeIdle();
  }

  /** A lane may have become free, or a ticket was laid back. */
  #goOn(): void {
    this.#trials.next();
    this.#pump();
  }

  #ticketEnded(ticket: Ticket, end: TicketEnd): void {
    this.outcomes[outcomeOf(end)]++;
    if (ticket.waiting) this.#desk.drop(ticket);
    if (ticket.onLanes > 0 && !end.ok) {
      for (const slot of this.#desk.lanes.slots) for (const run of slot.runs) if (run.ticket === ticket) slot.route.lane.cancel(run.id);
    }
    this.#noticeIdle();
  }

  // ------------------------------------------------------------------------------------------------------ lanes change

  routeAdded(route: Route): void {
    const { lanes } = this.#desk;
    const slot = new Slot(route);
    this.#version = route.version;
    this.#brokenDevices.newReplicaOn(route.device);
    this.#trials.newcomer(slot);
    lanes.slots.push(slot);
    route.lane.onExit((exit) => this.#laneExited(slot, exit));
    this.#hold.replicaReady();
    this.#goOn();
  }

  routeClosed(route: Route): void {
    const slot = this.#desk.lanes.ofRoute(route);
    if (!slot || slot.mode === 'closed') return;
    slot.mode = 'closed';
    this.#hold.replicaLost(`replica ${route.replica} left`);
  }

  routeSuspect(route: Route, suspect: boolean): void {
    const slot = this.#desk.lanes.ofRoute(route);
    if (!slot) return;
    if (suspect) {
      if (slot.mode !== 'open' && slot.mode !== 'reserved') return;
      slot.mode = 'suspect';
      for (const run of [...slot.runs].reverse()) secondCopy(this.#desk, run);
    } else if (slot.mode === 'suspect') slot.mode = 'open';
    this.#goOn();
  }

  #laneExited(slot: Slot, exit: LaneExit): void {
    const { lanes } = this.#desk;
    const { route, mode, runs } = slot;
    slot.mode = 'closed';
    lanes.remove(slot);
    const byItself = exit.reason === 'crashed' || exit.reason === 'killed';
    const onTrial = exit.reason === 'crashed' && mode === 'solo' && runs.some(({ ticket }) => ticket.deaths > 0 || ticket.call.suspect);
    const crowd = byItself && this.shared.laneDied(this.shared.clock.now(), runs.map(({ ticket }) => ticket), onTrial);
    this.events.laneLost(route, runs.map(({ ticket }) => ticket.call.requestId));
    // Newest first, because each goes back to the head of the queue.
    for (const run of slot.runs.splice(0).reverse()) runLost(this.#desk, slot, run, { exit, byItself, crowd });
    if (mode !== 'closed') this.#hold.replicaLost(`replica ${route.replica} ended (${exit.reason}: ${exit.detail})`);
    this.#goOn();
    this.#noticeIdle();
  }

  #absolveSuspects(): void {
    this.#trials.absolve();
    this.#goOn();
  }

  #closeDevice(slot: Slot, why: string): void {
    for (const { route } of this.#brokenDevices.broke(slot, this.#desk.lanes.slots)) this.routeClosed(route);
    this.events.deviceFailed(slot.route, why);
  }

  #endHung(slot: Slot): void {
    // A process takes a moment to die, and nothing may be posted to it meanwhile. A solo run has the lane for itself anyway.
    if (slot.mode !== 'solo') this.routeClosed(slot.route);
    slot.route.lane.kill('hung', `a run took longer than hangMs (${this.#desk.options.hangMs})`);
  }

  /** A run is much longer than its like: if there is an elsewhere. */
  #runElsewhereToo(slot: Slot, ms: number): void {
    if (!this.#desk.lanes.anyServes(slot)) return;
    this.events.slow(slot.route, ms);
    this.routeSuspect(slot.route, true);
  }

  /** What came of a proof of a replica that serves. */
  proved(replica: string, right: boolean): void {
    const slot = this.#desk.lanes.ofReplica(replica);
    if (!slot) return;
    proved(slot, right);
    this.#goOn();
  }

  // ------------------------------------------------------------------------------------------------- what others ask

  get replays(): number {
    return this.#desk.replays;
  }

  get quarantined(): number {
    return this.#desk.quarantined;
  }

  get queueCount(): number {
    return this.#desk.queue.count + this.#desk.suspects.count;
  }

  get queueBytes(): number {
    return this.#desk.queue.bytes;
  }

  get takesRequests(): boolean {
    return this.#hold.takesRequests;
  }

  /** Accepted requests not answered yet. */
  get inFlight(): number {
    return this.queueCount + this.#desk.lanes.slots.reduce((sum, slot) => sum + slot.runs.filter((run) => !run.ticket.ended).length, 0);
  }

  /** Resolves when every accepted request was answered. Their deadlines bound the wait. */
  whenIdle(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }

  #noticeIdle(): void {
    if (this.#onIdle.length > 0 && this.inFlight === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Replicas that take work; a suspect is only ever run beside one of them. */
  get openCount(): number {
    return this.#desk.lanes.slots.filter((slot) => slot.mode === 'open').length;
  }

  /** Whether the replica runs a suspect request alone. */
  onProbation(replica: string): boolean {
    return this.#desk.lanes.slots.some((slot) => slot.route.replica === replica && slot.mode === 'solo');
  }

  /** When the replica last answered, and whether a run is on it that nobody suspects; for the freshness of its readiness. */
  vitals(replica: string): { readonly lastAnswerMs: number; readonly busy: boolean } | undefined {
    const slot = this.#desk.lanes.ofReplica(replica);
    return slot && { lastAnswerMs: slot.lastAnswerMs, busy: slot.mode !== 'suspect' && slot.runs.length > 0 };
  }

  /** The run a nested call came from, for what it inherits. Undefined when its caller is gone. */
  runOf(replica: string, runId: number): Run | undefined {
    return this.#desk.lanes.ofReplica(replica)?.runs.find((run) => run.id === runId);
  }

  /** Stops the hang clock of a run while `pending` is under way. */
  whileNested<T>(run: Run, pending: Promise<T>): Promise<T> {
    return whileNested(run, this.shared.clock, pending);
  }

  // ---------------------------------------------------------------------------------------------- what others decide

  /** New bounds and time-outs, for requests from now on. */
  reconfigure(options: DispatcherOptions): void {
    this.#desk.options = options;
  }

  /** Told by the control path: whether a replacement is being made, and if not, why. */
  setProspect(restartUnderWay: boolean, reason: string): void {
    this.#hold.setProspect(restartUnderWay, reason);
  }

  /** The host is stopping, or the actor leaves it: fails what still waits and leaves no timer behind. */
  close(reason: string): void {
    this.#hold.close(reason);
    this.#watch.stop();
    this.shared.offMassDeath(this.#absolve);
  }
}

function bytesOf(call: InferCall): number {
  let bytes = 0;
  for (const tensor of call.inputs) bytes += tensor.data.byteLength;
  return bytes;
}
