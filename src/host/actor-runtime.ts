/**
 * One actor on this host: where its dispatcher, its endpoint and the effects of its replicas are tied together. The
 * control path calls the effects, the data path the dispatcher; this file is the knot and decides nothing.
 *
 * What callers see of an actor lives as long as the host; what its replicas run is an **edition** (spec and pinned bytes),
 * and a roll-out has two of them for a while.
 */
import { chargeRestart, emptyWindow, type RestartWindow } from '../policy/restart.js';
import type { Clock, JsonCodec, LaneFactory, LaneOrder, Log, Random } from '../ports.js';
import type { CheckpointCall, CheckpointReply, LoadTask } from '../protocol/task.js';
import { Dispatcher } from '../serving/dispatcher.js';
import { Endpoint } from '../serving/endpoint.js';
import type { OwnerGate } from '../serving/owner-gate.js';
import type { ActorEntry, Router } from '../serving/router.js';
import type { Route, RouteTable } from '../serving/routes.js';
import type { SharedServing } from '../serving/shared.js';
import type { Ticket } from '../serving/ticket.js';
import type { ActorSpec } from '../spec/actor.js';
import { pingDefaults, type ReplicaEffects, type ReplicaLimits } from '../supervision/replica.js';
import type { StartGate } from '../supervision/start-gate.js';
import type { Board } from './board.js';
import type { Pin } from './pins.js';
import { Prover } from './proof.js';

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
  /** Where recorded goldens outlive the process. */
  readonly goldenFolder: string | undefined;
  readonly codec: JsonCodec | undefined;
  readonly answerBytesMax: () => number;
  /** Of singletons, where other hosts may be. */
  readonly ownerGate: (actor: string) => OwnerGate | undefined;
  /** `context.checkpoint`; undefined: this host is alone. */
  readonly checkpoint: ((actor: string, isSingleton: boolean, call: CheckpointCall) => Promise<CheckpointReply>) | undefined;
  readonly reachable: (actor: string, reachable: boolean, reason: string) => void;
  readonly poisoned: (actor: string, fingerprint: string, ticket: Ticket, detail: string) => void;
  /** Sends an event to a replica's machine, if it is there. */
  readonly tellReplica: (actor: string, replica: string, event: { readonly type: string; readonly detail?: string }) => void;
  /** The replica should be replaced, with overlap. */
  readonly eject: (actor: string, replica: string, why: string) => void;
  /** A replica loaded, but not as the spec says. */
  readonly noticed: (actor: string, device: string, replica: string, notice: string) => void;
  /** The device broke under a replica; nothing may run there. */
  readonly deviceFailed: (device: string, detail: string) => void;
  readonly warn: (actor: string, device: string, reason: string) => void;
}

export interface Edition {
  readonly spec: ActorSpec;
  readonly pin: Pin;
  readonly limits: ReplicaLimits;
  /** @param degraded why answers from this device are second best */
  effects(device: string, degraded: string | undefined): ReplicaEffects;
}

/** Idle proving may take this share of one core, over all replicas of a host. */
const PROVING_SHARE = 0.005;

export class ActorRuntime {
  readonly name: string;
  readonly dispatcher: Dispatcher;
  readonly endpoint: Endpoint;
  readonly #around: ActorSurroundings;
  readonly #entry: ActorEntry;
  readonly #poison: PoisonBudget;

  constructor(spec: ActorSpec, pin: Pin, around: ActorSurroundings) {
    const { clock, random, router, routes, shared, board } = around;
    this.name = spec.name;
    this.#around = around;
    this.#poison = new PoisonBudget(spec.poison);
    const tell = (route: Route, type: string, detail?: string): void => around.tellReplica(spec.name, route.replica, { type, ...(detail !== undefined && { detail }) });
    this.dispatcher = new Dispatcher(spec, shared, {
      availability: (takes, reason) => around.reachable(spec.name, takes, reason),
      laneLost: (route, requestIds) => board.requestsLost(spec.name, route.replica, requestIds),
      doubted: (route, reason, first) => {
        if (first) around.warn(spec.name, route.device, `${route.replica}: ${reason}`);
        tell(route, 'doubt');
      },
      slow: (route, runningMs) => tell(route, runningMs === undefined ? 'recovered' : 'slow', `a run takes ${Math.round(runningMs ?? 0)} ms`),
      deviceFailed: (route, detail) => {
        // Shown as suspect until the pool has moved: it is out of routing, and its pool must not restart it on that device.
        tell(route, 'slow', `device ${route.device} failed: ${detail}`);
        around.deviceFailed(route.device, detail);
      },
      errs: (route, detail) => around.eject(spec.name, route.replica, detail),
      poisoned: (ticket, print, exit) => around.poisoned(spec.name, print, ticket, `${exit.reason}: ${exit.detail}`),
    });
    this.#entry = { name: spec.name, dispatcher: this.dispatcher, metadata: undefined, version: pin.version, gate: spec.singleton ? around.ownerGate(spec.name) : undefined };
    router.register(this.#entry);
    routes.listen(spec.name, this.dispatcher);
    board.addActor(spec, pin.version, this.dispatcher);
    this.endpoint = new Endpoint(router, { actor: spec.name, host: around.hostId, clock, random, codec: around.codec, answerBytesMax: around.answerBytesMax });
  }

  /** What replicas of this spec and these bytes need. Several editions may live side by side. */
  edition(spec: ActorSpec, pin: Pin): Edition {
    const { gate, lanes, clock, routes, board, shared } = this.#around;
    return {
      spec,
      pin,
      limits: { startTimeoutMs: spec.startTimeoutMs, freshMs: spec.freshMs, hangMs: spec.hangMs, ...pingDefaults, ...(spec.isolation === 'thread' && { pingMs: 0 }) },
      effects: (device, degraded) => {
        const deviceFailed = (detail: string): void => this.#around.deviceFailed(device, detail);
        const prover = new Prover({
          spec, device, sha256: pin.sha256, folder: this.#around.goldenFolder,
          nextRunId: () => shared.nextRunId(),
          tell: (reason) => this.#around.warn(spec.name, device, reason),
          deviceFailed,
        });
        return {
          clock,
          lanes: lanes[spec.isolation],
          order: (id) => this.#order(spec, pin, device, id),
          prove: (lane, loaded) => prover.prove(lane, loaded),
          startTurn: () => new Promise((resolve) => {
            const release = gate.acquire(() => queueMicrotask(() => resolve(release)));
          }),
          routed: (replica, incarnation, lane, loaded) => {
            this.#entry.metadata = loaded.metadata;
            this.#entry.version = pin.version;
            board.memoryOf(spec.name, replica, () => lane.memoryBytes);
            board.loadedWith(spec.name, replica, loaded.notice);
            if (loaded.notice !== undefined) this.#around.noticed(spec.name, device, replica, loaded.notice);
            routes.add({ actor: spec.name, replica, incarnation, device, version: pin.version, concurrency: spec.concurrency, lane, metadata: loaded.metadata, degraded });
          },
          unrouted: (replica) => routes.close(replica),
          suspected: (replica, suspect) => routes.suspect(replica, suspect),
          provedAgain: (replica, result) => {
            this.dispatcher.proved(replica, result.ok);
            if (result.ok) board.proved(spec.name, replica);
            else this.#around.eject(spec.name, replica, result.detail);
          },
          proveAfterMs: (proofMs) => Math.max(spec.proveEveryMs, (proofMs * board.replicaCount) / PROVING_SHARE),
          vitals: (replica) => this.dispatcher.vitals(replica),
          charged: (replica) => !this.dispatcher.onProbation(replica) || !this.#poison.take(clock.now()),
          deviceFailed,
          changed: (view) => board.replicaChanged(spec.name, view),
        };
      },
    };
  }

  /** A new spec is in force: bounds and time-outs apply from now on, and the version shown is the new one. */
  adopt(spec: ActorSpec, pin: Pin): void {
    this.dispatcher.reconfigure(spec);
    this.#entry.gate = spec.singleton ? this.#around.ownerGate(spec.name) : undefined;
    this.#around.board.respecified(spec, pin.version);
  }

  #order(spec: ActorSpec, pin: Pin, device: string, replica: string): LaneOrder {
    const { router, log, checkpoint } = this.#around;
    return {
      replica,
      load: loadTask(spec, pin, device),
      concurrency: spec.concurrency,
      host: {
        nestedCall: (call) => router.nested(spec.name, replica, call),
        ...(checkpoint && { checkpoint: (call: CheckpointCall) => checkpoint(spec.name, spec.singleton, call) }),
        log: ({ level, message, fields }) => log.log(level, message, { actor: spec.name, replica, ...fields }),
      },
    };
  }
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

function loadTask(spec: ActorSpec, pin: Pin, device: string): LoadTask {
  const { golden: _golden, ...plain } = spec;
  return {
    actor: spec.name,
    kind: spec.kind,
    file: pin.file,
    ...(spec.kind === 'model' && pin.sha256 !== undefined && { sha256: pin.sha256, ...(pin.keptFile !== undefined && { keptFile: pin.keptFile }) }),
    device,
    session: spec.session,
    spec: plain,
  };
}
