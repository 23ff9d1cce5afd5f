/**
 * One child of a supervisor: its start, the outcome of its start, its end. Steps like those in steps.ts: they change the
 * draft and add effects, the machine carries them out.
 *
 * An end means different things in different phases (a failed start, a crash, an ordered stop, a death nobody has
 * noticed yet); this file is where the phases are told apart, once.
 */
import type { ExitReason } from '../errors.js';
import type { Child } from '../policy/children.js';
import { findChild, patchChild, processGone } from '../policy/children.js';
import { isCleanExit } from '../policy/restart.js';
import { startFailed, startSucceeded, withoutProcess } from '../policy/supervise.js';
import type { ChildIdentity, ChildSpec } from './child.js';
import type { DeadlineEvent, Draft, PendingStart, Reply, SupervisorEvent } from './context.js';
import { keyOf } from './context.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';
import type { ReportContext, SupervisorReport } from './reports.js';

type Plain<Union> = Union extends unknown ? Omit<Union, 'supervisor' | 'supervisorIncarnation'> : never;

export function report(draft: Draft, fields: Plain<SupervisorReport>): void {
  const { id, incarnation } = draft.identity;
  const complete = { supervisor: id, supervisorIncarnation: incarnation, ...fields } as SupervisorReport;
  draft.effects.push({ do: 'report', report: complete });
}

function patch(draft: Draft, id: string, changes: Partial<Omit<Child<ChildSpec>, 'spec'>>): void {
  draft.ledger = { ...draft.ledger, children: patchChild(draft.ledger.children, id, changes) };
}

/** The child of this very incarnation, or nothing: late words of replaced incarnations are dropped here. */
function present(draft: Draft, { id, incarnation }: ChildIdentity): Child<ChildSpec> | undefined {
  const child = findChild(draft.ledger.children, id);
  return child?.incarnation === incarnation ? child : undefined;
}

function identify(child: Child<ChildSpec>): ChildIdentity {
  return { id: child.spec.id, incarnation: child.incarnation };
}

// --------------------------------------------------------------------------------------------------------------- start

export function startChild(draft: Draft, id: string, cause: PendingStart['cause'], reply: Reply | undefined): void {
  const child = findChild(draft.ledger.children, id);
  if (!child) return;
  const { incarnations } = draft.settings;
  const identity = { id, incarnation: Math.max(child.incarnation, incarnations?.get(id) ?? 0) + 1 };
  incarnations?.set(id, identity.incarnation); // in place, as it is shared
  const restarts = child.restarts + (cause === 'restart' ? 1 : 0);
  patch(draft, id, { phase: 'starting', alive: false, incarnation: identity.incarnation, restarts, readySince: undefined });
  draft.starting = { ...draft.starting, [id]: { cause, reply, late: false } };
  const gated = child.spec.type === 'worker' && draft.environment.startGate !== undefined;
  if (gated) draft.effects.push({ do: 'acquireSlot', identity });
  else spawn(draft, child.spec, identity);
}

function spawn(draft: Draft, spec: ChildSpec, identity: ChildIdentity): void {
  patch(draft, spec.id, { alive: true });
  draft.effects.push({ do: 'spawn', spec, identity });
  const { startTimeoutMs } = draft.settings;
  if (spec.type === 'worker' && startTimeoutMs !== Infinity) {
    arm(draft, 'timer.startLate', identity, startDeadline(startTimeoutMs, draft.environment.clock.now()));
  }
}

export function slotGranted(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'gate.granted') return;
  const child = present(draft, event);
  if (child?.phase === 'starting' && !child.alive) spawn(draft, child.spec, identify(child));
  else releaseSlot(draft, keyOf(event));
}

/** Both for a slot held and for a place in the line. */
export function releaseSlot(draft: Draft, key: string): void {
  if (draft.environment.startGate) draft.effects.push({ do: 'releaseSlot', key });
}

/** Its time to start is over: it is killed, and its start has failed when it is gone. */
export function startTookTooLong(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'timer.startLate') return;
  const child = present(draft, event);
  const start = draft.starting[event.id];
  if (child?.phase !== 'starting' || !start || grantedAgain(draft, event)) return;
  draft.starting = { ...draft.starting, [event.id]: { ...start, late: true } };
  orderKill(draft, child, 'start_timeout');
}

// ------------------------------------------------------------------------------------------------- outcome of a start

export function childStarted(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'child.started') return;
  const child = present(draft, event);
  const start = child && takeStart(draft, child);
  if (!child || !start) return;
  // Killed for its time-out, and now it says so: too late, its end is on the way.
  if (start.late) {
    draft.starting = { ...draft.starting, [event.id]: start };
    return;
  }
  draft.effects.push({ do: 'disarm', timer: `start:${keyOf(event)}` });
  if (draft.settings.startedWhen === 'ready') releaseSlot(draft, keyOf(event));
  if (child.phase === 'starting') draft.ledger = startSucceeded(draft.ledger, event.id);
  report(draft, { type: 'child-started', child: identify(child) });
  if (start.reply) draft.effects.push({ do: 'reply', reply: start.reply, result: { ok: true } });
}

export function childIgnored(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'child.ignored') return;
  const child = present(draft, event);
  const start = child && takeStart(draft, child);
  if (!child || !start) return;
  dismiss(draft, child);
  draft.ledger = withoutProcess(draft.ledger, event.id);
  report(draft, { type: 'child-ignored', child: identify(child) });
  if (start.reply) draft.effects.push({ do: 'reply', reply: start.reply, result: { ok: true, ignored: true } });
}

export function childStartFailed(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'child.startFailed') return;
  const child = present(draft, event);
  if (child) failStart(draft, child, event.reason, event.detail, event.path ?? []);
}

function failStart(draft: Draft, child: Child<ChildSpec>, reason: ExitReason, detail: string, path: readonly string[]): void {
  const start = takeStart(draft, child);
  if (!start) return;
  const { id } = child.spec;
  const failedPath = [id, ...path];
  const why = start.late ? ({ reason: 'hung', detail: 'start_timeout' } as const) : { reason, detail };
  noteGone(draft, child, why);
  reportExit(draft, 'start_error', child, why, { path: failedPath });
  if (start.reply) draft.effects.push({ do: 'reply', reply: start.reply, result: { ok: false, error: 'start_failed', failedPath, ...why } });

  const bootFails = start.cause === 'boot' && draft.settings.initialStart === 'fail';
  if (child.phase === 'stopping' || draft.job?.cause === 'shutdown' || bootFails) {
    draft.ledger = withoutProcess(draft.ledger, id);
    if (bootFails) draft.end ??= { reason: why.reason, detail: 'failed_to_start_child', failedPath };
    return;
  }
  const failed = startFailed(draft.ledger, id, start.cause === 'boot' ? 'restart' : start.cause);
  draft.ledger = failed.ledger;
  if (failed.tryAgain) {
    draft.inbox = [...draft.inbox, { message: { type: 'tryAgain', id } }];
    abandonRest(draft, id, start.cause);
  }
}

/**
 * The starts that would have followed are left to the retry, which brings them along. Only a boot of independent
 * children goes on without the failed one.
 */
function abandonRest(draft: Draft, failedId: string, cause: PendingStart['cause']): void {
  const { job } = draft;
  if (!job?.waiting.includes(failedId)) return;
  if (cause === 'boot' && draft.settings.strategy === 'one_for_one') return;
  for (const id of job.starts) if (findChild(draft.ledger.children, id)?.phase === 'restarting') patch(draft, id, { phase: 'stopped' });
  draft.job = { ...job, starts: [] };
}

function takeStart(draft: Draft, child: Child<ChildSpec>): PendingStart | undefined {
  const { [child.spec.id]: start, ...rest } = draft.starting;
  draft.starting = rest;
  return start;
}

// ----------------------------------------------------------------------------------------------------------------- end

export function childExited(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'child.exited') return;
  const child = present(draft, event);
  if (child) ended(draft, child, event, { charge: event.charge ?? true, ...(event.facts && { facts: event.facts }) });
}

/** The logic of a child threw, or came to its end; usually it has said so before, and this is dropped. */
export function actorEnded(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'actor.ended') return;
  const child = present(draft, event);
  if (!child) return;
  if (event.failure !== undefined) ended(draft, child, { reason: 'crashed', detail: event.failure }, { charge: true });
  else ended(draft, child, { reason: 'normal', detail: 'done' }, { charge: true });
}

interface Ending { readonly reason: ExitReason; readonly detail: string }

function ended(
  draft: Draft,
  child: Child<ChildSpec>,
  { reason, detail }: Ending,
  more: { readonly charge: boolean; readonly facts?: Readonly<Record<string, unknown>> },
): void {
  if (!child.alive) return;
  const identity = identify(child);
  if (child.phase === 'starting' || (child.phase === 'stopping' && child.spec.id in draft.starting)) {
    failStart(draft, child, reason, detail, []);
  } else if (child.phase === 'stopping') {
    stopped(draft, child, { reason, detail }, more.facts);
  } else {
    noteGone(draft, child, { reason, detail });
    reportExit(draft, 'child_terminated', child, { reason, detail }, more.facts && { facts: more.facts });
    // Noticed, not yet handled: the notice waits its turn behind what came before it.
    const notice = { type: 'exit', ...identity, reason, detail, charge: more.charge } as const;
    if (draft.job?.cause !== 'shutdown') draft.inbox = [...draft.inbox, { message: notice }];
  }
}

function stopped(draft: Draft, child: Child<ChildSpec>, why: Ending, facts?: Readonly<Record<string, unknown>>): void {
  noteGone(draft, child, why);
  draft.ledger = withoutProcess(draft.ledger, child.spec.id);
  const asOrdered = isCleanExit(why.reason) || (why.reason === 'killed' && child.spec.shutdown === 'brutal_kill') || draft.killed;
  if (asOrdered) report(draft, { type: 'child-stopped', child: identify(child), ...why });
  else reportExit(draft, 'shutdown_error', child, why, facts && { facts });
}

function noteGone(draft: Draft, child: Child<ChildSpec>, why: Ending): void {
  patch(draft, child.spec.id, processGone(child, why, draft.environment.clock.now(), draft.settings.resetAfterMs));
  dismiss(draft, child);
}

/** Leaves no trace of the incarnation: no actor among the machine's children, no timer, no slot. */
function dismiss(draft: Draft, child: Child<ChildSpec>): void {
  const key = keyOf(identify(child));
  const { [child.spec.id]: ref, ...rest } = draft.refs;
  draft.refs = rest;
  if (ref) draft.effects.push({ do: 'dismiss', ref });
  for (const timer of Object.values(timers)) draft.effects.push({ do: 'disarm', timer: `${timer}:${key}` });
  releaseSlot(draft, key);
}

const timers = { 'timer.startLate': 'start', 'timer.killDue': 'kill', 'timer.graceOver': 'grace' } as const;

function arm(draft: Draft, type: DeadlineEvent['type'], identity: ChildIdentity, deadline: Deadline): void {
  const event = { type, deadline, ...identity } as const;
  draft.effects.push({ do: 'arm', timer: `${timers[type]}:${keyOf(identity)}`, delayMs: deadline.delayMs, event });
}

/** The timer came late: what the child has said meanwhile may not have been heard yet, so it gets its time once more. */
function grantedAgain(draft: Draft, { type, id, incarnation, deadline }: DeadlineEvent): boolean {
  const later = extendIfLate(deadline, draft.environment.clock.now());
  if (later) arm(draft, type, { id, incarnation }, later);
  return later !== undefined;
}

function reportExit(draft: Draft, context: ReportContext, child: Child<ChildSpec>, why: Ending, more: object = {}): void {
  report(draft, { type: 'child-exit', context, child: identify(child), ...why, ...more });
}

// -------------------------------------------------------------------------------------------------------- ordered stop

export function orderStop(draft: Draft, child: Child<ChildSpec>): void {
  patch(draft, child.spec.id, { phase: 'stopping' });
  const { shutdown } = child.spec;
  const ref = draft.refs[child.spec.id];
  if (!ref) return;
  if (draft.killed || shutdown === 'brutal_kill') {
    orderKill(draft, child, draft.killed ? (draft.end?.detail ?? 'killed') : 'brutal_kill');
    return;
  }
  const budgetMs = shutdown === 'infinity' ? Infinity : shutdown;
  draft.effects.push({ do: 'order', ref, order: { type: 'stop', budgetMs } });
  if (budgetMs !== Infinity) {
    arm(draft, 'timer.killDue', identify(child), startDeadline(budgetMs, draft.environment.clock.now()));
  }
}

export function orderKill(draft: Draft, child: Child<ChildSpec>, detail: string): void {
  const ref = draft.refs[child.spec.id];
  if (!ref) return;
  const graceMs = draft.killGraceMs;
  const identity = identify(child);
  draft.effects.push({ do: 'disarm', timer: `kill:${keyOf(identity)}` });
  draft.effects.push({ do: 'order', ref, order: { type: 'kill', reason: 'killed', detail, graceMs } });
  arm(draft, 'timer.graceOver', identity, startDeadline(graceMs, draft.environment.clock.now()));
}

export function stopBudgetOver(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'timer.killDue') return;
  const child = present(draft, event);
  if (child?.phase === 'stopping' && !grantedAgain(draft, event)) orderKill(draft, child, 'shutdown_budget_over');
}

/** Killed, and still no word from it. */
export function killGraceOver(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'timer.graceOver') return;
  const child = present(draft, event);
  if (!child?.alive || grantedAgain(draft, event)) return;
  report(draft, { type: 'zombie', child: identify(child), afterMs: draft.killGraceMs });
  ended(draft, child, { reason: 'killed', detail: 'zombie' }, { charge: true });
}

/** A child without a process is put down: also one that died unnoticed, or waits for a slot to be started. */
export function setDown(draft: Draft, id: string): void {
  const child = findChild(draft.ledger.children, id);
  if (!child) return;
  const start = takeStart(draft, child);
  if (start) {
    releaseSlot(draft, keyOf(identify(child)));
    const result = { ok: false, error: 'start_failed', failedPath: [id], reason: 'shutdown', detail: 'stopped before it was started' } as const;
    if (start.reply) draft.effects.push({ do: 'reply', reply: start.reply, result });
  }
  draft.ledger = withoutProcess(draft.ledger, id);
}
