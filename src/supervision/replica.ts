/**
 * The life of one replica, from opening its lane to the lane's exit. One machine per incarnation: a restart is the
 * supervisor starting a new one.
 *
 *     opening -> queued -> loading -> proving -> ready <-> suspect        (draining and ending from anywhere)
 *
 * Assumes that the lane reports its exit exactly once; the machine ends on that report and on nothing else, so that a
 * replica is never replaced while its process or thread still runs. Decides nothing about restarts: that is the
 * supervisor's.
 */
import { assign, cancel, raise, sendParent, sendTo, setup, type AnyEventObject } from 'xstate';
import type { ExitReason } from '../errors.js';
import type { LaneExit } from '../ports.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';
import { laneActor, type LaneCommand, type LaneReport } from './replica-lane.js';
import type { ProofKind, ReplicaInput, ReplicaLifePhase } from './replica-ports.js';

export { pingDefaults } from './replica-ports.js';
export type * from './replica-ports.js';

/** From the supervisor: stop, kill. From the data path, through host/: doubt, slow, recovered. */
type Command =
  | { type: 'stop'; budgetMs: number }
  | { type: 'kill'; reason: ExitReason; detail: string }
  | { type: 'doubt' }
  | { type: 'slow'; detail: string }
  | { type: 'recovered' };

interface ReplicaContext extends ReplicaInput {
  readonly pid: number;
  readonly threadId: number;
  readonly proof: ProofKind | undefined;
  readonly reason: string;
  /** Why this machine ends the lane, when it does; overrules what the lane's exit looks like. */
  readonly verdict: LaneExit | undefined;
  /** Until when it must be ready for the first time. */
  readonly startDeadline: Deadline;
}

const machine = setup({
  types: {
    input: {} as ReplicaInput,
    context: {} as ReplicaContext,
    events: {} as LaneReport | Command | AnyEventObject,
  },
  actors: { lane: laneActor },
  guards: { timerWasLate: ({ context }) => extendIfLate(context.startDeadline, context.effects.clock.now()) !== undefined },
  actions: {
    show: ({ context }, params: { phase: ReplicaLifePhase }) => {
      const { id, incarnation, pid, threadId, reason, proof } = context;
      context.effects.changed({ id, incarnation, phase: params.phase, reason, pid, threadId, ...(proof && { proof }) });
    },
    because: assign({ reason: (_, params: { reason: string }) => params.reason }),
    /** Ends the lane for a reason of this machine's own. */
    condemn: assign({ verdict: (_, verdict: LaneExit) => verdict }),
    extendStart: assign(({ context }) => ({ startDeadline: extendIfLate(context.startDeadline, context.effects.clock.now()) ?? context.startDeadline })),
    armStart: raise({ type: 'startOver' }, { id: 'startOver', delay: ({ context }) => context.startDeadline.delayMs }),
    disarmStart: cancel('startOver'),
    order: sendTo('lane', (_, order: LaneCommand) => order),
    reportStarted: sendParent(({ context }) => ({ type: 'child.started', id: context.id, incarnation: context.incarnation })),
    reportReady: sendParent(({ context }) => ({ type: 'child.ready', id: context.id, incarnation: context.incarnation })),
    reportUnready: sendParent(({ context }) => ({ type: 'child.unready', id: context.id, incarnation: context.incarnation })),
    reportExit: sendParent(({ context }, end: { exit: LaneExit; charge: boolean }) => ({
      type: 'child.exited', id: context.id, incarnation: context.incarnation, ...(context.verdict ?? end.exit), charge: end.charge,
    })),
  },
});

/** `event` narrowed; the machine below only reads fields of the event its transition is for. */
const of = <T extends LaneReport['type'] | Command['type']>(event: AnyEventObject): Extract<LaneReport | Command, { type: T }> =>
  event as unknown as Extract<LaneReport | Command, { type: T }>;

export const replicaMachine = machine.createMachine({
  id: 'replica',
  context: ({ input }) => ({ ...input, pid: 0, threadId: 0, proof: undefined, reason: 'starting', verdict: undefined, startDeadline: startDeadline(input.limits.startTimeoutMs, input.effects.clock.now()) }),
  invoke: { src: 'lane', id: 'lane', input: ({ context }) => context },
  initial: 'starting',
  on: {
    'lane.exited': { target: '.ended', actions: { type: 'reportExit', params: ({ event }) => of<'lane.exited'>(event) } },
    stop: {
      target: '.draining',
      actions: [
        { type: 'because', params: { reason: 'asked to stop' } },
        { type: 'order', params: { type: 'lane.unroute' } },
        { type: 'order', params: ({ event }) => ({ type: 'lane.stop', budgetMs: of<'stop'>(event).budgetMs }) },
      ],
    },
    kill: {
      target: '.ending',
      actions: [
        { type: 'condemn', params: ({ event }) => ({ reason: of<'kill'>(event).reason, detail: of<'kill'>(event).detail }) },
      ],
    },
  },
  states: {
    /** Not routed; bounded by startTimeoutMs as a whole. */
    starting: {
      initial: 'opening',
      entry: 'armStart',
      exit: 'disarmStart',
      on: {
        startOver: [{ guard: 'timerWasLate', actions: ['extendStart', 'armStart'] }, {
          target: 'ending',
          actions: { type: 'condemn', params: ({ context }) => ({ reason: 'load-failed' as const, detail: `not ready within startTimeoutMs (${context.limits.startTimeoutMs})` }) },
        }],
      },
      states: {
        /** The process or thread is being made. Its turn to load may come first. */
        opening: {
          entry: { type: 'show', params: { phase: 'loading' } },
          on: {
            'lane.turn': 'openingWithTurn',
            'lane.spawned': { target: 'queued', actions: [assign({ pid: ({ event }) => of<'lane.spawned'>(event).pid }), 'reportStarted'] },
          },
        },
        openingWithTurn: {
          on: { 'lane.spawned': { target: 'loading', actions: [assign({ pid: ({ event }) => of<'lane.spawned'>(event).pid }), 'reportStarted'] } },
        },
        /** Waits until fewer than startsParallelMax others load. */
        queued: {
          entry: [assign({ reason: 'waits for its turn to load' }), { type: 'show', params: { phase: 'loading' } }],
          on: { 'lane.turn': 'loading' },
        },
        loading: {
          entry: [assign({ reason: 'loading' }), { type: 'show', params: { phase: 'loading' } }, { type: 'order', params: { type: 'lane.load' } }],
          on: {
            'lane.loaded': { target: 'proving', actions: assign({ threadId: ({ event }) => of<'lane.loaded'>(event).threadId }) },
            'lane.loadFailed': {
              target: '#replica.ending',
              actions: { type: 'condemn', params: ({ event }) => ({ reason: 'load-failed' as const, detail: of<'lane.loadFailed'>(event).detail }) },
            },
          },
        },
        /** Answers its golden input; no caller's request reaches it yet. */
        proving: {
          entry: [assign({ reason: 'proving' }), { type: 'show', params: { phase: 'proving' } }, { type: 'order', params: { type: 'lane.prove' } }],
          on: {
            'lane.proved': { target: '#replica.ready', actions: assign({ proof: ({ event }) => of<'lane.proved'>(event).proof }) },
            'lane.unproven': {
              target: '#replica.ending',
              actions: { type: 'condemn', params: ({ event }) => ({ reason: 'unproven' as const, detail: of<'lane.unproven'>(event).detail }) },
            },
          },
        },
      },
    },
    ready: {
      initial: 'answering',
      entry: [{ type: 'order', params: { type: 'lane.route' } }, 'reportReady'],
      exit: 'reportUnready',
      on: {
        doubt: { actions: { type: 'order', params: { type: 'lane.doubt' } } },
        'lane.hung': { target: 'ending', actions: { type: 'condemn', params: ({ event }) => ({ reason: 'hung' as const, detail: of<'lane.hung'>(event).detail }) } },
      },
      states: {
        answering: {
          entry: [{ type: 'because', params: { reason: 'proven' } }, { type: 'show', params: { phase: 'ready' } }],
          on: {
            'lane.silent': {
              target: 'suspect',
              actions: { type: 'because', params: ({ event }) => ({ reason: `silent for ${Math.round(of<'lane.silent'>(event).silentMs)} ms` }) },
            },
            'lane.stale': {
              target: 'suspect',
              actions: { type: 'because', params: ({ event }) => ({ reason: `no success and no proof for ${Math.round(of<'lane.stale'>(event).ageMs)} ms` }) },
            },
            slow: { target: 'suspect', actions: { type: 'because', params: ({ event }) => ({ reason: of<'slow'>(event).detail }) } },
          },
        },
        /** Perhaps frozen: gets no new work, what it has is run elsewhere too. */
        suspect: {
          entry: [
            { type: 'order', params: ({ event }) => ({ type: 'lane.suspect', suspect: true, working: event.type !== 'lane.stale' }) },
            { type: 'show', params: { phase: 'suspect' } },
          ],
          exit: { type: 'order', params: { type: 'lane.suspect', suspect: false } },
          on: { 'lane.answers': 'answering', 'lane.fresh': 'answering', recovered: 'answering' },
        },
      },
    },
    /** Not routed any more; finishes what was posted to it. */
    draining: {
      entry: { type: 'show', params: { phase: 'draining' } },
    },
    /** Condemned; waits for the lane's exit. */
    ending: {
      entry: [
        { type: 'order', params: { type: 'lane.unroute' } },
        { type: 'order', params: ({ context }) => ({ type: 'lane.kill', ...context.verdict! }) },
        { type: 'because', params: ({ context }) => ({ reason: `${context.verdict!.reason}: ${context.verdict!.detail}` }) },
        { type: 'show', params: { phase: 'draining' } },
      ],
    },
    ended: { type: 'final' },
  },
});
