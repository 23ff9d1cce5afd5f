/**
 * The supervisor: one machine, used at every level of every tree; a supervisor is itself a valid child.
 *
 * Decisions come from policy/, steps and their effects from steps.ts and lifecycle.ts; this file is the order in which
 * they happen, and the only place where effects are carried out. Assumes that children speak the protocol of child.ts.
 * It never knows what its children do, and restarts nothing that its budget does not allow.
 *
 * While a start or a stop is pending, messages wait in the inbox as they would in OTP's. Four do not, because a child that
 * hangs must not make its supervisor deaf: `kill`, `inspect` and `reconfigure` never wait, `stop` no longer than a turn of
 * the event loop.
 */
import type { AnyActorLogic, AnyActorRef } from 'xstate';
import { setup } from 'xstate';
import { newLedger } from '../policy/supervise.js';
import type { ChildIdentity, ChildInput, ChildSpec } from './child.js';
import { describe } from './child.js';
import type { ActorEnded, Draft, Effect, SupervisorContext, SupervisorEnd, SupervisorEvent } from './context.js';
import { freeActorName, keyOf } from './context.js';
import * as life from './lifecycle.js';
import type { SupervisorInput, SupervisorOptions } from './options.js';
import { settingsOf } from './options.js';
import * as steps from './steps.js';

/** xstate types spawn for the actors named in setup; a supervisor's children are given at run time. */
type Spawn = (logic: AnyActorLogic, options: { readonly id: string; readonly input: object }) => AnyActorRef;
type Step = (draft: Draft, event: SupervisorEvent) => void;

/** Messages handled in a row before the event loop gets a turn: a child that dies as fast as it starts, with no limit set, starves nobody. */
const messagesInARowMax = 64;

const base = setup({
  types: {
    context: {} as SupervisorContext,
    events: {} as SupervisorEvent,
    input: {} as SupervisorInput,
    output: {} as SupervisorEnd,
    tags: {} as 'busy' | 'up',
  },
});

/** Runs one step on a draft and carries its effects out, in their order. Nothing in here may throw: xstate would orphan the children. */
const act = (step: Step) =>
  base.enqueueActions(({ context, event, enqueue, self }) => {
    const draft: Draft = { ...context, effects: [] };
    step(draft, event);
    const { effects, ...next } = draft;
    enqueue.assign(next);
    for (const effect of effects) {
      switch (effect.do) {
        case 'spawn': {
          const { spec, identity } = effect;
          const prepared = prepare(spec, { ...identity, parent: self, environment: context.environment });
          if ('failure' in prepared) {
            enqueue.raise({ type: 'child.startFailed', ...identity, reason: 'crashed', detail: prepared.failure });
          } else {
            enqueue.assign(({ context: now, spawn }) => {
              const name = freeActorName(context.refs, now.refs);
              const ref = (spawn as unknown as Spawn)(prepared.logic, { id: name, input: prepared.input });
              watchEnd(ref, identity, (ended) => self.send(ended));
              return { refs: { ...now.refs, [spec.id]: ref } };
            });
          }
          break;
        }
        case 'dismiss':
          enqueue.stopChild(effect.ref);
          break;
        case 'order':
          enqueue.sendTo(effect.ref, effect.order);
          break;
        case 'tellParent': {
          const parent = parentOf(self);
          if (parent) enqueue.sendTo(parent, effect.event);
          break;
        }
        case 'arm':
          enqueue.raise(effect.event, { id: effect.timer, delay: effect.delayMs });
          break;
        case 'disarm':
          enqueue.cancel(effect.timer);
          break;
        default:
          enqueue(() => perform(effect, context, (granted) => self.send(granted)));
      }
    }
  });

/**
 * XState names a child that ended by its actor's name, which its successor may have by the time it is heard. So the end
 * is told here with the incarnation in it. An actor that was stopped completes too, and tells nothing.
 */
function watchEnd(ref: AnyActorRef, identity: ChildIdentity, tell: (ended: ActorEnded) => void): void {
  ref.subscribe({
    error: (error) => tell({ type: 'actor.ended', ...identity, failure: describe(error) }),
    complete: () => {
      const { status } = ref.getSnapshot() as { readonly status: string };
      if (status === 'done') tell({ type: 'actor.ended', ...identity, failure: undefined });
    },
  });
}

/** A throw of the start function is a failed start. */
function prepare(spec: ChildSpec, own: ChildInput): { logic: ChildSpec['start']['logic']; input: object } | { failure: string } {
  try {
    const { logic, input } = spec.start;
    if (typeof logic?.getInitialSnapshot !== 'function') return { failure: 'start.logic is not xstate actor logic' };
    return { logic, input: { ...input?.(own), ...own } };
  } catch (error) {
    return { failure: describe(error) };
  }
}

type CallOut = Extract<Effect, { do: 'acquireSlot' | 'releaseSlot' | 'reply' | 'show' | 'report' }>;

/** Calls into code that is not ours. What it throws is dropped, see SupervisionEnvironment.onReport. */
function perform(effect: CallOut, { slots, environment }: SupervisorContext, tellSelf: (event: SupervisorEvent) => void): void {
  try {
    switch (effect.do) {
      case 'acquireSlot': {
        const { identity } = effect;
        const release = environment.startGate?.acquire(() => tellSelf({ type: 'gate.granted', ...identity }));
        if (release) slots.set(keyOf(identity), release);
        break;
      }
      case 'releaseSlot': {
        const release = slots.get(effect.key);
        slots.delete(effect.key);
        release?.();
        break;
      }
      case 'reply':
        effect.reply(effect.result);
        break;
      case 'show':
        effect.reply(effect.view);
        break;
      case 'report':
        environment.onReport?.(effect.report);
        break;
    }
  } catch {
    // Dropped.
  }
}

/** xstate types `_parent` away from public actor refs; sendParent would throw at the root of a system. */
function parentOf(self: object): AnyActorRef | undefined {
  return (self as { readonly _parent?: AnyActorRef })._parent;
}

const noneStopping = ({ ledger }: SupervisorContext): boolean => !ledger.children.some(({ phase }) => phase === 'stopping');
const startsWatched = ({ job, starting }: SupervisorContext): boolean => job?.waiting.some((id) => id in starting) ?? false;
const stopsLeft = ({ job }: SupervisorContext): boolean => (job?.stops.length ?? 0) > 0;
const startsLeft = ({ job }: SupervisorContext): boolean => (job?.starts.length ?? 0) > 0;

const calls = (actions: 'enqueueCall' | 'refuseCall') =>
  ({
    startChild: { actions }, terminateChild: { actions }, restartChild: { actions }, deleteChild: { actions },
    whichChildren: { actions }, countChildren: { actions },
  }) as const;

export const supervisorMachine = base
  .extend({
    actions: {
      actorEnded: act(life.actorEnded),
      announceStarted: act(steps.announceStarted),
      beginBoot: act(steps.beginBoot),
      beginDelay: act(steps.beginDelay),
      beginStop: act(steps.beginStop),
      childExited: act(life.childExited),
      childIgnored: act(life.childIgnored),
      childStarted: act(life.childStarted),
      childStartFailed: act(life.childStartFailed),
      decideNext: act(steps.decideNext),
      enqueueCall: act(steps.enqueueCall),
      enqueueDelayOver: act(steps.enqueueDelayOver),
      enqueueStop: act(steps.enqueueStop),
      finish: act(steps.finish),
      finishJob: act(steps.finishJob),
      hastenStop: act(steps.hastenStop),
      killGraceOver: act(life.killGraceOver),
      noteReadiness: act(steps.noteReadiness),
      reconfigure: act(steps.reconfigure),
      refuseCall: act(steps.refuseCall),
      resetBreath: act((draft) => { draft.handled = 0; }),
      showView: act(steps.showView),
      slotGranted: act(life.slotGranted),
      startNext: act(steps.startNext),
      startTookTooLong: act(life.startTookTooLong),
      stopBudgetOver: act(life.stopBudgetOver),
      stopNext: act(steps.stopNext),
    },
    guards: {
      ending: ({ context }) => context.end !== undefined,
      jobGiven: ({ context }) => context.job !== undefined,
      messageWaiting: ({ context }) => context.inbox.length > 0,
      outOfBreath: ({ context }) => context.handled >= messagesInARowMax,
      backingOff: ({ context }) => context.ledger.delays.length > 0,
      steady: ({ context }) => context.ledger.delays.length === 0,
      canStop: ({ context }) => stopsLeft(context) && (noneStopping(context) || steps.inParallel(context)),
      allStopped: ({ context }) => !stopsLeft(context) && noneStopping(context),
      delayDue: ({ context }) => !stopsLeft(context) && noneStopping(context) && (context.job?.delayMs ?? 0) > 0,
      canStart: ({ context }) => startsLeft(context) && !startsWatched(context),
      allStarted: ({ context }) => !startsLeft(context) && !startsWatched(context),
    },
    delays: { aTurn: 0 },
  })
  .createMachine({
    id: 'supervisor',
    initial: 'starting',
    // A wrong step must not spin for ever; right ones need a few microsteps per message and child.
    options: { maxIterations: 1_000_000 },
    context: ({ input }) => {
      const settings = settingsOf(input.options);
      return {
        identity: { id: input.id, incarnation: input.incarnation },
        settings,
        environment: input.environment,
        ledger: newLedger(settings.children),
        inbox: [],
        handled: 0,
        job: undefined,
        starting: {},
        refs: {},
        slots: new Map(),
        up: false,
        killed: false,
        killGraceMs: settings.killGraceMs,
        end: undefined,
      };
    },
    // Whatever the state: a child's word is noted at once, what follows from it waits in the inbox.
    on: {
      'child.started': { actions: 'childStarted' },
      'child.startFailed': { actions: 'childStartFailed' },
      'child.ignored': { actions: 'childIgnored' },
      'child.ready': { actions: 'noteReadiness' },
      'child.unready': { actions: 'noteReadiness' },
      'child.exited': { actions: 'childExited' },
      'actor.ended': { actions: 'actorEnded' },
      // Told by `actor.ended` already; a machine that does not take its child's error breaks with it.
      'xstate.error.actor.*': {},
      'gate.granted': { actions: 'slotGranted' },
      'timer.startLate': { actions: 'startTookTooLong' },
      'timer.killDue': { actions: 'stopBudgetOver' },
      'timer.graceOver': { actions: 'killGraceOver' },
      'timer.delayOver': { actions: 'enqueueDelayOver' },
      inspect: { actions: 'showView' },
      reconfigure: { actions: 'reconfigure' },
      stop: { actions: 'enqueueStop' },
      'timer.stopOverdue': { target: '.stopping' },
      kill: { target: '.stopping' },
      ...calls('enqueueCall'),
    },
    states: {
      /** The first start of the children, in order. */
      starting: {
        tags: ['busy'],
        entry: 'beginBoot',
        always: [
          { guard: 'ending', target: 'stopping' },
          { guard: 'canStart', actions: 'startNext' },
          { guard: 'allStarted', actions: 'announceStarted', target: 'running' },
        ],
      },
      /** Up, and nothing pending but delays: the next message can be handled. */
      running: {
        tags: ['up'],
        initial: 'steady',
        always: [
          { guard: 'outOfBreath', target: 'breathing' },
          { guard: 'messageWaiting', target: 'deciding' },
        ],
        states: {
          steady: { always: { guard: 'backingOff', target: 'backingOff' } },
          /** Children wait out their delays, as `restarting`. */
          backingOff: { always: { guard: 'steady', target: 'steady' } },
        },
      },
      /** One message, and what follows from it. Left at once. */
      deciding: {
        tags: ['up', 'busy'],
        entry: 'decideNext',
        always: [
          { guard: 'ending', target: 'stopping' },
          { guard: 'jobGiven', target: 'changing' },
          { target: 'running' },
        ],
      },
      /** A restart or a call changes which children run: first the stops, then the delay or the starts. */
      changing: {
        tags: ['up', 'busy'],
        initial: 'clearing',
        states: {
          clearing: {
            always: [
              { guard: 'canStop', actions: 'stopNext' },
              { guard: 'delayDue', actions: 'beginDelay', target: '#supervisor.running' },
              { guard: 'allStopped', target: 'launching' },
            ],
          },
          launching: {
            always: [
              { guard: 'canStart', actions: 'startNext' },
              { guard: 'allStarted', actions: 'finishJob', target: '#supervisor.running' },
            ],
          },
        },
      },
      /** Lets the event loop turn once. */
      breathing: {
        tags: ['up'],
        entry: 'resetBreath',
        after: { aTurn: 'running' },
      },
      /** Ordered, given up, or never come up: the children stop in reverse, then it ends. */
      stopping: {
        tags: ['busy'],
        entry: 'beginStop',
        on: {
          stop: {},
          'timer.stopOverdue': {},
          kill: { actions: 'hastenStop' },
          ...calls('refuseCall'),
        },
        always: [
          { guard: 'canStop', actions: 'stopNext' },
          { guard: 'allStopped', target: 'done' },
        ],
      },
      done: { type: 'final', entry: 'finish' },
    },
    output: ({ context }) => context.end ?? { reason: 'shutdown', detail: 'ordered' },
  });

/** A supervisor as the child of another. Its shutdown is `infinity` by default, as its own children have their budgets. */
export function subtree(
  spec: { readonly id: string; readonly options: SupervisorOptions } & Partial<Pick<ChildSpec, 'restart' | 'significant' | 'shutdown'>>,
): ChildSpec {
  const { id, options, restart = 'permanent', significant = false, shutdown = 'infinity' } = spec;
  return { id, restart, significant, shutdown, type: 'supervisor', start: { logic: supervisorMachine, input: () => ({ options }) } };
}
