/**
 * The supervisor for people: the root machine behind promises. Expected failures are values, in OTP's words; nothing here
 * rejects. For supervisors below the root use `subtree`, and `callSupervisor` on their refs.
 */
import type { ActorRefFrom, AnyActorRef } from 'xstate';
import { createActor } from 'xstate';
import type { Call, CallResult } from '../policy/supervise.js';
import type { ChildSpec, SupervisionEnvironment } from './child.js';
import type { SupervisorEnd, SupervisorView } from './context.js';
import type { RestartLimits, SupervisorOptions } from './options.js';
import { viewOf } from './steps.js';
import { supervisorMachine } from './supervisor.js';

export type SupervisorRef = ActorRefFrom<typeof supervisorMachine>;

export type StartResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly error: string; readonly failedPath: readonly string[] };

export interface Supervisor extends AsyncDisposable {
  /** The machine's actor. Send it `stop`, calls and `inspect`, or subscribe to its snapshots. */
  readonly ref: SupervisorRef;
  /** Resolves when it has ended, for whatever reason; with `crashed` if its machine broke, which would be a bug. */
  readonly ended: Promise<SupervisorEnd>;
  /** Resolves when all children are up, or with the first failure when everything that was up is stopped again. */
  start(): Promise<StartResult>;
  startChild(spec: ChildSpec): Promise<CallResult>;
  terminateChild(id: string): Promise<CallResult>;
  restartChild(id: string): Promise<CallResult>;
  deleteChild(id: string): Promise<CallResult>;
  /** In turn with the other calls, as in OTP: `children` of the result. To look without waiting use `snapshot`. */
  whichChildren(): Promise<CallResult>;
  countChildren(): Promise<CallResult>;
  /** Now, also while a start, a stop or a delay is pending. */
  readonly snapshot: SupervisorView;
  /** Other restart limits from now on, and an empty window; failures in a row stay counted, below consecutiveMax. What is absent stays. */
  reconfigure(limits: RestartLimits): void;
  /** Orders the stop of everything in reverse; resolves when it has ended. */
  stop(): Promise<SupervisorEnd>;
}

/** The running supervisor at the end of the path of child ids below `ref`; undefined when it is not there now. */
export function findSupervisor(ref: SupervisorRef, ...path: readonly string[]): SupervisorRef | undefined {
  const [id, ...rest] = path;
  if (id === undefined) return ref;
  const child = ref.getSnapshot().context.refs[id];
  return child && isSupervisor(child) ? findSupervisor(child, ...rest) : undefined;
}

function isSupervisor(ref: AnyActorRef): ref is SupervisorRef {
  return (ref.getSnapshot() as { readonly machine?: unknown } | undefined)?.machine === supervisorMachine;
}

/** What a supervisor is about, at once, whatever it is doing. */
export function inspectSupervisor(ref: SupervisorRef): SupervisorView {
  return viewOf(ref.getSnapshot().context);
}

/** A call on any supervisor of a tree. `error: noproc` when it has ended, or ends before the call's turn. */
export function callSupervisor(ref: SupervisorRef, call: Call<ChildSpec>): Promise<CallResult> {
  return new Promise((resolve) => {
    const gone = (): void => resolve({ ok: false, error: 'noproc' });
    // The machine answers every call it has taken; `complete` covers the one that arrives when it is over.
    const subscription = ref.subscribe({ complete: gone, error: gone });
    const reply = (result: CallResult): void => {
      subscription.unsubscribe();
      resolve(result);
    };
    if (ref.getSnapshot().status === 'active') ref.send({ ...call, reply });
    else gone();
  });
}

export function createSupervisor(options: SupervisorOptions & SupervisionEnvironment & { readonly id: string }): Supervisor {
  const { id, clock, random, startGate, onReport, ...own } = options;
  const ref = createActor(supervisorMachine, {
    id,
    clock,
    input: { id, incarnation: 1, options: own, environment: { clock, random, startGate, onReport } },
  });
  const ended = new Promise<SupervisorEnd>((resolve) => {
    ref.subscribe({
      complete: () => resolve(ref.getSnapshot().output ?? { reason: 'shutdown', detail: 'ordered' }),
      error: (error) => resolve({ reason: 'crashed', detail: String(error) }),
    });
  });
  const up = new Promise<void>((resolve) => {
    const subscription = ref.subscribe((snapshot) => {
      if (!snapshot.context.up) return;
      subscription.unsubscribe();
      resolve();
    });
  });
  const failed = ended.then((end): StartResult => ({ ok: false, error: end.detail, failedPath: end.failedPath ?? [] }));
  const call = (message: Call<ChildSpec>): Promise<CallResult> => callSupervisor(ref, message);
  let started = false;
  const stop = async (): Promise<SupervisorEnd> => {
    if (!started) return { reason: 'shutdown', detail: 'ordered' };
    ref.send({ type: 'stop', budgetMs: Infinity });
    return ended;
  };
  return {
    ref,
    ended,
    start: () => {
      started = true;
      ref.start();
      return Promise.race([up.then((): StartResult => ({ ok: true })), failed]);
    },
    startChild: (spec) => call({ type: 'startChild', spec }),
    terminateChild: (childId) => call({ type: 'terminateChild', id: childId }),
    restartChild: (childId) => call({ type: 'restartChild', id: childId }),
    deleteChild: (childId) => call({ type: 'deleteChild', id: childId }),
    whichChildren: () => call({ type: 'whichChildren' }),
    countChildren: () => call({ type: 'countChildren' }),
    reconfigure: (limits) => ref.send({ type: 'reconfigure', limits }),
    get snapshot() { return inspectSupervisor(ref); },
    stop,
    [Symbol.asyncDispose]: async () => { await stop(); },
  };
}
