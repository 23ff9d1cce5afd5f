/**
 * One actor on this host: where its spec, its dispatcher, its endpoint and its replicas' effects are tied together.
 * The control path calls the effects, the data path the dispatcher; this file is the knot and decides nothing.
 */
import type { Clock, LaneFactory, LaneOrder, LoadReply, Log, Random } from '../ports.js';
import type { LoadTask } from '../protocol/task.js';
import { chargeRestart, emptyWindow, type RestartWindow } from '../policy/restart.js';
import { Dispatcher } from '../serving/dispatcher.js';
import { Endpoint } from '../serving/endpoint.js';
import type { Router } from '../serving/router.js';
import type { RouteTable } from '../serving/routes.js';
import type { SharedServing } from '../serving/shared.js';
import type { ActorSpec } from '../spec/actor.js';
import { pingDefaults, type ReplicaEffects, type ReplicaLimits } from '../supervision/replica.js';
import type { StartGate } from '../supervision/start-gate.js';
import type { Board } from './board.js';
import type { Pin } from './pins.js';
import { goldenOf, prove } from './proof.js';

export interface ActorSurroundings {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hostId: string;
  readonly lanes: Readonly<Record<'process' | 'thread', LaneFactory>>;
  readonly gate: StartGate;
  readonly router: Router;
  readonly routes: RouteTable;
  readonly shared: SharedServing;
  readonly board: Board;
  readonly answerBytesMax: () => number;
  readonly reachable: (actor: string, reachable: boolean, reason: string) => void;
  readonly poisoned: (actor: string, fingerprint: string, requestId: string, detail: string) => void;
}

export interface ActorRuntime {
  readonly spec: ActorSpec;
  readonly pin: Pin;
  readonly dispatcher: Dispatcher;
  readonly endpoint: Endpoint;
  readonly limits: ReplicaLimits;
  effects(device: string): ReplicaEffects;
}

export function createActorRuntime(spec: ActorSpec, pin: Pin, around: ActorSurroundings): ActorRuntime {
  const { clock, random, router, routes, shared, board } = around;
  const golden = goldenOf(spec);
  const poisonBudget = new PoisonBudget(spec.poison);
  const dispatcher = new Dispatcher(spec, shared, {
    availability: (takes, reason) => around.reachable(spec.name, takes, reason),
    laneLost: (route, requestIds) => board.requestsLost(spec.name, route.replica, requestIds),
    poisoned: (ticket, print, exit) => around.poisoned(spec.name, print, ticket.call.requestId, `${exit.reason}: ${exit.detail}`),
  });
  const entry = { name: spec.name, dispatcher, metadata: undefined as LoadedMetadata, version: pin.version };
  router.register(entry);
  routes.listen(spec.name, dispatcher);
  board.addActor(spec, pin.version, dispatcher);
  const endpoint = new Endpoint(router, { actor: spec.name, host: around.hostId, clock, random, answerBytesMax: around.answerBytesMax });

  const order = (device: string, replica: string): LaneOrder => ({
    replica,
    load: loadTask(spec, pin, device),
    concurrency: spec.concurrency,
    host: {
      nestedCall: (call) => router.nested(spec.name, replica, call),
      log: ({ level, message, fields }) => around.log.log(level, message, { actor: spec.name, replica, ...fields }),
    },
  });

  return {
    spec,
    pin,
    dispatcher,
    endpoint,
    limits: { startTimeoutMs: spec.startTimeoutMs, ...pingDefaults, ...(spec.isolation === 'thread' && { pingMs: 0 }) },
    effects: (device) => ({
      clock,
      lanes: around.lanes[spec.isolation],
      order: (id) => order(device, id),
      prove: (lane) => prove(lane, spec.name, golden, shared.nextRunId(), spec.startTimeoutMs),
      startTurn: () => new Promise((resolve) => {
        const release = around.gate.acquire(() => queueMicrotask(() => resolve(release)));
      }),
      routed: (replica, incarnation, lane, loaded) => {
        entry.metadata = loaded.metadata;
        board.memoryOf(spec.name, replica, () => lane.memoryBytes);
        routes.add({ actor: spec.name, replica, incarnation, device, version: pin.version, concurrency: spec.concurrency, lane, metadata: loaded.metadata });
      },
      unrouted: (replica) => routes.close(replica),
      charged: (replica) => !dispatcher.onProbation(replica) || !poisonBudget.take(clock.now()),
      suspected: (replica, suspect) => routes.suspect(replica, suspect),
      changed: (view) => board.replicaChanged(spec.name, view),
    }),
  };
}

/**
 * Deaths in the solo run of a suspect are the request's fault, not the replica's: they have a budget of their own, and
 * only beyond it do they count for the pool.
 */
class PoisonBudget {
  #window: RestartWindow = emptyWindow;

  constructor(private readonly limits: ActorSpec['poison']) {}

  take(nowMs: number): boolean {
    const charge = chargeRestart(this.#window, this.limits, nowMs);
    this.#window = charge.window;
    return !charge.exceeded;
  }
}

type LoadedMetadata = (LoadReply & { ok: true })['metadata'];

function loadTask(spec: ActorSpec, pin: Pin, device: string): LoadTask {
  const { golden: _golden, ...plain } = spec;
  return {
    actor: spec.name,
    kind: spec.kind,
    file: spec.file,
    ...(spec.kind === 'model' && pin.sha256 !== undefined && { sha256: pin.sha256 }),
    device,
    session: spec.session,
    spec: plain,
  };
}
