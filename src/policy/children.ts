/**
 * The table of a supervisor's children, in start order, and the pure operations on it.
 *
 * A child record outlives its incarnations: it is the spec plus what is known of the present and the last one. `phase`
 * is what the supervisor has noticed, `alive` what is true; they differ between a death and the moment its notice is
 * handled, exactly as which_children and count_children of OTP do.
 */
import type { ExitReason } from '../errors.js';
import { failuresAt } from './backoff.js';
import type { ChildRules } from './restart.js';

/**
 * - `starting`: spawned (or waiting for a start slot), no outcome yet.
 * - `running`: its start succeeded.
 * - `stopping`: ordered to stop, not gone yet.
 * - `restarting`: no process; will be started again without anybody asking.
 * - `stopped`: no process; only a call or a group restart starts it again.
 */
export type ChildPhase = 'starting' | 'running' | 'stopping' | 'restarting' | 'stopped';

export interface LastExit {
  readonly reason: ExitReason;
  readonly detail: string;
  readonly incarnation: number;
  /** Monotonic ms. */
  readonly at: number;
}

export interface Child<Spec extends ChildRules> {
  readonly spec: Spec;
  readonly phase: ChildPhase;
  readonly alive: boolean;
  /** Counts the starts of this id, over deletions too; 0 before the first. */
  readonly incarnation: number;
  /** Starts that were restarts. */
  readonly restarts: number;
  /** k of the backoff: failures in a row since the child was last stable. */
  readonly failures: number;
  readonly readySince: number | undefined;
  readonly lastExit: LastExit | undefined;
}

export type Children<Spec extends ChildRules> = readonly Child<Spec>[];

export function newChild<Spec extends ChildRules>(spec: Spec, incarnation = 0): Child<Spec> {
  return {
    spec, phase: 'stopped', alive: false, incarnation, restarts: 0, failures: 0, readySince: undefined, lastExit: undefined,
  };
}

export function findChild<Spec extends ChildRules>(children: Children<Spec>, id: string): Child<Spec> | undefined {
  return children.find((child) => child.spec.id === id);
}

export function patchChild<Spec extends ChildRules>(
  children: Children<Spec>,
  id: string,
  patch: Partial<Omit<Child<Spec>, 'spec'>>,
): Children<Spec> {
  return children.map((child) => (child.spec.id === id ? { ...child, ...patch } : child));
}

export function idsOf<Spec extends ChildRules>(children: Children<Spec>): readonly string[] {
  return children.map((child) => child.spec.id);
}

/** What is left of a child when its process has gone, whatever happens next. */
export function processGone<Spec extends ChildRules>(
  child: Child<Spec>,
  exit: { readonly reason: ExitReason; readonly detail: string },
  now: number,
  resetAfterMs: number,
): Partial<Child<Spec>> {
  return {
    alive: false,
    failures: failuresAt(child, now, resetAfterMs),
    readySince: undefined,
    lastExit: { reason: exit.reason, detail: exit.detail, incarnation: child.incarnation, at: now },
  };
}

/** OTP's words: `undefined` = known, but without a process. */
export type ChildStatus = 'running' | 'restarting' | 'undefined';

export interface ListedChild {
  readonly id: string;
  readonly status: ChildStatus;
  readonly type: 'worker' | 'supervisor';
}

export interface ChildCounts {
  /** Known children. */
  readonly specs: number;
  /** Children with a live process, noticed or not. */
  readonly active: number;
  readonly supervisors: number;
  readonly workers: number;
}

export function statusOf(phase: ChildPhase): ChildStatus {
  if (phase === 'stopped') return 'undefined';
  return phase === 'restarting' ? 'restarting' : 'running';
}

export function listChildren<Spec extends ChildRules>(children: Children<Spec>): readonly ListedChild[] {
  return children.map(({ spec, phase }) => ({ id: spec.id, status: statusOf(phase), type: spec.type }));
}

export function countChildren<Spec extends ChildRules>(children: Children<Spec>): ChildCounts {
  const supervisors = children.filter((child) => child.spec.type === 'supervisor').length;
  return {
    specs: children.length,
    active: children.filter((child) => child.alive).length,
    supervisors,
    workers: children.length - supervisors,
  };
}
