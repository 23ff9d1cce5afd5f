/**
 * What a supervisor and its children say to each other. Any xstate logic that speaks this can be a child: a machine, a
 * callback, a supervisor; `worker()` makes one of a plain async function.
 *
 * Life of one incarnation: it is spawned with a ChildInput, says `child.started` (or startFailed, or ignored) once,
 * then any number of ready/unready, then `child.exited` once. A child that throws, or ends without a word, is understood
 * as crashed, or as ended normally. Events of an earlier incarnation are dropped by their number.
 */
import type { ActorRef, AnyActorLogic, AnyEventObject, Snapshot } from 'xstate';
import { fromCallback } from 'xstate';
import type { ExitReason } from '../errors.js';
import type { ChildRules } from '../policy/restart.js';
import type { Clock, Random } from '../ports.js';
import type { StartGate } from './start-gate.js';
import type { SupervisorReport } from './reports.js';

/** What every supervisor needs and hands down to the supervisors below it. */
export interface SupervisionEnvironment {
  readonly clock: Clock;
  readonly random: Pick<Random, 'next'>;
  /** Host-wide limit of starts in progress; without it there is none. */
  readonly startGate?: StartGate | undefined;
  /** Every transition an operator wants to see. What it throws is dropped: a listener must not end a supervisor. */
  readonly onReport?: ((report: SupervisorReport) => void) | undefined;
}

export interface ChildIdentity {
  readonly id: string;
  /** 1 for the first start of this id. */
  readonly incarnation: number;
}

/** Input of a child's logic; whatever `start.input` returns is beside these (and cannot replace them). */
export interface ChildInput extends ChildIdentity {
  /** For logic that cannot use xstate's sendParent or sendBack. */
  readonly parent: ActorRef<Snapshot<unknown>, ChildEvent>;
  readonly environment: SupervisionEnvironment;
}

export interface ChildSpec extends ChildRules {
  readonly start: {
    readonly logic: AnyActorLogic;
    /** Called at each start. A throw is a failed start. */
    readonly input?: (child: ChildInput) => object;
  };
}

/** Child to supervisor. */
export type ChildEvent =
  | ({ readonly type: 'child.started' | 'child.ignored' | 'child.ready' | 'child.unready' } & ChildIdentity)
  | ({
      readonly type: 'child.startFailed'; readonly reason: ExitReason; readonly detail: string;
      /** From this child's failed child down to the innermost failed start. */
      readonly path?: readonly string[];
    } & ChildIdentity)
  | ({
      readonly type: 'child.exited'; readonly reason: ExitReason; readonly detail: string;
      /** False: this death is charged elsewhere, it counts neither for the budget nor for the backoff. */
      readonly charge?: boolean;
      /** For the crash report: memory, requests that were on it. */
      readonly facts?: Readonly<Record<string, unknown>>;
    } & ChildIdentity);

/** Supervisor to child. `budgetMs` is Infinity for shutdown `infinity`. */
export type ChildOrder =
  | { readonly type: 'stop'; readonly budgetMs: number }
  | { readonly type: 'kill'; readonly reason: ExitReason; readonly detail: string; readonly graceMs: number };

export interface WorkerContext<Input extends object = object> extends ChildIdentity {
  /** Aborts when the supervisor wants the worker to end; `signal.reason` is the ChildOrder. */
  readonly signal: AbortSignal;
  /** The start succeeded and the worker is ready. Further calls do nothing until `unready`. */
  readonly ready: () => void;
  /** Readiness is lost, for the reset of the backoff; `ready()` regains it. */
  readonly unready: () => void;
  readonly input: Input;
}

/**
 * A child made of an async function. Its start succeeds when it calls `ready()`: until then the next sibling waits, as
 * after proc_lib in OTP, and a throw is a failed start. Its end is an exit: `normal` when it returns by itself,
 * `shutdown` when it returns (or throws the signal's reason, or an AbortError) after a stop, `crashed` when it throws.
 * On `kill` the supervisor is told at once, whatever the function does: JavaScript cannot end it from outside.
 */
export function worker<Input extends object = object>(run: (context: WorkerContext<Input>) => Promise<void>): AnyActorLogic {
  return fromCallback<AnyEventObject, ChildInput & Input>(({ input, sendBack, receive }) => {
    const { id, incarnation } = input;
    const abort = new AbortController();
    let started = false;
    let readyNow = false;
    let over = false;
    const tell = (event: ChildEvent): void => { if (!over) sendBack(event); };
    const exit = (reason: ExitReason, detail: string): void => {
      if (started) tell({ type: 'child.exited', id, incarnation, reason, detail });
      else tell({ type: 'child.startFailed', id, incarnation, reason, detail });
      over = true;
    };
    const ready = (): void => {
      if (!started) tell({ type: 'child.started', id, incarnation });
      if (!readyNow) tell({ type: 'child.ready', id, incarnation });
      started = readyNow = true;
    };
    const unready = (): void => {
      if (readyNow) tell({ type: 'child.unready', id, incarnation });
      readyNow = false;
    };
    receive((order) => {
      if (!abort.signal.aborted) abort.abort(order);
      if (order.type === 'kill') exit('killed', 'killed');
    });
    // The call sits inside the promise chain so that a synchronous throw takes the same way as a rejection. Without a
    // chain an async throw inside fromCallback would be an uncaught exception of the whole process.
    Promise.resolve()
      .then(() => run({ id, incarnation, signal: abort.signal, ready, unready, input }))
      .then(
        () => {
          if (!started) ready();
          exit(abort.signal.aborted ? 'shutdown' : 'normal', 'returned');
        },
        (error: unknown) => {
          if (abort.signal.aborted && isAbort(error, abort.signal)) exit('shutdown', 'aborted');
          else exit('crashed', describe(error));
        },
      );
    return () => {
      over = true;
      if (!abort.signal.aborted) abort.abort({ type: 'stop', budgetMs: 0 });
    };
  });
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}

/** Any thrown value as text for people. */
export function describe(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  try {
    return String(error);
  } catch {
    return 'an error that cannot be shown';
  }
}
