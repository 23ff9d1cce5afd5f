/**
 * The steps of a supervisor: each takes a draft of the context and an event and says what changes and what is to be
 * done. No step performs anything, awaits anything or throws; the machine in supervisor.ts decides when each runs.
 *
 * Starting and stopping single children is in lifecycle.ts; here is the work of the supervisor as a whole.
 */
import type { CallResult } from '../policy/supervise.js';
import { beginDelay as delayed, decide, readinessEnded } from '../policy/supervise.js';
import { findChild, idsOf, patchChild, statusOf } from '../policy/children.js';
import { emptyWindow, firstSpecFault } from '../policy/restart.js';
import type { ChildIdentity } from './child.js';
import type { ChildView, Draft, SupervisorCall, SupervisorContext, SupervisorEvent, SupervisorView } from './context.js';
import { keyOf } from './context.js';
import { orderKill, orderStop, releaseSlot, report, setDown, startChild } from './lifecycle.js';
import { settingsOf, type RestartLimits } from './options.js';

// --------------------------------------------------------------------------------------------------------------- boot

export function beginBoot(draft: Draft): void {
  const { children, autoShutdown } = draft.settings;
  const fault = firstSpecFault(children, autoShutdown);
  if (fault) draft.end = { reason: 'crashed', detail: fault, failedPath: [] };
  draft.job = {
    cause: 'boot', id: draft.identity.id, stops: [], starts: fault ? [] : idsOf(draft.ledger.children), delayMs: 0, waiting: [],
  };
}

export function announceStarted(draft: Draft): void {
  draft.up = true;
  draft.job = undefined;
  report(draft, { type: 'started' });
  draft.effects.push({ do: 'tellParent', event: { type: 'child.started', ...draft.identity } });
  // A supervisor is ready as long as it is up: what its children are is for it to judge, not for its parent.
  draft.effects.push({ do: 'tellParent', event: { type: 'child.ready', ...draft.identity } });
}

// ------------------------------------------------------------------------------------------------------------ messages

export function enqueueCall(draft: Draft, event: SupervisorEvent): void {
  const { reply, ...message } = event as SupervisorCall;
  draft.inbox = [...draft.inbox, { message, reply }];
}

export function refuseCall(draft: Draft, event: SupervisorEvent): void {
  answer(draft, (event as SupervisorCall).reply, { ok: false, error: 'noproc' });
}

export function enqueueDelayOver(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'timer.delayOver') return;
  const { trigger, token } = event;
  draft.inbox = [...draft.inbox, { message: { type: 'delayOver', trigger, token } }];
}

/**
 * An ordered stop takes its turn behind what was asked for before, as in OTP, as long as that needs no waiting: one turn
 * of the event loop later it overtakes everything, because a start that hangs must not make the supervisor deaf.
 */
export function enqueueStop(draft: Draft): void {
  draft.inbox = [...draft.inbox, { message: { type: 'stop' } }];
  draft.effects.push({ do: 'arm', timer: 'stop', delayMs: 0, event: { type: 'timer.stopOverdue' } });
}

/** Takes the oldest message and what follows from it. */
export function decideNext(draft: Draft): void {
  const [first, ...rest] = draft.inbox;
  if (!first) return;
  draft.inbox = rest;
  draft.handled += 1;
  const { clock, random } = draft.environment;
  const before = draft.ledger;
  const decision = decide(before, draft.settings, first.message, { now: clock.now(), chance: () => random.next() });
  draft.ledger = decision.ledger;
  for (const { token } of before.delays) {
    if (!decision.ledger.delays.some((delay) => delay.token === token)) draft.effects.push({ do: 'disarm', timer: `delay:${token}` });
  }
  if (decision.note) {
    const { id, ...fields } = decision.note;
    const child = { id, incarnation: findChild(before.children, id)?.incarnation ?? 0 };
    report(draft, { ...fields, child, intensity: draft.settings.intensity });
  }
  if (decision.answer) answer(draft, first.reply, decision.answer);
  if (decision.end) draft.end = { reason: 'shutdown', detail: decision.end };
  if (decision.job) draft.job = { ...decision.job, waiting: [], reply: first.reply };
}

// ----------------------------------------------------------------------------------------------------------------- job

/** The next stop of the job; all of them where the order does not matter. Children without a process just go. */
export function stopNext(draft: Draft): void {
  const { job } = draft;
  if (!job) return;
  const stops = [...job.stops];
  for (let id = stops.shift(); id !== undefined; id = stops.shift()) {
    const child = findChild(draft.ledger.children, id);
    if (!child || child.phase === 'stopping') continue;
    if (child.alive) {
      orderStop(draft, child);
      if (!inParallel(draft)) break;
    } else {
      setDown(draft, id);
    }
  }
  draft.job = { ...job, stops };
}

/** The next start of the job; all of them where nothing waits for a start. */
export function startNext(draft: Draft): void {
  const { job } = draft;
  if (!job || job.cause === 'shutdown' || job.cause === 'terminateChild') return;
  const { startedWhen, initialStart } = draft.settings;
  const sideBySide = startedWhen === 'spawned';
  const now = sideBySide ? job.starts : job.starts.slice(0, 1);
  // A boot that may fail has to know the outcome of every start, whatever they may overlap with.
  const watched = !sideBySide || (job.cause === 'boot' && initialStart === 'fail');
  draft.job = { ...job, starts: job.starts.slice(now.length), waiting: watched ? now : [] };
  for (const id of now) startChild(draft, id, job.cause, job.reply);
}

export function beginDelay(draft: Draft): void {
  const { job, environment } = draft;
  if (!job || job.cause !== 'restart') return;
  const { ledger, delay } = delayed(draft.ledger, { ...job, cause: 'restart' }, environment.clock.now());
  draft.ledger = ledger;
  draft.job = undefined;
  const { token, trigger, members } = delay;
  const child = { id: trigger, incarnation: findChild(ledger.children, trigger)?.incarnation ?? 0 };
  report(draft, { type: 'backoff', child, delayMs: job.delayMs, members });
  draft.effects.push({ do: 'arm', timer: `delay:${token}`, delayMs: job.delayMs, event: { type: 'timer.delayOver', trigger, token } });
}

export function finishJob(draft: Draft): void {
  if (draft.job?.cause === 'terminateChild') answer(draft, draft.job.reply, { ok: true });
  draft.job = undefined;
}

// ----------------------------------------------------------------------------------------------------------------- end

/** From here on nothing is restarted and no call is answered; what is left is to stop the children in reverse. */
export function beginStop(draft: Draft, event: SupervisorEvent): void {
  if (event.type === 'kill') noteKill(draft, event);
  draft.end ??= { reason: 'shutdown', detail: 'ordered' };
  if (draft.job) finishJob(draft);
  for (const { reply } of draft.inbox) answer(draft, reply, { ok: false, error: 'noproc' });
  for (const { token } of draft.ledger.delays) draft.effects.push({ do: 'disarm', timer: `delay:${token}` });
  draft.effects.push({ do: 'disarm', timer: 'stop' });
  draft.inbox = [];
  draft.ledger = { ...draft.ledger, delays: [] };
  const stops = idsOf(draft.ledger.children).toReversed();
  draft.job = { cause: 'shutdown', id: draft.identity.id, stops, starts: [], delayMs: 0, waiting: [] };
}

function noteKill(draft: Draft, kill: SupervisorEvent & { type: 'kill' }): void {
  draft.killed = true;
  draft.end = { reason: kill.reason, detail: kill.detail };
  // Half of what the parent grants: whoever cannot be killed is reported here, before the parent gives this one up.
  draft.killGraceMs = Math.min(draft.killGraceMs, kill.graceMs / 2);
}

/** A kill while stopping: the children being waited for are killed too, the others are when their turn comes, now. */
export function hastenStop(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'kill' || draft.killed) return;
  noteKill(draft, event);
  for (const child of draft.ledger.children) if (child.phase === 'stopping') orderKill(draft, child, event.detail);
}

export function finish(draft: Draft): void {
  const end = draft.end ?? { reason: 'shutdown', detail: 'ordered' };
  const { reason, detail, failedPath } = end;
  draft.job = undefined;
  for (const key of draft.slots.keys()) releaseSlot(draft, key);
  report(draft, { type: failedPath ? 'start-failed' : 'shutdown', reason, detail });
  draft.effects.push({
    do: 'tellParent',
    event: failedPath
      ? { type: 'child.startFailed', ...draft.identity, reason, detail, path: failedPath }
      : { type: 'child.exited', ...draft.identity, reason, detail },
  });
}

// ------------------------------------------------------------------------------------------------------ small questions

export function inParallel(context: SupervisorContext): boolean {
  return context.killed || context.settings.stopOrder === 'parallel';
}

export function noteReadiness(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'child.ready' && event.type !== 'child.unready') return;
  const child = findChild(draft.ledger.children, event.id);
  const isReady = event.type === 'child.ready';
  const changes = child?.alive && child.incarnation === event.incarnation && isReady === (child.readySince === undefined);
  if (!changes) return;
  const now = draft.environment.clock.now();
  const identity: ChildIdentity = { id: event.id, incarnation: event.incarnation };
  report(draft, { type: isReady ? 'child-ready' : 'child-unready', child: identity });
  if (isReady) {
    draft.ledger = { ...draft.ledger, children: patchChild(draft.ledger.children, event.id, { readySince: now }) };
    if (draft.settings.startedWhen === 'spawned') releaseSlot(draft, keyOf(event));
  } else {
    draft.ledger = readinessEnded(draft.ledger, event.id, now, draft.settings.resetAfterMs);
  }
}

/**
 * Other restart limits from now on, and an empty window. Failures in a row still are in a row, so backoffs go on where they
 * were; but the first failure from here on is no reason to give up, however many there were under the old limits. Delays
 * that run already keep their length.
 */
export function reconfigure(draft: Draft, event: SupervisorEvent): void {
  if (event.type !== 'reconfigure') return;
  const { intensity, periodMs, backoff, resetAfterMs, consecutiveMax } = event.limits;
  draft.settings = settingsOf({ intensity, periodMs, backoff, resetAfterMs, consecutiveMax } as RestartLimits, draft.settings);
  const failuresMax = Math.max(0, draft.settings.consecutiveMax - 1);
  const children = draft.ledger.children.map((child) => ({ ...child, failures: Math.min(child.failures, failuresMax) }));
  draft.ledger = { ...draft.ledger, children, window: emptyWindow };
}

export function showView(draft: Draft, event: SupervisorEvent): void {
  if (event.type === 'inspect') draft.effects.push({ do: 'show', reply: event.reply, view: viewOf(draft) });
}

export function viewOf(context: SupervisorContext): SupervisorView {
  const now = context.environment.clock.now();
  const { ledger, settings } = context;
  const children = ledger.children.map((child): ChildView => {
    const delay = ledger.delays.find(({ members }) => members.includes(child.spec.id));
    return {
      id: child.spec.id, type: child.spec.type, phase: child.phase, status: statusOf(child.phase),
      ready: child.readySince !== undefined, incarnation: child.incarnation, restarts: child.restarts, failures: child.failures,
      nextStartInMs: delay && child.phase === 'restarting' ? Math.max(0, delay.dueAt - now) : undefined,
      lastExit: child.lastExit,
    };
  });
  const inWindow = ledger.window.authorisedAt.filter((at) => at >= now - settings.periodMs).length;
  return { ...context.identity, up: context.up && !context.end, end: context.end, inWindow, children };
}

function answer(draft: Draft, reply: SupervisorCall['reply'] | undefined, result: CallResult): void {
  if (reply) draft.effects.push({ do: 'reply', reply, result });
}
