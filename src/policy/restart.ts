/**
 * The rules of OTP's `supervisor` as small pure functions: what an exit means, whom it takes along, when it is too much.
 *
 * Assumes monotonic milliseconds for every `now`. Knows nothing of processes, timers or order of messages: supervise.ts
 * puts these rules together, the machine in supervision/ executes them. Backoff is in backoff.ts, because the budget
 * belongs to the supervisor and the backoff to the child.
 */
import type { ExitReason } from '../errors.js';

/** `permanent`: always restarted. `transient`: only after an unclean end. `temporary`: never. */
export type RestartType = 'permanent' | 'transient' | 'temporary';
export type Strategy = 'one_for_one' | 'one_for_all' | 'rest_for_one';
export type AutoShutdown = 'never' | 'any_significant' | 'all_significant';
/** Milliseconds granted for an ordered stop; `brutal_kill`: none; `infinity`: as long as it takes. */
export type Shutdown = number | 'brutal_kill' | 'infinity';

/** What a supervisor has to know of a child to decide about it; how it is started is no business of a policy. */
export interface ChildRules {
  readonly id: string;
  readonly restart: RestartType;
  readonly significant: boolean;
  readonly shutdown: Shutdown;
  readonly type: 'worker' | 'supervisor';
}

/** `keep`: the spec stays, not running. `remove`: the spec goes as well. */
export type ExitVerdict = 'restart' | 'keep' | 'remove';

export function isCleanExit(reason: ExitReason): boolean {
  return reason === 'normal' || reason === 'shutdown';
}

/** The exit decision table (docs/supervision.md). */
export function decideExit(restart: RestartType, reason: ExitReason): ExitVerdict {
  switch (restart) {
    case 'permanent':
      return 'restart';
    case 'transient':
      return isCleanExit(reason) ? 'keep' : 'restart';
    case 'temporary':
      return 'remove';
  }
}

/**
 * The members of a restart, in start order: who is started again when `failedId` fails. All of them but the failed one
 * are stopped first, in reverse.
 */
export function restartGroup(strategy: Strategy, idsInStartOrder: readonly string[], failedId: string): readonly string[] {
  const position = idsInStartOrder.indexOf(failedId);
  if (position < 0) return [];
  switch (strategy) {
    case 'one_for_one':
      return [failedId];
    case 'rest_for_one':
      return idsInStartOrder.slice(position);
    case 'one_for_all':
      return idsInStartOrder;
  }
}

/**
 * Whether the end of `ended` by itself ends its supervisor too. `othersUp`: the remaining children that have, or are
 * about to have, a process.
 */
export function autoShutdownDue(
  rule: AutoShutdown,
  ended: Pick<ChildRules, 'significant'>,
  othersUp: readonly Pick<ChildRules, 'significant'>[],
): boolean {
  if (rule === 'never' || !ended.significant) return false;
  return rule === 'any_significant' || !othersUp.some((other) => other.significant);
}

export type SpecFault = 'bad_combination' | 'duplicate_child';

/** A significant child makes sense only where somebody looks (autoShutdown) and where its end is not undone (permanent). */
export function specFault(rules: ChildRules, autoShutdown: AutoShutdown): SpecFault | undefined {
  return rules.significant && (autoShutdown === 'never' || rules.restart === 'permanent') ? 'bad_combination' : undefined;
}

/** The first fault of a list of children, in list order, as OTP finds it. */
export function firstSpecFault(children: readonly ChildRules[], autoShutdown: AutoShutdown): SpecFault | undefined {
  const seen = new Set<string>();
  for (const child of children) {
    const fault = specFault(child, autoShutdown);
    if (fault) return fault;
    if (seen.has(child.id)) return 'duplicate_child';
    seen.add(child.id);
  }
  return undefined;
}

// ------------------------------------------------------------------------------------------------------------- budget

export interface BudgetLimits {
  /** Restarts tolerated within the period; one more and the supervisor gives up. Infinity: no limit. */
  readonly intensity: number;
  readonly periodMs: number;
}

/** Restarts authorised within the last period, oldest first. */
export interface RestartWindow {
  readonly authorisedAt: readonly number[];
}

export const emptyWindow: RestartWindow = { authorisedAt: [] };

export interface Charge {
  readonly window: RestartWindow;
  readonly exceeded: boolean;
  /** Restarts counted in the window, this one included. Always 0 when the intensity is Infinity. */
  readonly inWindow: number;
}

/**
 * Counts one restart at the moment it is authorised. The bound is inclusive: a restart exactly `periodMs` old counts.
 * `coalesceMs` > 0: this restart is covered by one counted at most that long ago. The span is anchored at the counted
 * one, so a steady stream of exits is still counted once per span.
 */
export function chargeRestart(window: RestartWindow, limits: BudgetLimits, now: number, coalesceMs = 0): Charge {
  if (limits.intensity === Infinity) return { window, exceeded: false, inWindow: 0 };
  const recent = window.authorisedAt.filter((at) => at >= now - limits.periodMs);
  const newest = recent.at(-1);
  const covered = coalesceMs > 0 && newest !== undefined && now - newest <= coalesceMs;
  const authorisedAt = covered ? recent : [...recent, now];
  return { window: { authorisedAt }, exceeded: authorisedAt.length > limits.intensity, inWindow: authorisedAt.length };
}
