/**
 * The composition root: builds one host from its spec, joins control path and data path, and starts the root supervisor.
 * The only room that knows every module; it connects and decides nothing.
 *
 *     root (rest_for_one): pools > pool > replica | bus | membership | endpoints
 *
 * Pools come first, so that a lost bus never costs a warm session; endpoints last, so that they stop first.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createCellLanes } from '../adapters/cell-lane.js';
import { createJsonCodec } from '../adapters/codec-thread.js';
import { createMemoryBus } from '../adapters/memory-bus.js';
import { connectNats, createNatsBus, type NatsBus } from '../adapters/nats-bus.js';
import { createNatsObjects } from '../adapters/nats-objects.js';
import { createNatsStore } from '../adapters/nats-store.js';
import { createThreadLanes } from '../adapters/thread-lane.js';
import { Forwarder, type ForwardTarget } from '../cluster/forwarder.js';
import { RollCall } from '../cluster/roll-call.js';
import { ServeError } from '../errors.js';
import type { Bus, Clock, LaneFactory, Log, Objects, Random, Store, TimerHandle } from '../ports.js';
import type { RegrowEvent } from '../protocol/events.js';
import type { HostState } from '../protocol/host-state.js';
import type { HostStatus, StatusDocument } from '../protocol/status.js';
import { subjects as subjectsOf, type Subjects } from '../protocol/subjects.js';
import { Router } from '../serving/router.js';
import { RouteTable } from '../serving/routes.js';
import { SharedServing } from '../serving/shared.js';
import type { InferAnswer, InferCall } from '../serving/ticket.js';
import type { HostSpec } from '../spec/host.js';
import { worker } from '../supervision/child.js';
import { createSupervisor, type Supervisor, type SupervisorRef } from '../supervision/create-supervisor.js';
import { createStartGate } from '../supervision/start-gate.js';
import { subtree } from '../supervision/supervisor.js';
import { ActorRuntime, type ActorSurroundings } from './actor-runtime.js';
import { applySpec, type ApplyResult, type InForce } from './apply.js';
import { Board } from './board.js';
import { listenForOrders, type Verb } from './control.js';
import { Boot } from './boot.js';
import { aborted, Cluster, ownerGate } from './cluster.js';
import { openDataDir, hostIdOf, type DataDir } from './data-dir.js';
import { Links } from './links.js';
import { DeadLetters } from './dead-letters.js';
import { deadLetterVerb } from './dead-letter-orders.js';
import { Pins, sha256OfChunks, type Pin } from './pins.js';
import { quarantineFile } from './quarantine-file.js';
import type { ActorSpec } from '../spec/actor.js';
import { Devices } from './devices.js';
import { Following } from './following.js';
import { HostShare } from './host-share.js';
import { hostState, targetsOf } from './host-state.js';
import { MemoryWatch } from './memory-watch.js';
import { Models } from './models.js';
import { verbsOf } from './orders.js';
import { idTaken } from './own-id.js';
import { Placement } from './placement.js';
import { Story } from './story.js';

export interface HostOutside {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly version: string;
  /** Of this machine, for defaults that depend on them. */
  readonly cores?: number | undefined;
  /** For bundlers: where the entries of cells and threads are. */
  readonly entries?: { readonly cell?: URL; readonly worker?: URL } | undefined;
  /** Threads that could not be ended, beyond which this host drains and ends. Absent: never, as in somebody else's process. */
  readonly zombiesMax?: number | undefined;
  /** Replaces NATS and memory, for tests. Called for each connection. */
  readonly bus?: (() => Bus) | undefined;
  /** Whether other hosts may be on that bus; with `nats` in the spec they always may. */
  readonly clustered?: boolean | undefined;
  /** Replaces the store over NATS. Called for each control connection. */
  readonly store?: ((bus: Bus) => { readonly store: Store; readonly objects: Objects }) | undefined;
  /** Clocks in ms that run on while the machine is suspended. Default: the wall clock alone. */
  readonly wakefulClocksMs?: (() => readonly number[]) | undefined;
  readonly lanes?: Readonly<Record<'process' | 'thread', LaneFactory>> | undefined;
}

/** Beyond drainMs, for unsubscribing, flushing and telling. */
const DRAIN_EXTRA_MS = 5000;
/** Of models that are not in force. */
const MODEL_CACHE_BYTES = 4 * 1024 ** 3;
/** For a connection as the system user. */
const SYSTEM_CONNECT_MS = 2000;
/** For the broker to confirm that nothing more is on its way. */
const FLUSH_MS = 2000;

export class Host implements AsyncDisposable {
  readonly id: string;
  #incarnation: string;
  /** Resolves when every actor was proven once or failed with a reason. */
  readonly settled: Promise<void>;
  #spec: HostSpec;
  readonly #outside: HostOutside;
  readonly #dataDir: DataDir | undefined;
  readonly #board: Board;
  readonly #story: Story;
  readonly #boot: Boot;
  readonly #shared: SharedServing;
  readonly #router: Router;
  readonly #placement: Placement;
  readonly #devices: Devices;
  readonly #memory: MemoryWatch;
  readonly #subjects: Subjects;
  readonly #codec = createJsonCodec();
  readonly #pins: Pins;
  #letters!: DeadLetters;
  #lift: (fingerprint: string) => boolean = () => false;
  /** Resolves when an operator ordered this host to drain; it is stopping then. */
  readonly drainOrdered: Promise<void>;
  #noteDrainOrdered!: () => void;
  readonly #runtimes = new Map<string, ActorRuntime>();
  readonly #inForce = new Map<string, InForce>();
  #applying: Promise<unknown> = Promise.resolve();
  #around!: ActorSurroundings;
  #root!: Supervisor;
  #bus: Bus | undefined;
  readonly #cluster: Cluster | undefined;
  readonly #following: Following;
  readonly #models: Models;
  readonly #share: HostShare;
  /** Asked to stop: others take over what this host runs while it still serves. */
  #leaving = false;
  /** It does not hear its own beats. */
  #deaf = false;
  #links: Links | undefined;
  #lanes: Readonly<Record<'process' | 'thread', LaneFactory>> | undefined;
  #draining = false;
  #reportConflict!: (why: string) => void;
  #stopping: Promise<void> | undefined;

  /** Starts everything and returns at once; wait for `settled` to know that it serves. */
  static async start(spec: HostSpec, outside: HostOutside): Promise<Host> {
    const host = new Host(spec, outside);
    try {
      await host.#start();
      return host;
    } catch (error) {
      await host.#letters?.close();
      host.#dataDir?.release();
      throw error;
    }
  }

  private constructor(spec: HostSpec, outside: HostOutside) {
    const { clock, random, log } = outside;
    this.#spec = spec;
    this.#outside = outside;
    this.#dataDir = spec.dataDir === undefined ? undefined : openDataDir(spec.dataDir);
    this.#pins = new Pins(this.#dataDir && join(this.#dataDir.path, 'models'), log);
    this.drainOrdered = new Promise((resolve) => (this.#noteDrainOrdered = resolve));
    this.id = hostIdOf(spec.host, this.#dataDir, random);
    this.#incarnation = random.ulid();
    this.#subjects = subjectsOf(spec.prefix);
    const incarnation = (): string => this.#incarnation;
    this.#board = new Board(clock, { id: this.id, get incarnation() { return incarnation(); }, version: outside.version }, spec.devices.map(({ id }) => id));
    this.#story = new Story({ hostId: this.id, get incarnation() { return incarnation(); }, clock, log, board: this.#board });
    this.#shared = new SharedServing({
      clock, queueBytesMax: spec.queueBytesMax, holdMs: spec.holdMs, hash: sha256OfChunks,
      readyElsewhere: (actor) => this.#targets(actor).length > 0,
    });
    const forwarder = new Forwarder({
      clock,
      subjects: this.#subjects,
      bus: () => this.#bus,
      targets: (actor) => this.#targets(actor),
      actors: () => (this.#cluster?.members() ?? []).flatMap(({ state }) => state?.actors.map(({ name }) => name) ?? []),
      onLost: (host, lost) => this.#cluster?.onLost(host, lost) ?? (() => {}),
      takeReplay: () => this.#shared.takeReplay(clock.now()),
    });
    this.#router = new Router(clock, forwarder);
    this.#devices = new Devices({
      ids: spec.devices.map(({ id: device }) => device),
      clock,
      lanes: () => this.#lanes!.process,
      changed: () => {
        this.#showDevices();
        this.#placement.devicesChanged();
      },
      tell: (type, reason, device) => this.#story.tell(type, reason, { device }),
    });
    this.#placement = new Placement({
      devices: () => this.#devices.states, clock, board: this.#board, story: this.#story,
      pools: () => this.#pools(),
      unplaced: (actor, why) => this.#boot.actorFailed(actor, why),
      elsewhere: (actor) => this.#boot.elsewhere(actor),
      shared: this.#clustered,
      pausesChanged: () => this.#stateChanged(),
    });
    this.#models = new Models({ folder: this.#dataDir && join(this.#dataDir.path, 'models'), objects: () => this.#cluster?.objects, clock, random, log });
    this.#share = new HostShare({
      cluster: () => this.#cluster,
      placement: this.#placement,
      board: this.#board,
      following: () => this.#following,
      models: this.#models,
      inForce: this.#inForce,
      runtimes: this.#runtimes,
      revision: () => this.#spec.revision,
      leaving: () => this.#leaving,
      setReachable: (actor, reachable) => this.#links?.setReachable(actor, reachable),
      changed: () => this.#stateChanged(),
      failed: (actor, why) => this.#boot.actorFailed(actor, why),
    });
    this.#following = new Following({
      clock, log,
      cores: this.#cores,
      modules: spec.modules,
      modelFile: (sha256) => this.#models.place(sha256),
      ensureModel: async (sha256, timeoutMs) => {
        await this.#models.ensure(sha256, timeoutMs);
        this.#share.fetched(sha256);
      },
      inForce: (actor) => this.#inForce.get(actor),
      fileSpec: (actor) => this.#spec.actors.find(({ name }) => name === actor),
      desired: () => this.#cluster?.desired?.actors(),
      share: (actor) => this.#share.countOf(actor),
      inOrder: (step) => this.#inOrder(step),
      steps: {
        add: (actor, desiredHash) => this.#addActor(actor, desiredHash),
        roll: (actor, desiredHash) => this.#rollActor(actor, desiredHash),
        withdraw: (actor) => this.#withdrawActor(actor),
      },
      changed: () => this.#stateChanged(),
      tell: (actor, reason) => this.#story.tell('spec-changed', reason, { actor }),
    });
    this.#cluster = this.#clustered ? this.#newCluster() : undefined;
    this.#memory = new MemoryWatch({ clock, board: this.#board, recycle: (actor, replica, why) => this.#placement.eject(actor, replica, why) });
    this.#showDevices();
    this.#boot = new Boot(spec.actors.map(({ name }) => name));
    this.settled = this.#boot.settled;
  }

  // -------------------------------------------------------------------------------------------------------------- using

  /** Of this process: a ULID. Another one after others had declared it dead. */
  get incarnation(): string {
    return this.#incarnation;
  }

  /** Rejects with a ServeError, or with the reason of the call's signal. */
  infer(actor: string, call: InferCall): Promise<InferAnswer> {
    if (this.#draining) return Promise.reject(new ServeError('UNAVAILABLE', `host ${this.id} is draining`, { attempts: 0 }));
    return this.#router.infer(actor, call);
  }

  status(): StatusDocument {
    const bus = this.#spec.nats === undefined ? 'memory' : this.#bus?.state === 'up' ? 'up' : 'down';
    return { prefix: this.#spec.prefix, bus, hosts: [this.hostStatus()] };
  }

  hostStatus(): HostStatus {
    return this.#board.host();
  }

  /** Called for every event of this host; returns the way to stop listening. */
  onEvent(listener: (event: RegrowEvent) => void): () => void {
    return this.#story.onEvent(listener);
  }

  /** Threads and processes that could not be ended; only the end of this process ends the threads. */
  get zombies(): number {
    return this.#lanes ? this.#lanes.process.zombies + this.#lanes.thread.zombies : 0;
  }

  /** Resolves with the reason when another live host turned out to have this one's id; the host stops itself then. */
  readonly conflict: Promise<string> = new Promise((resolve) => (this.#reportConflict = resolve));

  /** Resolves when the root supervisor ended, with why; `budget_exhausted` means that infrastructure kept failing. */
  get ended(): Promise<{ readonly detail: string }> {
    return this.#root.ended;
  }

  /**
   * Serves the actors of another spec from now on: new ones are added, changed ones rolled over replica by replica (and
   * left as they are when the new edition does not prove), missing ones withdrawn. One call after the other.
   */
  apply(next: HostSpec): Promise<ApplyResult> {
    return this.#inOrder(() => this.#apply(next));
  }

  /** Replaces every replica of the actor by a new one, with overlap. */
  async restart(actor: string): Promise<ApplyResult> {
    const current = this.#inForce.get(actor);
    if (!current) throw new ServeError('NOT_FOUND', `no actor "${actor}" on host ${this.id}`);
    const stopped = await this.#placement.roll(this.#runtimes.get(actor)!.edition(current.spec, current.pin));
    const change = stopped === undefined ? { actor, change: 'rolled' as const, reason: 'asked to' } : { actor, change: 'refused' as const, reason: stopped };
    return { changes: [change], needRestart: [] };
  }

  /** Replaces one replica by a new one, with overlap. */
  async eject(replica: string): Promise<void> {
    const record = [...this.#board.actors.values()].find(({ replicas }) => replicas.has(replica));
    if (!record) throw new ServeError('NOT_FOUND', `no replica "${replica}" on host ${this.id}`);
    const kept = await this.#placement.eject(record.spec.name, replica, 'asked to');
    if (kept !== undefined) throw new ServeError('UNAVAILABLE', `${replica} was not replaced: ${kept}`);
  }

  /** Stops accepting, answers what was accepted, then ends every replica. Safe to call twice. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  // ----------------------------------------------------------------------------------------------------------- building

  async #apply(next: HostSpec): Promise<ApplyResult> {
    // What the cluster's desired state names is not this file's to decide.
    const ofFile = new Map([...this.#inForce].filter(([, { desiredHash }]) => desiredHash === undefined));
    const mine = { ...next, actors: next.actors.filter(({ name }) => !this.#following.names(name)) };
    const result = await applySpec(this.#spec, mine, ofFile, {
      pin: (spec) => this.#pins.pin(spec),
      add: (spec) => this.#addActor(spec),
      roll: (spec) => this.#rollActor(spec),
      withdraw: (actor) => this.#withdrawActor(actor),
    });
    const refused = new Set(result.changes.filter(({ change }) => change === 'refused').map(({ actor }) => actor));
    this.#spec = { ...this.#spec, revision: next.revision, actors: next.actors.map((spec) => (refused.has(spec.name) ? this.#inForce.get(spec.name)!.spec : spec)) };
    await this.#collectPins();
    this.#share.showAsked();
    this.#memory.start();
    for (const { actor, change, reason } of result.changes) if (change !== 'unchanged') this.#story.tell('spec-changed', `${change}: ${reason}`, { actor });
    this.#stateChanged();
    return result;
  }

  #inOrder<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#applying.then(step);
    this.#applying = result.catch(() => {});
    return result;
  }

  async #addActor(spec: ActorSpec, desiredHash?: string): Promise<void> {
    const pin = await this.#pins.pin(spec);
    const runtime = this.#newRuntime(spec, pin, desiredHash);
    await this.#placement.add(runtime, runtime.edition(spec, pin));
    this.#share.give(spec.name);
    this.#memory.start();
  }

  async #rollActor(spec: ActorSpec, desiredHash?: string): Promise<string | undefined> {
    const pin = await this.#pins.pin(spec);
    const stopped = await this.#placement.roll(this.#runtimes.get(spec.name)!.edition(spec, pin));
    if (stopped === undefined) this.#inForce.set(spec.name, { spec, pin, desiredHash });
    return stopped;
  }

  async #withdrawActor(actor: string): Promise<void> {
    await this.#placement.withdraw(actor);
    this.#router.unregister(actor);
    this.#board.removeActor(actor);
    this.#runtimes.delete(actor);
    this.#inForce.delete(actor);
  }

  async #collectPins(): Promise<void> {
    const alsoUsed = [...this.#following.wanted().values()].flatMap(({ spec }) => spec.sha256 ?? []);
    await this.#pins.collect([...this.#inForce.values()].map(({ pin }) => pin), { alsoUsed });
  }

  #newRuntime(spec: ActorSpec, pin: Pin, desiredHash?: string): ActorRuntime {
    const runtime = new ActorRuntime(spec, pin, this.#around);
    this.#runtimes.set(spec.name, runtime);
    this.#inForce.set(spec.name, { spec, pin, desiredHash });
    return runtime;
  }

  async #start(): Promise<void> {
    const { clock, random, log, entries } = this.#outside;
    const spec = this.#spec;
    const lanes = this.#outside.lanes ?? {
      process: createCellLanes({ log, ...(entries && { entries }) }),
      thread: createThreadLanes(entries?.worker ? { worker: entries.worker } : {}),
    };
    this.#lanes = lanes;
    const shared = this.#shared;
    const quarantine = this.#dataDir && quarantineFile(join(this.#dataDir.path, 'quarantine.json'), shared, { clock, log });
    quarantine?.restore();
    this.#letters = new DeadLetters({ limits: spec.deadLetters, folder: this.#dataDir && join(this.#dataDir.path, 'dead-letters'), clock, random, log });
    this.#lift = (fingerprint) => {
      const lifted = shared.release(fingerprint);
      if (lifted) quarantine?.save();
      if (lifted) this.#cluster?.lifted(fingerprint);
      return lifted;
    };
    const routes = new RouteTable();
    const gate = createStartGate(spec.startsParallelMax);
    const around: ActorSurroundings = {
      clock, random, log, lanes, gate, routes, shared,
      hostId: this.id,
      router: this.#router,
      board: this.#board,
      goldenFolder: this.#dataDir && join(this.#dataDir.path, 'goldens'),
      codec: this.#codec,
      answerBytesMax: () => this.#bus?.payloadBytesMax ?? Infinity,
      ownerGate: (actor) => this.#cluster && ownerGate(actor, this.#cluster),
      checkpoint: this.#cluster && ((actor, isSingleton, call) => this.#cluster!.checkpoint(actor, isSingleton, call)),
      reachable: (actor) => this.#share.showReachable(actor),
      poisoned: (actor, fingerprint, ticket, detail) => {
        const { requestId, outputs } = ticket.call;
        quarantine?.save();
        this.#cluster?.confirmed(fingerprint, this.#inForce.get(actor)?.spec.quarantineMs ?? 0);
        const version = this.#router.entry(actor)?.version ?? 'unknown';
        const { id } = this.#letters.add({ actor, version, fingerprint, requestId, exit: detail, inputs: ticket.inputs, outputs });
        this.#story.tell('quarantined', `request ${requestId} ended a replica in a run of its own`, { actor, detail: { fingerprint, requestId, exit: detail, deadLetter: id } });
      },
      tellReplica: (actor, replica, event) => this.#placement.tellReplica(actor, replica, event),
      noticed: (actor, device, replica, notice) => this.#story.tell('model-changed', notice, { actor, device, replica }),
      eject: (actor, replica, why) => void this.#placement.eject(actor, replica, why),
      deviceFailed: (device, detail) => this.#devices.fence(device, detail),
      warn: (actor, device, reason) => log.log('warn', 'doubt', { actor, device, reason }),
    };
    this.#around = around;
    const actors = spec.actors.map((actor) => this.#models.placed(actor));
    const pins = await Promise.all(actors.map((actor) => this.#pins.pin(actor)));
    // What the store wants is not known yet; what was fetched for it before shall not be fetched again.
    await this.#pins.collect(pins, { unusedBytesMax: this.#clustered ? MODEL_CACHE_BYTES : 0 });
    const pools = actors.map((actor, index) => {
      const runtime = this.#newRuntime(actor, pins[index]!);
      return this.#placement.place(runtime, runtime.edition(actor, pins[index]!));
    }).filter((pool) => pool !== undefined);
    this.#share.showAsked();
    this.#board.onChange(() => {
      this.#links?.statusChanged();
      this.#stateChanged();
    });
    this.#story.onEvent((event) => this.#links?.publishEvent(event));
    this.#root = createSupervisor({
      id: 'root',
      clock,
      random,
      strategy: 'rest_for_one',
      intensity: 5,
      periodMs: 60_000,
      onReport: (report) => {
        const place = this.#placement.placeOf(report.supervisor);
        this.#story.supervisorReported(report, place);
        this.#placement.poolReported(report);
        if (place) this.#boot.poolReported(place.actor, report);
        this.#countZombies();
      },
      children: [
        subtree({ id: 'pools', options: { startedWhen: 'spawned', initialStart: 'retry', children: pools } }),
        { id: 'bus', type: 'worker', restart: 'permanent', significant: false, shutdown: DRAIN_EXTRA_MS, start: { logic: this.#busWorker() } },
        ...(this.#clustered ? [{ id: 'membership', type: 'worker' as const, restart: 'permanent' as const, significant: false, shutdown: DRAIN_EXTRA_MS, start: { logic: this.#membershipWorker() } }] : []),
        { id: 'endpoints', type: 'worker', restart: 'permanent', significant: false, shutdown: spec.drainMs + DRAIN_EXTRA_MS, start: { logic: this.#endpointsWorker() } },
      ],
    });
    const started = await this.#root.start();
    if (!started.ok) throw new Error(`the host could not start: ${started.error} (${started.failedPath.join(' > ')})`);
    this.#devices.start();
    this.#memory.start();
    void this.settled.then(() => {
      if (this.#draining) return;
      this.#board.hostChanged('serving');
      this.#story.tell('host-ready', this.#boot.summary(), {});
    });
  }

  /** Holds the connection; a bus that closed for good is an exit, and the supervisor makes a new one. */
  #busWorker(): ReturnType<typeof worker> {
    return worker(async ({ signal, ready }) => {
      const bus = this.#newBus('data');
      this.#bus = bus;
      const closed = new Promise<never>((_, reject) => {
        bus.onState((state, detail) => {
          if (state === 'closed') reject(new Error(`the bus closed: ${detail}`));
          else this.#story.tell(state === 'up' ? 'bus-up' : 'bus-down', detail);
        });
      });
      ready();
      try {
        await Promise.race([closed, aborted(signal)]);
      } finally {
        this.#bus = undefined;
        await bus.close();
      }
    });
  }

  get #cores(): number {
    return this.#outside.cores ?? availableParallelism();
  }

  get #clustered(): boolean {
    return this.#outside.clustered ?? this.#spec.nats !== undefined;
  }

  /** Knows the other hosts while it runs, on a connection of its own: large tensors must not make a host look dead. */
  #membershipWorker(): ReturnType<typeof worker> {
    return worker(({ signal, ready }) => this.#cluster!.run(signal, ready));
  }

  #newBus(name: string): Bus {
    const { clock, log, bus } = this.#outside;
    return bus?.() ?? (this.#spec.nats ? createNatsBus({ name: `regrow ${this.id} ${name}`, ...this.#spec.nats }, { clock, log }) : createMemoryBus({ clock, log }).connect());
  }

  /** Other hosts that can answer for the actor now. */
  #targets(actor: string): ForwardTarget[] {
    return targetsOf(this.#cluster?.members() ?? [], actor);
  }

  #ownState(): Omit<HostState, 'version'> {
    const state = this.#fullState();
    // Deaf: what is sent here is lost.
    return this.#deaf ? { ...state, actors: state.actors.map((actor) => ({ ...actor, ready: 0 })) } : state;
  }

  #fullState(): Omit<HostState, 'version'> {
    const { servers: _servers, ...connection } = { servers: 0, ...(this.#bus as Partial<NatsBus> | undefined)?.identity };
    return hostState({
      id: this.id, incarnation: this.#incarnation, board: this.#board, devices: this.#spec.devices, draining: this.#leaving || this.#deaf, inForce: this.#inForce,
      paused: [...this.#placement.paused(), ...this.#following.unable()],
      connection: 'serverId' in connection ? (connection as HostState['connection']) : undefined,
      modules: Object.keys(this.#spec.modules),
      fetches: this.#cluster?.fetches ?? false,
      revision: this.#spec.revision,
      epochOf: (actor) => this.#cluster?.epochOf(actor),
      awaitsOwnership: (actor) => this.#cluster?.awaitsOwnership(actor) ?? false,
    });
  }

  #stateChanged(): void {
    this.#cluster?.changed();
  }

  #newCluster(): Cluster {
    const { clock, log, wakefulClocksMs = () => [clock.wallTime()] } = this.#outside;
    const { nats } = this.#spec;
    const system = nats?.system;
    return new Cluster({
      clock, log, wakefulClocksMs,
      story: this.#story,
      subjects: this.#subjects,
      id: this.id,
      incarnation: () => this.#incarnation,
      spec: this.#spec,
      connect: () => this.#newBus('control'),
      openStore: (bus) => this.#openStore(bus),
      connectSystem: system ? () => connectNats({ servers: nats.servers, name: `regrow ${this.id} system`, ...(nats.tls && { tls: nats.tls }), ...system } as Parameters<typeof connectNats>[0], { clock, log }, SYSTEM_CONNECT_MS) : undefined,
      state: () => this.#ownState(),
      leaving: () => this.#leaving,
      load: () => [...this.#runtimes.values()].reduce((sum, { dispatcher }) => sum + dispatcher.inFlight, 0),
      wishes: () => this.#share.wishes(),
      singletons: () => this.#share.singletons(),
      held: () => this.#placement.held(),
      decided: (shares) => this.#share.decided(shares),
      desiredChanged: () => {
        this.#following.read();
        this.#stateChanged();
      },
      ownershipChanged: (actor) => this.#share.ownershipChanged(actor),
      deaf: (deaf) => {
        this.#deaf = deaf;
        this.#outside.log.log('warn', 'deaf', { deaf, reason: deaf ? 'it does not hear its own beats: requests sent here would be lost' : 'it hears its own beats again' });
        this.#links?.mute(deaf);
        this.#stateChanged();
      },
      stopped: async (actor) => {
        this.#share.give(actor);
        await this.#placement.vacated(actor);
      },
      quarantine: (fingerprint, leftMs) => this.#shared.quarantine(fingerprint, clock.now(), leftMs),
      release: (fingerprint) => void this.#shared.release(fingerprint),
      fenced: () => {
        this.#incarnation = this.#outside.random.ulid();
      },
    });
  }

  #openStore(bus: Bus): { readonly store: Store; readonly objects: Objects } | undefined {
    const { clock, log, store } = this.#outside;
    if (store) return store(bus);
    const { nats, prefix } = this.#spec;
    return nats && { store: createNatsStore(bus, { prefix }, { clock, log }), objects: createNatsObjects(bus, { prefix }, clock) };
  }

  /** Takes requests while it runs; its end is the drain of the host. */
  #endpointsWorker(): ReturnType<typeof worker> {
    return worker(async ({ signal, ready }) => {
      const bus = this.#bus;
      if (!bus) throw new Error('there is no bus to listen on');
      ready(); // a broker that is away must not keep the host from serving its own process
      const taken = this.#spec.nats && (await idTaken(bus, this.#subjects, this, signal));
      if (taken !== undefined) this.#giveWay(taken);
      if (taken !== undefined || signal.aborted) return aborted(signal);
      const links = this.#listen(bus);
      const stopListening = this.#hearsOrders ? listenForOrders({ bus, subjects: this.#subjects, host: this.id, log: this.#outside.log, verbs: this.#verbs() }) : () => {};
      await aborted(signal);
      stopListening();
      links.stopInference();
      await bus.flush(FLUSH_MS).catch(() => {}); // a broker that is away has nothing on its way to us
      if (this.#draining) {
        this.#router.refuse(`host ${this.id} is draining`);
        await this.#within(this.#router.idle(), this.#spec.drainMs);
        // Only now: until everything was answered, a replica that dies is still worth waiting for.
        for (const { dispatcher } of this.#runtimes.values()) dispatcher.setProspect(false, `host ${this.id} is stopping`);
        links.publishStatus();
      }
      this.#links = undefined;
      links.close();
      await bus.flush(FLUSH_MS).catch(() => {});
    });
  }

  #giveWay(why: string): void {
    this.#outside.log.log('error', 'duplicate-host-id', { reason: why });
    this.#reportConflict(why);
    void this.stop();
  }

  /** Orders are taken only where the broker knows who gives them. */
  get #hearsOrders(): boolean {
    const { nats } = this.#spec;
    return nats !== undefined && [nats.user, nats.token, nats.credsFile, nats.nkeySeedFile].some((credential) => credential !== undefined);
  }

  #verbs(): Readonly<Record<string, Verb>> {
    return verbsOf({
      cores: this.#cores,
      apply: (spec) => this.apply(spec),
      restart: (actor) => this.restart(actor),
      eject: (replica) => this.eject(replica),
      drain: () => {
        this.#noteDrainOrdered();
        void this.stop(); // the bus goes last
      },
      deadLetters: deadLetterVerb({
        letters: this.#letters,
        router: this.#router,
        log: this.#outside.log,
        specOf: (actor) => this.#inForce.get(actor)?.spec,
        lend: (actor) => this.#placement.lend(actor),
        release: this.#lift,
        answerBytesMax: () => this.#bus?.payloadBytesMax ?? Infinity,
      }),
    });
  }

  #listen(bus: Bus): Links {
    const rollCall = new RollCall(bus, this.#subjects);
    const links = new Links({
      bus,
      subjects: this.#subjects,
      clock: this.#outside.clock,
      log: this.#outside.log,
      service: {
        id: this.id,
        version: this.#outside.version,
        description: 'Supervised inference',
        metadata: { incarnation: this.incarnation },
        started: new Date(this.#outside.clock.wallTime()).toISOString(),
      },
      endpoint: (actor) => this.#runtimes.get(actor)!.endpoint,
      document: async () => ({ ...this.status(), hosts: await rollCall.hosts(this.hostStatus(), this.#cluster?.members() ?? []) }),
      host: () => this.hostStatus(),
    });
    this.#links = links;
    if (this.#deaf) links.mute(true);
    for (const actor of this.#runtimes.keys()) this.#share.showReachable(actor);
    return links;
  }

  /** Resolves with the promise, or when the time is over. */
  async #within(promise: Promise<unknown>, ms: number): Promise<void> {
    const { clock } = this.#outside;
    let timer: TimerHandle;
    const over = new Promise<void>((resolve) => (timer = clock.setTimeout(resolve, ms)));
    await Promise.race([promise, over]).finally(() => clock.clearTimeout(timer));
  }

  #showDevices(): void {
    for (const [id, { state, reason }] of this.#devices.states) this.#board.deviceChanged({ id, state: state === 'probing' ? 'unusable' : state, reason });
  }

  /** Nothing but the end of this process stops a thread inside native code; its guardian or manager starts a fresh one. */
  #countZombies(): void {
    const zombies = this.#lanes?.thread.zombies ?? 0;
    const { zombiesMax = Infinity } = this.#outside;
    if (zombies <= zombiesMax || this.#draining) return;
    this.#draining = true;
    this.#story.tell('zombie', `${zombies} threads did not end (at most ${zombiesMax}): this host drains and ends`);
    queueMicrotask(() => void this.stop());
  }

  #pools(): SupervisorRef | undefined {
    return this.#root.ref.getSnapshot().context.refs['pools'] as SupervisorRef | undefined;
  }

  /** Serves until everything it runs is proven elsewhere, or nobody else can run it; then the others are ready when it stops. */
  async #moveOff(): Promise<void> {
    this.#story.tell('host-draining', 'asked to stop');
    if (!this.#cluster) return;
    this.#board.hostChanged('draining: its replicas are proven on other hosts first');
    await this.#within(this.#cluster.leave(), this.#spec.drainMs);
  }

  async #stop(): Promise<void> {
    this.#leaving = true;
    this.#following.stop();
    await this.#moveOff();
    this.#cluster?.close();
    this.#draining = true;
    this.#placement.stop();
    this.#memory.stop();
    const probesEnded = this.#devices.stop();
    this.#board.hostChanged('draining'); // the other hosts hear of it too, and send nothing more
    await this.#root.stop();
    await probesEnded;
    await this.#codec.close();
    await this.#models.close();
    for (const { dispatcher } of this.#runtimes.values()) dispatcher.close(`host ${this.id} has stopped`);
    await this.#letters.close();
    this.#dataDir?.release();
  }
}
