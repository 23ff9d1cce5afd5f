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
import { assign, cancel, fromCallback, raise, sendParent, sendTo, setup, type AnyEventObject } from 'xstate';
import type { ExitReason } from '../errors.js';
import type { Clock, Lane, LaneExit, LaneFactory, LaneOrder, LoadReply, TimerHandle } from '../ports.js';
import { extendIfLate, startDeadline, type Deadline } from '../policy/deadline.js';

export type ProofKind = 'golden' | 'recorded' | 'loaded-only';
export type ProofResult =
  | { readonly ok: true; readonly proof: ProofKind }
  | { readonly ok: false; readonly detail: string };

/** What an operator sees; `failed` and `backoff` are the supervisor's words, not this machine's. */
export type ReplicaLifePhase = 'loading' | 'proving' | 'ready' | 'suspect' | 'draining';

export interface ReplicaView {
  readonly id: string;
  readonly incarnation: number;
  readonly phase: ReplicaLifePhase;
  readonly reason: string;
  readonly pid: number;
  readonly threadId: number;
  readonly proof?: ProofKind;
}

/** Everything a replica does to the world. None of these may throw. */
export interface ReplicaEffects {
  readonly clock: Clock;
  readonly lanes: LaneFactory;
  order(id: string, incarnation: number): LaneOrder;
  /** A known question, answered right. */
  prove(lane: Lane, loaded: LoadReply & { ok: true }): Promise<ProofResult>;
  /** Resolves when this replica may load (`startsParallelMax`); the function it gives back ends its turn. */
  startTurn(): Promise<() => void>;
  /** The route table. */
  routed(id: string, incarnation: number, lane: Lane, loaded: LoadReply & { ok: true }): void;
  unrouted(id: string): void;
  suspected(id: string, suspect: boolean): void;
  /** A replica that serves answered its golden input again, or no longer right. */
  provedAgain(id: string, result: ProofResult): void;
  /** Time until an idle replica proves itself again, in ms; asked after each proof, which took `proofMs`. */
  proveAfterMs(proofMs: number): number;
  /** Last answer to a caller, monotonic ms, and whether an unsuspected run is on it. */
  vitals(id: string): { readonly lastAnswerMs: number; readonly busy: boolean } | undefined;
  /** Asked when the lane ended: whether the death counts against the pool's restart budget. */
  charged(id: string): boolean;
  /** Its device cannot be used from now on, by anybody. */
  deviceFailed(detail: string): void;
  /** Every change worth showing. */
  changed(view: ReplicaView): void;
}

export interface ReplicaLimits {
  readonly startTimeoutMs: number;
  /** Time between two pings of a cell, silence that makes it suspect, and silence that ends it. 0 = no pings (threads). */
  readonly pingMs: number;
  readonly silentSuspectMs: number;
  readonly silentKillMs: number;
  /** Ready means a success or a proof within this time. */
  readonly freshMs: number;
}

/** A doubted replica proves itself again at most this often. */
const DOUBT_EVERY_MS = 10_000;

export const pingDefaults = { pingMs: 100, silentSuspectMs: 500, silentKillMs: 2000 } as const;

export interface ReplicaInput {
  readonly id: string;
  readonly incarnation: number;
  readonly effects: ReplicaEffects;
  readonly limits: ReplicaLimits;
}

type LaneReport =
  | { type: 'lane.spawned'; pid: number; threadId: number }
  | { type: 'lane.turn' }
  | { type: 'lane.loaded'; threadId: number; loaded: LoadReply & { ok: true } }
  | { type: 'lane.loadFailed'; detail: string }
  | { type: 'lane.proved'; proof: ProofKind }
  | { type: 'lane.unproven'; detail: string }
  | { type: 'lane.silent'; silentMs: number }
  | { type: 'lane.answers' }
  | { type: 'lane.stale'; ageMs: number }
  | { type: 'lane.fresh' }
  | { type: 'lane.exited'; exit: LaneExit; charge: boolean };

type Order =
  | { type: 'lane.load' }
  | { type: 'lane.prove' }
  | { type: 'lane.route' }
  | { type: 'lane.unroute' }
  | { type: 'lane.suspect'; suspect: boolean }
  | { type: 'lane.doubt' }
  | { type: 'lane.stop'; budgetMs: number }
  | { type: 'lane.kill'; reason: ExitReason; detail: string };

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

/** The lane, driven by orders; the only place of this machine that touches the world. */
const laneActor = fromCallback<Order, ReplicaInput>(({ input, sendBack, receive }) => {
  const { id, incarnation, effects, limits } = input;
  const { clock } = effects;
  const report = (event: LaneReport): void => sendBack(event);
  const lane = effects.lanes.open(effects.order(id, incarnation));
  let loaded: (LoadReply & { ok: true }) | undefined;
  let ended = false;
  let endTurn: (() => void) | undefined;
  let pinger: TimerHandle | undefined;
  let refresher: TimerHandle | undefined;
  let lastProofMs = 0;
  let proofTookMs = 0;
  let lastDoubtMs = -Infinity;
  let proving = false;
  let stale = false;
  const finishTurn = (): void => {
    endTurn?.();
    endTurn = undefined;
  };

  lane.onExit((exit) => {
    ended = true;
    clock.clearTimeout(pinger);
    clock.clearTimeout(refresher);
    finishTurn();
    const charge = effects.charged(id);
    // The data path hears of the exit from the lane itself; it goes first, so that a report can name the lost requests.
    queueMicrotask(() => report({ type: 'lane.exited', exit, charge }));
  });
  lane.spawned.then(
    () => report({ type: 'lane.spawned', pid: lane.pid, threadId: lane.threadId }),
    () => {}, // its exit says why
  );
  void effects.startTurn().then((end) => {
    endTurn = end;
    if (ended) finishTurn();
    else report({ type: 'lane.turn' });
  });

  const load = async (): Promise<void> => {
    const reply = await lane.load();
    if (ended) return;
    if (!reply.ok) {
      report({ type: 'lane.loadFailed', detail: reply.message });
      if (reply.deviceFatal) effects.deviceFailed(reply.message);
      return;
    }
    loaded = reply;
    report({ type: 'lane.loaded', threadId: lane.threadId, loaded: reply });
  };
  const prove = async (): Promise<void> => {
    const since = clock.now();
    const result = await effects.prove(lane, loaded!);
    lastProofMs = clock.now();
    proofTookMs = lastProofMs - since;
    finishTurn();
    if (ended) return;
    report(result.ok ? { type: 'lane.proved', proof: result.proof } : { type: 'lane.unproven', detail: result.detail });
  };
  const proveAgain = async (): Promise<void> => {
    if (proving) return;
    proving = true;
    const since = clock.now();
    const result = await effects.prove(lane, loaded!);
    proving = false;
    if (ended) return;
    if (result.ok) lastProofMs = clock.now();
    proofTookMs = clock.now() - since;
    effects.provedAgain(id, result);
  };
  /** Looks after the freshness of readiness: an idle replica proves itself, one without a sign of life is suspect. */
  const keepFresh = (): void => {
    const periodMs = Math.min(limits.freshMs / 2, effects.proveAfterMs(proofTookMs));
    refresher = clock.setTimeout(() => {
      const vitals = effects.vitals(id);
      const ageMs = clock.now() - Math.max(lastProofMs, vitals?.lastAnswerMs ?? 0);
      const isStale = ageMs > Math.max(limits.freshMs, 2 * periodMs) && !vitals?.busy;
      if (isStale !== stale) report(isStale ? { type: 'lane.stale', ageMs } : { type: 'lane.fresh' });
      stale = isStale;
      if (ageMs >= periodMs && !vitals?.busy) void proveAgain().catch(failed);
      keepFresh();
    }, periodMs);
  };
  const failed = (cause: unknown): void => {
    if (!ended) lane.kill('crashed', `its host failed while driving it: ${String(cause)}`);
  };

  /** A cell's main thread answers while its model runs; silence means that the process is frozen, not that it is busy. */
  const watch = (): void => {
    let lastAnswerMs = clock.now();
    let dueMs = lastAnswerMs + limits.pingMs;
    let silent = false;
    let waiting = false;
    const beat = (): void => {
      const nowMs = clock.now();
      // A late timer is this process's own fault: nothing may be concluded from answers that waited in its own queue.
      const late = nowMs - dueMs > limits.pingMs * 2;
      const silentMs = nowMs - lastAnswerMs;
      if (late) lastAnswerMs = nowMs;
      else if (silentMs > limits.silentKillMs) return lane.kill('hung', `did not answer pings for ${Math.round(silentMs)} ms`);
      else if (silentMs > limits.silentSuspectMs && !silent) {
        silent = true;
        report({ type: 'lane.silent', silentMs });
      }
      if (!waiting) {
        waiting = true;
        void lane.ping().then((answered) => {
          waiting = false;
          if (!answered || ended) return;
          lastAnswerMs = clock.now();
          if (silent) report({ type: 'lane.answers' });
          silent = false;
        });
      }
      dueMs = nowMs + limits.pingMs;
      pinger = clock.setTimeout(beat, limits.pingMs);
    };
    pinger = clock.setTimeout(beat, limits.pingMs);
  };

  receive((order) => {
    if (ended) return;
    switch (order.type) {
      case 'lane.load':
        return void load().catch(failed);
      case 'lane.prove':
        return void prove().catch(failed);
      case 'lane.route':
        effects.routed(id, incarnation, lane, loaded!);
        if (limits.pingMs > 0) watch();
        keepFresh();
        return;
      case 'lane.doubt':
        if (clock.now() - lastDoubtMs < DOUBT_EVERY_MS) return;
        lastDoubtMs = clock.now();
        return void proveAgain().catch(failed);
      case 'lane.unroute':
        return effects.unrouted(id);
      case 'lane.suspect':
        return effects.suspected(id, order.suspect);
      case 'lane.stop':
        return lane.stop(order.budgetMs);
      case 'lane.kill':
        return lane.kill(order.reason, order.detail);
    }
  });
  return () => {
    clock.clearTimeout(pinger);
    clock.clearTimeout(refresher);
    if (!ended) lane.kill('shutdown', 'its machine was stopped');
  };
});

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
    order: sendTo('lane', (_, order: Order) => order),
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
      on: { doubt: { actions: { type: 'order', params: { type: 'lane.doubt' } } } },
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
          entry: [{ type: 'order', params: { type: 'lane.suspect', suspect: true } }, { type: 'show', params: { phase: 'suspect' } }],
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
