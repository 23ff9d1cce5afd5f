/**
 * What a supervisor's machine remembers, hears and does. Data and types only; the steps are in steps.ts, their order in
 * supervisor.ts.
 */
import type { AnyActorRef } from 'xstate';
import type { ExitReason } from '../errors.js';
import type { ChildPhase, ChildStatus, LastExit } from '../policy/children.js';
import type { Call, CallResult, Job, Ledger, Message } from '../policy/supervise.js';
import type { ChildEvent, ChildIdentity, ChildOrder, ChildSpec, SupervisionEnvironment } from './child.js';
import type { Deadline } from '../policy/deadline.js';
import type { RestartLimits, SupervisorSettings } from './options.js';
import type { SupervisorReport } from './reports.js';

export type Reply = (result: CallResult) => void;

export interface Waiting {
  readonly message: Message<ChildSpec>;
  readonly reply?: Reply | undefined;
}

/** The job being done. `waiting`: the children whose start it has to see the outcome of before it goes on. */
export interface RunningJob extends Omit<Job, 'cause'> {
  readonly cause: Job['cause'] | 'boot' | 'shutdown';
  readonly waiting: readonly string[];
  readonly reply?: Reply | undefined;
}

/** A start without outcome. `late`: it was killed for its time-out. */
export interface PendingStart {
  readonly cause: Job['cause'] | 'boot';
  readonly reply?: Reply | undefined;
  readonly late: boolean;
}

export interface SupervisorEnd {
  readonly reason: ExitReason;
  /** `ordered`, `budget_exhausted`, `auto_shutdown`, `failed_to_start_child`, `bad_combination`, `duplicate_child`, or a kill's text. */
  readonly detail: string;
  /** Set when the supervisor never came up: the children whose start failed, from its own child inwards. */
  readonly failedPath?: readonly string[];
}

export interface SupervisorContext {
  readonly identity: ChildIdentity;
  readonly settings: SupervisorSettings;
  readonly environment: SupervisionEnvironment;
  readonly ledger: Ledger<ChildSpec>;
  /** Messages not handled yet, oldest first. */
  readonly inbox: readonly Waiting[];
  /** Messages handled since the event loop last had a turn. */
  readonly handled: number;
  readonly job: RunningJob | undefined;
  readonly starting: Readonly<Record<string, PendingStart>>;
  /** Actors of living incarnations, by child id. */
  readonly refs: Readonly<Record<string, AnyActorRef>>;
  /** Start slots held or waited for, by child key. Changed in place by the effect that acquires them. */
  readonly slots: Map<string, () => void>;
  readonly up: boolean;
  readonly killed: boolean;
  readonly killGraceMs: number;
  readonly end: SupervisorEnd | undefined;
}

export interface ChildView {
  readonly id: string;
  readonly type: 'worker' | 'supervisor';
  readonly phase: ChildPhase;
  readonly status: ChildStatus;
  readonly ready: boolean;
  readonly incarnation: number;
  readonly restarts: number;
  readonly failures: number;
  /** While a backoff runs for it. */
  readonly nextStartInMs: number | undefined;
  readonly lastExit: LastExit | undefined;
}

export interface SupervisorView {
  readonly id: string;
  readonly incarnation: number;
  readonly up: boolean;
  readonly end: SupervisorEnd | undefined;
  /** Restarts in the present window. */
  readonly inWindow: number;
  readonly children: readonly ChildView[];
}

export type SupervisorCall = Call<ChildSpec> & { readonly reply: Reply };

/** A child has used up its time. */
export type DeadlineEvent = { readonly type: 'timer.killDue' | 'timer.graceOver' | 'timer.startLate'; readonly deadline: Deadline } & ChildIdentity;

type TimerEvent =
  | DeadlineEvent
  | { readonly type: 'timer.delayOver'; readonly trigger: string; readonly token: number }
  | { readonly type: 'timer.stopOverdue' };

/** A child's logic threw (`failure` says what), or came to its end. */
export type ActorEnded = { readonly type: 'actor.ended'; readonly failure: string | undefined } & ChildIdentity;

export type SupervisorEvent =
  | ChildEvent
  | ChildOrder
  | SupervisorCall
  | { readonly type: 'inspect'; readonly reply: (view: SupervisorView) => void }
  | { readonly type: 'reconfigure'; readonly limits: RestartLimits }
  | ({ readonly type: 'gate.granted' } & ChildIdentity)
  | TimerEvent
  | ActorEnded;

/** What a step wants done; carried out in this order after the step. */
export type Effect =
  | { readonly do: 'spawn'; readonly spec: ChildSpec; readonly identity: ChildIdentity }
  | { readonly do: 'dismiss'; readonly ref: AnyActorRef }
  | { readonly do: 'order'; readonly ref: AnyActorRef; readonly order: ChildOrder }
  | { readonly do: 'tellParent'; readonly event: ChildEvent }
  | { readonly do: 'arm'; readonly timer: string; readonly delayMs: number; readonly event: TimerEvent }
  | { readonly do: 'disarm'; readonly timer: string }
  | { readonly do: 'acquireSlot'; readonly identity: ChildIdentity }
  | { readonly do: 'releaseSlot'; readonly key: string }
  | { readonly do: 'reply'; readonly reply: Reply; readonly result: CallResult }
  | { readonly do: 'show'; readonly reply: (view: SupervisorView) => void; readonly view: SupervisorView }
  | { readonly do: 'report'; readonly report: SupervisorReport };

/** A step's working copy of the context. Steps change it and add effects; nothing is done before they return. */
export type Draft = { -readonly [Field in keyof SupervisorContext]: SupervisorContext[Field] } & { effects: Effect[] };

/** Name of an incarnation, for its timers and its start slot. */
export function keyOf({ id, incarnation }: ChildIdentity): string {
  return `${id}#${incarnation}`;
}

/**
 * Name for the actor of the next incarnation: the first that no other has now. XState remembers every type of event a
 * machine has ever seen for as long as the process lives, and an actor's name is part of some; names that grew with the
 * incarnations, or with the ids of children that come and go, would be a leak.
 */
export function freeActorName(...taken: readonly Readonly<Record<string, AnyActorRef>>[]): string {
  const names = new Set(taken.flatMap((refs) => Object.values(refs).map(({ id }) => id)));
  let number = 0;
  while (names.has(`child-${number}`)) number++;
  return `child-${number}`;
}
