/**
 * What a supervisor does about one message: the heart of OTP's `supervisor`, as a function of (ledger, message, now).
 *
 * Assumes that messages are handled one at a time, in the order of their arrival, each job finished before the next
 * message. It never says how children are stopped or started, only which and in what order: a Job. Retries of failed
 * starts are messages too (`tryAgain`), at the end of the line, so that a call or a stop is never starved by them.
 */
import type { ExitReason } from '../errors.js';
import type { Backoff } from './backoff.js';
import { delayMs, failuresAt } from './backoff.js';
import type { Child, ChildCounts, Children, ListedChild } from './children.js';
import { countChildren, findChild, idsOf, listChildren, newChild, patchChild } from './children.js';
import type { AutoShutdown, ChildRules, RestartWindow, Strategy } from './restart.js';
import { autoShutdownDue, chargeRestart, decideExit, restartGroup, specFault } from './restart.js';

export interface SupervisionRules {
  readonly strategy: Strategy;
  readonly intensity: number;
  readonly periodMs: number;
  readonly autoShutdown: AutoShutdown;
  readonly backoff: Backoff | undefined;
  readonly resetAfterMs: number;
  /** Failures in a row that one child may have; one more and the supervisor gives up. */
  readonly consecutiveMax: number;
  /** Exits at most this long after a counted one are not counted again. 0: each counts. */
  readonly exitsCoalesceMs: number;
}

/** A backoff that is running. `members` were stopped for it and wait as `restarting`. */
export interface PendingDelay {
  readonly trigger: string;
  readonly token: number;
  readonly members: readonly string[];
  readonly dueAt: number;
}

export interface Ledger<Spec extends ChildRules> {
  readonly children: Children<Spec>;
  readonly window: RestartWindow;
  readonly delays: readonly PendingDelay[];
  readonly tokenLast: number;
  /** Starts of ids whose spec is gone, so that an incarnation number is never used twice. */
  readonly pastStarts: ReadonlyMap<string, number>;
}

export type CallError =
  | 'already_started' | 'already_present' | 'running' | 'restarting' | 'not_found'
  | 'bad_combination' | 'start_failed' | 'noproc';

/** What a call on a supervisor is answered with. `failedPath`: from the child down to the innermost failed start. */
export type CallResult =
  | { readonly ok: true; readonly ignored?: true; readonly children?: readonly ListedChild[]; readonly counts?: ChildCounts }
  | {
      readonly ok: false; readonly error: CallError;
      readonly failedPath?: readonly string[]; readonly reason?: ExitReason; readonly detail?: string;
    };

export type Call<Spec extends ChildRules> =
  | { readonly type: 'startChild'; readonly spec: Spec }
  | { readonly type: 'terminateChild' | 'restartChild' | 'deleteChild'; readonly id: string }
  | { readonly type: 'whichChildren' | 'countChildren' };

export interface ExitNotice {
  readonly type: 'exit';
  readonly id: string;
  readonly incarnation: number;
  readonly reason: ExitReason;
  readonly detail: string;
  /** False: charged elsewhere; neither the budget nor the backoff of the child hears of it. */
  readonly charge: boolean;
}

export type Message<Spec extends ChildRules> =
  | ExitNotice
  | { readonly type: 'tryAgain'; readonly id: string }
  | { readonly type: 'delayOver'; readonly trigger: string; readonly token: number }
  | { readonly type: 'stop' }
  | Call<Spec>;

/** Work that follows from a message: first the stops, one after the other, then the delay, then the starts. */
export interface Job {
  readonly cause: 'restart' | 'startChild' | 'restartChild' | 'terminateChild';
  /** The child it is about. */
  readonly id: string;
  readonly stops: readonly string[];
  readonly starts: readonly string[];
  readonly delayMs: number;
}

export interface Authorised {
  readonly type: 'restart-authorised';
  readonly id: string;
  readonly attempt: number;
  readonly delayMs: number;
  readonly inWindow: number;
  readonly group: readonly string[];
}

export interface GaveUp {
  readonly type: 'gave-up';
  readonly id: string;
  readonly limit: 'intensity' | 'consecutiveMax';
  readonly attempt: number;
  readonly inWindow: number;
}

export type End = 'ordered' | 'budget_exhausted' | 'auto_shutdown';

export interface Decision<Spec extends ChildRules> {
  readonly ledger: Ledger<Spec>;
  readonly job?: Job;
  /** The supervisor ends for this reason, with exit class `shutdown`. */
  readonly end?: End;
  /** The answer, if the message was a call and needs no job. */
  readonly answer?: CallResult;
  readonly note?: Authorised | GaveUp;
}

export interface Moment {
  readonly now: number;
  /** Uniform in [0, 1); called at most once. */
  readonly chance: () => number;
}

const pastStartsMax = 1024;

export function newLedger<Spec extends ChildRules>(specs: readonly Spec[]): Ledger<Spec> {
  return {
    children: specs.map((spec) => newChild(spec)),
    window: { authorisedAt: [] },
    delays: [],
    tokenLast: 0,
    pastStarts: new Map(),
  };
}

export function decide<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  rules: SupervisionRules,
  message: Message<Spec>,
  moment: Moment,
): Decision<Spec> {
  switch (message.type) {
    case 'exit':
      return decideOnExit(ledger, rules, message, moment);
    case 'tryAgain': {
      // Whoever started, stopped or delayed the child meanwhile has taken the matter over.
      const child = findChild(ledger.children, message.id);
      const taken = child?.phase !== 'restarting' || ledger.delays.some((delay) => delay.members.includes(message.id));
      return taken ? { ledger } : authorise(ledger, rules, child, moment, { charge: true, coalesceMs: 0 });
    }
    case 'delayOver':
      return decideOnDelayOver(ledger, message);
    case 'stop':
      return { ledger, end: 'ordered' };
    case 'startChild':
      return decideOnStartChild(ledger, rules, message.spec);
    case 'terminateChild':
    case 'restartChild':
    case 'deleteChild':
      return decideOnCall(ledger, message);
    case 'whichChildren':
      return { ledger, answer: { ok: true, children: listChildren(ledger.children) } };
    case 'countChildren':
      return { ledger, answer: { ok: true, counts: countChildren(ledger.children) } };
  }
}

function decideOnExit<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  rules: SupervisionRules,
  exit: ExitNotice,
  moment: Moment,
): Decision<Spec> {
  const child = findChild(ledger.children, exit.id);
  // The notice of an incarnation that has been stopped or replaced meanwhile says nothing new.
  if (!child || child.incarnation !== exit.incarnation || child.phase !== 'running') return { ledger };

  if (decideExit(child.spec.restart, exit.reason) === 'restart') {
    const failures = child.failures + (exit.charge ? 1 : 0);
    const failed: Child<Spec> = { ...child, failures };
    const children = patchChild(ledger.children, exit.id, { failures });
    const count = { charge: exit.charge, coalesceMs: rules.exitsCoalesceMs };
    return authorise({ ...ledger, children }, rules, failed, moment, count);
  }
  const after = withoutProcess(ledger, exit.id);
  const up = after.children.filter(({ phase }) => phase !== 'stopped');
  return autoShutdownDue(rules.autoShutdown, child.spec, up.map(({ spec }) => spec))
    ? { ledger: after, end: 'auto_shutdown' }
    : { ledger: after };
}

/** One restart, counted before it is tried; or the end of the supervisor. */
function authorise<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  rules: SupervisionRules,
  child: Child<Spec>,
  moment: Moment,
  count: { readonly charge: boolean; readonly coalesceMs: number },
): Decision<Spec> {
  const { id } = child.spec;
  const charge = count.charge
    ? chargeRestart(ledger.window, rules, moment.now, count.coalesceMs)
    : { window: ledger.window, exceeded: false, inWindow: ledger.window.authorisedAt.length };
  const attempt = child.failures;
  if (charge.exceeded || attempt > rules.consecutiveMax) {
    const limit = charge.exceeded ? 'intensity' : 'consecutiveMax';
    const note: GaveUp = { type: 'gave-up', id, limit, attempt, inWindow: charge.inWindow };
    return { ledger: { ...withoutProcess(ledger, id), window: charge.window }, end: 'budget_exhausted', note };
  }

  const group = restartGroup(rules.strategy, idsOf(ledger.children), id);
  // A group restart takes running delays of its members over, and keeps the longest promise that was made.
  const superseded = ledger.delays.filter((delay) => delay.members.some((member) => group.includes(member)));
  const own = delayMs(rules.backoff, attempt, rules.backoff ? moment.chance() : 0);
  const waitMs = Math.max(own, ...superseded.map((delay) => delay.dueAt - moment.now));
  const comesBack = (member: string): boolean => findChild(ledger.children, member)?.spec.restart !== 'temporary';
  const starts = group.filter(comesBack);
  const note: Authorised = { type: 'restart-authorised', id, attempt, delayMs: waitMs, inWindow: charge.inWindow, group: starts };
  return {
    ledger: {
      ...ledger,
      children: patchChild(ledger.children, id, { phase: 'restarting', alive: false }),
      window: charge.window,
      delays: ledger.delays.filter((delay) => !superseded.includes(delay)),
    },
    job: {
      cause: 'restart', id, starts, delayMs: waitMs,
      stops: group.filter((member) => member !== id).toReversed(),
    },
    note,
  };
}

function decideOnDelayOver<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  over: { readonly trigger: string; readonly token: number },
): Decision<Spec> {
  const delay = ledger.delays.find(({ token }) => token === over.token);
  if (!delay) return { ledger };
  // Members taken out by a call during the delay stay out.
  const starts = delay.members.filter((id) => findChild(ledger.children, id)?.phase === 'restarting');
  const rest = { ...ledger, delays: ledger.delays.filter((other) => other !== delay) };
  if (starts.length === 0) return { ledger: rest };
  return { ledger: rest, job: { cause: 'restart', id: delay.trigger, stops: [], starts, delayMs: 0 } };
}

function decideOnStartChild<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  rules: SupervisionRules,
  spec: Spec,
): Decision<Spec> {
  const fault = specFault(spec, rules.autoShutdown);
  if (fault === 'bad_combination') return { ledger, answer: { ok: false, error: fault } };
  const present = findChild(ledger.children, spec.id);
  if (present) {
    const hasProcess = present.phase !== 'stopped' && present.phase !== 'restarting';
    return { ledger, answer: { ok: false, error: hasProcess ? 'already_started' : 'already_present' } };
  }
  const child = newChild(spec, ledger.pastStarts.get(spec.id) ?? 0);
  return {
    ledger: { ...ledger, children: [...ledger.children, child] },
    job: { cause: 'startChild', id: spec.id, stops: [], starts: [spec.id], delayMs: 0 },
  };
}

function decideOnCall<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  call: { readonly type: 'terminateChild' | 'restartChild' | 'deleteChild'; readonly id: string },
): Decision<Spec> {
  const { id, type } = call;
  const child = findChild(ledger.children, id);
  if (!child) return { ledger, answer: { ok: false, error: 'not_found' } };
  const idle = child.phase === 'stopped';
  if (type === 'terminateChild') {
    if (idle || child.phase === 'restarting') return { ledger: withoutEmptyDelays(withoutProcess(ledger, id)), answer: { ok: true } };
    return { ledger, job: { cause: 'terminateChild', id, stops: [id], starts: [], delayMs: 0 } };
  }
  if (!idle) return { ledger, answer: { ok: false, error: child.phase === 'restarting' ? 'restarting' : 'running' } };
  if (type === 'deleteChild') return { ledger: forget(ledger, id), answer: { ok: true } };
  return { ledger, job: { cause: 'restartChild', id, stops: [], starts: [id], delayMs: 0 } };
}

/** A delay nobody waits for any more is over. */
function withoutEmptyDelays<Spec extends ChildRules>(ledger: Ledger<Spec>): Ledger<Spec> {
  const waits = (id: string): boolean => findChild(ledger.children, id)?.phase === 'restarting';
  return { ...ledger, delays: ledger.delays.filter((delay) => delay.members.some(waits)) };
}

// ----------------------------------------------------------------------------------------------- outcomes of starts

/** The start of `id` succeeded. */
export function startSucceeded<Spec extends ChildRules>(ledger: Ledger<Spec>, id: string): Ledger<Spec> {
  return { ...ledger, children: patchChild(ledger.children, id, { phase: 'running' }) };
}

/**
 * A start failed. In a restart (and at boot with initialStart `retry`) the child stays `restarting` and a `tryAgain`
 * is due; a child that was being added is forgotten; a child restarted by a call is as before.
 */
export function startFailed<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  id: string,
  cause: Job['cause'],
): { readonly ledger: Ledger<Spec>; readonly tryAgain: boolean } {
  if (cause === 'startChild') return { ledger: forget(ledger, id), tryAgain: false };
  if (cause === 'restartChild') return { ledger: withoutProcess(ledger, id), tryAgain: false };
  const failures = (findChild(ledger.children, id)?.failures ?? 0) + 1;
  return {
    ledger: { ...ledger, children: patchChild(ledger.children, id, { phase: 'restarting', alive: false, failures }) },
    tryAgain: true,
  };
}

/** The start function declined, or the process was stopped on purpose: no process, temporary children are forgotten. */
export function withoutProcess<Spec extends ChildRules>(ledger: Ledger<Spec>, id: string): Ledger<Spec> {
  const child = findChild(ledger.children, id);
  if (!child) return ledger;
  return child.spec.restart === 'temporary'
    ? forget(ledger, id)
    : { ...ledger, children: patchChild(ledger.children, id, { phase: 'stopped', alive: false }) };
}

/** The spec goes; its number of starts is remembered for a while. */
function forget<Spec extends ChildRules>(ledger: Ledger<Spec>, id: string): Ledger<Spec> {
  const child = findChild(ledger.children, id);
  if (!child) return ledger;
  const pastStarts = new Map(ledger.pastStarts);
  pastStarts.delete(id);
  pastStarts.set(id, child.incarnation);
  if (pastStarts.size > pastStartsMax) pastStarts.delete(pastStarts.keys().next().value as string);
  return { ...ledger, pastStarts, children: ledger.children.filter((other) => other !== child) };
}

/** All stops of a job are done: its members wait for the end of the delay. */
export function beginDelay<Spec extends ChildRules>(
  ledger: Ledger<Spec>,
  job: Job,
  now: number,
): { readonly ledger: Ledger<Spec>; readonly delay: PendingDelay } {
  const token = ledger.tokenLast + 1;
  const delay: PendingDelay = { trigger: job.id, token, members: job.starts, dueAt: now + job.delayMs };
  const children = ledger.children.map((child) =>
    job.starts.includes(child.spec.id) ? { ...child, phase: 'restarting' as const } : child);
  return { ledger: { ...ledger, children, tokenLast: token, delays: [...ledger.delays, delay] }, delay };
}

/** An unbroken readiness has ended: what it was worth is kept. */
export function readinessEnded<Spec extends ChildRules>(ledger: Ledger<Spec>, id: string, now: number, resetAfterMs: number): Ledger<Spec> {
  const child = findChild(ledger.children, id);
  if (!child) return ledger;
  const failures = failuresAt(child, now, resetAfterMs);
  return { ...ledger, children: patchChild(ledger.children, id, { failures, readySince: undefined }) };
}
