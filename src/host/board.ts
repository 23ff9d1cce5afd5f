/**
 * What this host shows of itself: collects every change the control and the data path report, and renders the status
 * document from it. Holds no decision; forgetting it would lose a picture, not a replica.
 */
import type { ExitReason } from '../errors.js';
import type { Clock } from '../ports.js';
import type { ActorState, ActorStatus, DeviceStatus, HostStatus, LastExit, ReplicaPhase, ReplicaStatus } from '../protocol/status.js';
import type { Dispatcher } from '../serving/dispatcher.js';
import type { ActorSpec } from '../spec/actor.js';
import type { ReplicaView } from '../supervision/replica.js';

interface ReplicaRecord {
  readonly id: string;
  readonly device: string;
  view: ReplicaView | undefined;
  /** Overrules the view between two incarnations. */
  pause: { readonly phase: 'backoff' | 'failed'; readonly reason: string } | undefined;
  restarts: number;
  readySinceMs: number | undefined;
  lastProofMs: number | undefined;
  lastExit: LastExit | undefined;
  /** Requests that were on it, told by the data path just before its exit is. */
  lostRequests: readonly string[];
  memoryBytes: () => number;
  /** It was loaded, but not as the spec says. */
  notice: string | undefined;
}

export interface ActorRecord {
  spec: ActorSpec;
  version: string;
  readonly dispatcher: Dispatcher;
  /** Replicas wanted on this host. */
  wanted: number;
  /** Of a singleton, as the store said last. */
  ownership: { readonly owner: string; readonly epoch: number } | undefined;
  readonly replicas: Map<string, ReplicaRecord>;
  /** Of a singleton: why it is not served here, though it may be loaded. */
  unowned: string | undefined;
  /** Another host has a later spec of it. */
  behind: string | undefined;
  /** Why it is not where it would rather be. */
  degraded: string | undefined;
  /** Of the pool as a whole, when it is not simply running. */
  poolReason: string | undefined;
}

export class Board {
  readonly actors = new Map<string, ActorRecord>();
  readonly #devices = new Map<string, DeviceStatus>();
  readonly #startedMs: number;
  #reason = 'starting';
  #asked: { readonly revision: number; readonly specHash: string } | undefined;
  #listeners: (() => void)[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly identity: { readonly id: string; readonly incarnation: string; readonly version: string },
    devices: readonly string[],
  ) {
    for (const id of devices) this.#devices.set(id, { id, state: 'unusable', reason: 'not looked at yet' });
    this.#startedMs = clock.now();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  addActor(spec: ActorSpec, version: string, dispatcher: Dispatcher): void {
    this.actors.set(spec.name, { spec, version, dispatcher, wanted: spec.replicas, ownership: undefined, unowned: undefined, behind: undefined, replicas: new Map(), degraded: undefined, poolReason: undefined });
  }

  addReplica(actor: string, id: string, device: string): void {
    this.actors.get(actor)?.replicas.set(id, {
      id, device, view: undefined, pause: undefined, restarts: 0, readySinceMs: undefined, lastProofMs: undefined,
      lastExit: undefined, lostRequests: [], memoryBytes: () => 0, notice: undefined,
    });
  }

  removeReplica(actor: string, id: string): void {
    this.actors.get(actor)?.replicas.delete(id);
    this.#changed();
  }

  removeActor(actor: string): void {
    this.actors.delete(actor);
    this.#changed();
  }

  respecified(spec: ActorSpec, version: string): void {
    const record = this.actors.get(spec.name);
    if (!record) return;
    record.spec = spec;
    record.version = version;
    this.#changed();
  }

  /** Over all actors. */
  get replicaCount(): number {
    let count = 0;
    for (const { replicas } of this.actors.values()) count += replicas.size;
    return count;
  }

  /** A replica that serves answered its golden input again. */
  proved(actor: string, id: string): void {
    const record = this.#replica(actor, id);
    if (record) record.lastProofMs = this.clock.now();
  }

  replicaChanged(actor: string, view: ReplicaView): void {
    const record = this.#replica(actor, view.id);
    if (!record) return;
    const becameReady = view.phase === 'ready' && record.view?.phase !== 'ready' && record.view?.phase !== 'suspect';
    if (becameReady) record.readySinceMs = record.lastProofMs = this.clock.now();
    if (view.phase !== 'ready' && view.phase !== 'suspect') record.readySinceMs = undefined;
    record.view = view;
    record.pause = undefined;
    this.#changed();
  }

  /** Where the memory of a replica's cell can be read, while it has one. */
  memoryOf(actor: string, id: string, read: () => number): void {
    const record = this.#replica(actor, id);
    if (record) record.memoryBytes = read;
  }

  /** @param notice undefined when it was loaded as the spec says */
  loadedWith(actor: string, id: string, notice: string | undefined): void {
    const record = this.#replica(actor, id);
    if (record) record.notice = notice;
  }

  requestsLost(actor: string, id: string, requestIds: readonly string[]): void {
    const record = this.#replica(actor, id);
    if (record) record.lostRequests = requestIds;
  }

  replicaExited(actor: string, id: string, reason: ExitReason, detail: string): LastExit | undefined {
    const record = this.#replica(actor, id);
    if (!record) return undefined;
    record.lastExit = { reason, detail, at: new Date(this.clock.wallTime()).toISOString(), requests: record.lostRequests };
    record.lostRequests = [];
    record.readySinceMs = undefined;
    record.memoryBytes = () => 0;
    record.pause = { phase: 'failed', reason: `${reason}: ${detail}` };
    this.#changed();
    return record.lastExit;
  }

  replicaStopped(actor: string, id: string): void {
    const record = this.#replica(actor, id);
    if (!record) return;
    record.readySinceMs = undefined;
    record.memoryBytes = () => 0;
    record.pause = { phase: 'failed', reason: 'stopped' };
    this.#changed();
  }

  replicaRestarting(actor: string, id: string, delayMs: number): void {
    const record = this.#replica(actor, id);
    if (!record) return;
    record.restarts++;
    const why = record.lastExit ? `${record.lastExit.reason}: ${record.lastExit.detail}` : 'restart';
    if (delayMs > 0) record.pause = { phase: 'backoff', reason: `${why}; next start in ${Math.round(delayMs)} ms` };
    this.#changed();
  }

  poolChanged(actor: string, reason: string | undefined): void {
    const record = this.actors.get(actor);
    if (!record || record.poolReason === reason) return;
    record.poolReason = reason;
    this.#changed();
  }

  deviceChanged(status: DeviceStatus): void {
    this.#devices.set(status.id, status);
    this.#changed();
  }

  wanted(actor: string, count: number): void {
    const record = this.actors.get(actor);
    if (!record || record.wanted === count) return;
    record.wanted = count;
    this.#changed();
  }

  isBehind(actor: string, why: string | undefined): void {
    const record = this.actors.get(actor);
    if (!record || record.behind === why) return;
    record.behind = why;
    this.#changed();
  }

  /** @param unowned why it is not served here; undefined where it is */
  owned(actor: string, ownership: ActorRecord['ownership'], unowned: string | undefined): void {
    const record = this.actors.get(actor);
    if (!record || (record.unowned === unowned && record.ownership?.epoch === ownership?.epoch && record.ownership?.owner === ownership?.owner)) return;
    record.ownership = ownership;
    record.unowned = unowned;
    this.#changed();
  }

  /** @param degraded why the actor is not on its first choice; undefined where it is */
  placed(actor: string, degraded: string | undefined): void {
    const record = this.actors.get(actor);
    if (!record || record.degraded === degraded) return;
    record.degraded = degraded;
    this.#changed();
  }

  /** What the host file says. */
  asked(revision: number, specHash: string): void {
    this.#asked = { revision, specHash };
    this.#changed();
  }

  hostChanged(reason: string): void {
    this.#reason = reason;
    this.#changed();
  }

  host(): HostStatus {
    return {
      ...this.identity,
      liveness: 'alive',
      reason: this.#reason,
      ...this.#asked,
      uptimeMs: Math.round(this.clock.now() - this.#startedMs),
      devices: [...this.#devices.values()],
      actors: [...this.actors.values()].map((actor) => this.#actor(actor)),
    };
  }

  #actor(record: ActorRecord): ActorStatus {
    const { spec, dispatcher } = record;
    const replicas = [...record.replicas.values()].map((replica) => this.#render(replica, spec.isolation));
    const ready = replicas.filter((replica) => replica.phase === 'ready').length;
    // Warm beside an owner elsewhere it is what it should be.
    const isIdle = record.unowned !== undefined && record.ownership !== undefined && record.ownership.owner !== this.identity.id;
    const state: ActorState = isIdle ? 'ready' : record.unowned !== undefined ? 'down' : ready === 0 && record.wanted > 0 ? 'down' : ready < record.wanted || record.degraded !== undefined || record.behind !== undefined ? 'degraded' : 'ready';
    const notice = [...record.replicas.values()].find((replica) => replica.notice !== undefined)?.notice;
    const troubled = replicas.find((replica) => replica.phase !== 'ready');
    return {
      name: spec.name,
      kind: spec.kind,
      version: record.version,
      wanted: isIdle ? 0 : record.wanted,
      // Loaded, and not the one that answers.
      ready: record.unowned === undefined ? ready : 0,
      state,
      reason: `${record.wanted > 0 && record.unowned !== undefined ? record.unowned : record.wanted === 0 && record.poolReason !== undefined ? record.poolReason : state === 'ready' ? 'all replicas are ready' : (record.poolReason ?? (troubled ? troubleOf(troubled) : (record.degraded ?? record.behind ?? 'no replica')))}${notice === undefined ? '' : `; ${notice}`}`,
      ...(notice !== undefined && { notice }),
      ...record.ownership,
      queue: { count: dispatcher.queueCount, bytes: dispatcher.queueBytes },
      requests: { ...dispatcher.outcomes },
      replays: dispatcher.replays,
      quarantined: dispatcher.quarantined,
      replicas,
    };
  }

  #render(record: ReplicaRecord, isolation: 'process' | 'thread'): ReplicaStatus {
    const nowMs = this.clock.now();
    const { view, pause } = record;
    const phase: ReplicaPhase = pause?.phase ?? view?.phase ?? 'loading';
    const alive = pause === undefined && view !== undefined;
    return {
      id: record.id,
      device: record.device,
      isolation,
      phase,
      ...(view?.proof && { proof: view.proof }),
      reason: pause?.reason ?? view?.reason ?? 'not started yet',
      incarnation: view?.incarnation ?? 0,
      pid: alive ? view.pid : 0,
      threadId: alive ? view.threadId : 0,
      restarts: record.restarts,
      ...(record.readySinceMs !== undefined && { readySinceMs: Math.round(nowMs - record.readySinceMs) }),
      ...(record.lastProofMs !== undefined && { lastProofMs: Math.round(nowMs - record.lastProofMs) }),
      memoryBytes: record.memoryBytes(),
      ...(record.lastExit && { lastExit: record.lastExit }),
    };
  }

  #replica(actor: string, id: string): ReplicaRecord | undefined {
    return this.actors.get(actor)?.replicas.get(id);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A replica on its way back says why it had to go; `loading: loading` would be no reason. */
function troubleOf({ id, phase, reason, lastExit }: ReplicaStatus): string {
  const returning = lastExit && (phase === 'loading' || phase === 'proving');
  return `${id} ${phase}: ${reason}${returning ? `, after ${lastExit.reason}: ${lastExit.detail}` : ''}`;
}
