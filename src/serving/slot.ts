/**
 * What the data path knows of one routed lane: the runs posted to it, in order, and whether it may get more.
 *
 * A lane works its runs off in the order they were posted, `concurrency` at once, so the first `concurrency` entries
 * are running and the rest are posted ahead. No start notices cross the border for that.
 */
import { noResults, type Results } from '../policy/ejection.js';
import type { Clock } from '../ports.js';
import type { NamedTensor } from '../tensor/datatype.js';
import type { Route } from './routes.js';
import type { Ticket } from './ticket.js';

export type SlotMode =
  /** Takes work. */
  | 'open'
  /** Set aside for a suspect request: takes nothing, a solo run starts when it is empty. */
  | 'reserved'
  /** A suspect request runs alone. */
  | 'solo'
  /** Perhaps frozen: takes nothing until it answers. */
  | 'suspect'
  /** Drains. */
  | 'closed';

export interface Run {
  readonly id: number;
  readonly ticket: Ticket;
  readonly solo: boolean;
  /** When it became one of the running ones; undefined while posted ahead. */
  startedAtMs: number | undefined;
  /** Nested calls under way; while there are any, and nothing else, the hang clock stands still. */
  nestedPending: number;
  nestedSinceMs: number;
  /** Time spent waiting for nested calls. */
  pausedMs: number;
  /** Its ticket's, kept here because a ticket that ended lets them go. */
  readonly inputs: readonly NamedTensor[];
  /** Suspected once already. */
  late: boolean;
  /** Ended by regrow for running longer than hangMs. */
  hung: boolean;
}

export class Slot {
  readonly runs: Run[] = [];
  mode: SlotMode = 'open';
  results: Results = noResults;
  /** Monotonic ms; 0 = not yet. */
  lastAnswerMs = 0;
  /** Its last proof failed: it takes work only while nothing better serves. Apart from the mode, which answers change. */
  unproven = false;
  /** Its answer was refused: until then it gives way to its siblings. Monotonic ms, 0 = no doubt. */
  doubtedUntilMs = 0;
  /** Doubt was reported since it was last proven. */
  doubtTold = false;
  /** Reserved for the second copy of a late run, perhaps as the last lane. */
  forLate = false;

  constructor(readonly route: Route) {}

  /** Whether a run posted now would start at once. */
  get idle(): boolean {
    return this.mode === 'open' && this.runs.length < this.route.concurrency;
  }

  /** Takes work, and its answers are believed. */
  get serves(): boolean {
    return this.mode === 'open' && !this.unproven;
  }

  /** Whether an idempotent run may be posted behind the running ones, `ahead` of them at most. */
  roomAhead(ahead: number): boolean {
    return this.mode === 'open' && this.runs.length < this.route.concurrency + ahead;
  }

  add(run: Run, nowMs: number): void {
    this.runs.push(run);
    if (this.runs.length <= this.route.concurrency) run.startedAtMs = nowMs;
  }

  /** The run was answered; the next one posted ahead, if any, starts. */
  remove(run: Run, nowMs: number): void {
    const index = this.runs.indexOf(run);
    if (index < 0) return;
    this.runs.splice(index, 1);
    const started = this.runs[this.route.concurrency - 1];
    if (started && started.startedAtMs === undefined) started.startedAtMs = nowMs;
  }

  wasRunning(run: Run): boolean {
    return run.startedAtMs !== undefined;
  }
}

/** How long the run has been computing, without the time it waited for nested calls. */
export function runningMs(run: Run, nowMs: number): number {
  if (run.startedAtMs === undefined) return 0;
  const waiting = run.nestedPending > 0 ? Math.max(0, nowMs - run.nestedSinceMs) : 0;
  return nowMs - run.startedAtMs - run.pausedMs - waiting;
}

/** Stops the hang clock of the run while `pending` is under way. */
export async function whileNested<T>(run: Run, clock: Pick<Clock, 'now'>, pending: Promise<T>): Promise<T> {
  if (run.nestedPending++ === 0) run.nestedSinceMs = clock.now();
  try {
    return await pending;
  } finally {
    if (--run.nestedPending === 0) run.pausedMs += clock.now() - run.nestedSinceMs;
  }
}
