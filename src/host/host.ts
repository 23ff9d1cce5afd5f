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
import { createNatsBus } from '../adapters/nats-bus.js';
import { createThreadLanes } from '../adapters/thread-lane.js';
import { Forwarder, type ForwardTarget } from '../cluster/forwarder.js';
import { Membership } from '../cluster/membership.js';
import { RollCall } from '../cluster/roll-call.js';
import { Shares, type Share } from '../cluster/shares.js';
import { ServeError } from '../errors.js';
import type { ActorWish } from '../policy/cluster-placement.js';
import type { Change } from '../policy/detector.js';
import type { Bus, Clock, LaneFactory, Log, Random, TimerHandle } from '../ports.js';
import type { RegrowEvent } from '../protocol/events.js';
import type { HostState } from '../protocol/host-state.js';
import type { HostStatus, StatusDocument } from '../protocol/status.js';
import { subjects as subjectsOf, type Subjects } from '../protocol/subjects.js';
import { Router } from '../serving/router.js';
import { RouteTable } from '../serving/routes.js';
import { SharedServing } from '../serving/shared.js';
import type { InferAnswer, InferCall } from '../serving/ticket.js';
import { parseHost, type HostSpec } from '../spec/host.js';
import { worker } from '../supervision/child.js';
import { createSupervisor, type Supervisor, type SupervisorRef } from '../supervision/create-supervisor.js';
import { createStartGate } from '../supervision/start-gate.js';
import { subtree } from '../supervision/supervisor.js';
import { ActorRuntime, type ActorSurroundings } from './actor-runtime.js';
import { applySpec, type ApplyResult, type InForce } from './apply.js';
import { Board } from './board.js';
import { listenForOrders, wanted, type Verb } from './control.js';
import { Boot } from './boot.js';
import { openDataDir, hostIdOf, type DataDir } from './data-dir.js';
import { Links } from './links.js';
import { DeadLetters } from './dead-letters.js';
import { deadLetterVerb } from './dead-letter-orders.js';
import { Pins, sha256OfChunks, type Pin } from './pins.js';
import { quarantineFile } from './quarantine-file.js';
import type { ActorSpec } from '../spec/actor.js';
import { Devices } from './devices.js';
import { hostState, targetsOf } from './host-state.js';
import { MemoryWatch } from './memory-watch.js';
import { Placement } from './placement.js';
import { specHash } from './spec-hash.js';
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
  readonly lanes?: Readonly<Record<'process' | 'thread', LaneFactory>> | undefined;
}

/** Beyond drainMs, for unsubscribing, flushing and telling. */
const DRAIN_EXTRA_MS = 5000;
/** For another host of the same id to answer. */
const ID_CALL_MS = 500;
/** For the broker to answer at a start, before a host takes it that there is none for now. */
const LINK_WAIT_MS = 1000;
/** For what the others say to arrive. */
const ROUND_TRIP_MS = 200;
/** For the broker to confirm that nothing more is on its way. */
const FLUSH_MS = 2000;

export class Host implements AsyncDisposable {
  readonly id: string;
  /** Of this process: a ULID. */
  readonly incarnation: string;
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
  #members: Membership | undefined;
  readonly #shares: Shares | undefined;
  /** Asked to stop: others take over what this host runs while it still serves. */
  #leaving = false;
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
    this.incarnation = random.ulid();
    this.#subjects = subjectsOf(spec.prefix);
    this.#board = new Board(clock, { id: this.id, incarnation: this.incarnation, version: outside.version }, spec.devices.map(({ id }) => id));
    this.#story = new Story({ hostId: this.id, incarnation: this.incarnation, clock, log, board: this.#board });
    this.#shared = new SharedServing({
      clock, queueBytesMax: spec.queueBytesMax, holdMs: spec.holdMs, hash: sha256OfChunks,
      readyElsewhere: (actor) => this.#targets(actor).length > 0,
    });
    const forwarder = new Forwarder({
      clock,
      subjects: this.#subjects,
      bus: () => this.#bus,
      targets: (actor) => this.#targets(actor),
      actors: () => (this.#members?.members() ?? []).flatMap(({ state }) => state?.actors.map(({ name }) => name) ?? []),
      onLost: (host, lost) => this.#members?.onLost(host, lost) ?? (() => {}),
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
    this.#shares = this.#clustered ? this.#newShares() : undefined;
    this.#memory = new MemoryWatch({ clock, board: this.#board, recycle: (actor, replica, why) => this.#placement.eject(actor, replica, why) });
    this.#showDevices();
    this.#boot = new Boot(spec.actors.map(({ name }) => name));
    this.settled = this.#boot.settled;
  }

  // -------------------------------------------------------------------------------------------------------------- using

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
    const result = this.#applying.then(() => this.#apply(next));
    this.#applying = result.catch(() => {});
    return result;
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
    const result = await applySpec(this.#spec, next, this.#inForce, {
      pin: (spec) => this.#pins.pin(spec),
      add: async (spec, pin) => {
        const runtime = this.#newRuntime(spec, pin);
        await this.#placement.add(runtime, runtime.edition(spec, pin));
      },
      roll: async (spec, pin) => {
        const stopped = await this.#placement.roll(this.#runtimes.get(spec.name)!.edition(spec, pin));
        if (stopped === undefined) this.#inForce.set(spec.name, { spec, pin });
        return stopped;
      },
      withdraw: async (actor) => {
        await this.#placement.withdraw(actor);
        this.#router.unregister(actor);
        this.#board.removeActor(actor);
        this.#runtimes.delete(actor);
        this.#inForce.delete(actor);
      },
    });
    const refused = new Set(result.changes.filter(({ change }) => change === 'refused').map(({ actor }) => actor));
    this.#spec = { ...this.#spec, actors: next.actors.map((spec) => (refused.has(spec.name) ? this.#inForce.get(spec.name)!.spec : spec)) };
    await this.#pins.collect([...this.#inForce.values()].map(({ pin }) => pin));
    this.#memory.start();
    for (const { actor, change, reason } of result.changes) if (change !== 'unchanged') this.#story.tell('spec-changed', `${change}: ${reason}`, { actor });
    return result;
  }

  #newRuntime(spec: ActorSpec, pin: Pin): ActorRuntime {
    const runtime = new ActorRuntime(spec, pin, this.#around);
    this.#runtimes.set(spec.name, runtime);
    this.#inForce.set(spec.name, { spec, pin });
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
      reachable: (actor, reachable) => this.#links?.setReachable(actor, reachable),
      poisoned: (actor, fingerprint, ticket, detail) => {
        const { requestId, outputs } = ticket.call;
        quarantine?.save();
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
    const pins = await Promise.all(spec.actors.map((actor) => this.#pins.pin(actor)));
    await this.#pins.collect(pins);
    const pools = spec.actors.map((actor, index) => {
      const runtime = this.#newRuntime(actor, pins[index]!);
      return this.#placement.place(runtime, runtime.edition(actor, pins[index]!));
    }).filter((pool) => pool !== undefined);
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

  get #clustered(): boolean {
    return this.#outside.clustered ?? this.#spec.nats !== undefined;
  }

  /** Knows the other hosts while it runs, on a connection of its own: large tensors must not make a host look dead. */
  #membershipWorker(): ReturnType<typeof worker> {
    const { clock, log } = this.#outside;
    return worker(async ({ signal, ready }) => {
      const bus = this.#newBus('control');
      const closed = new Promise<never>((_, reject) => {
        bus.onState((state, detail) => {
          if (state === 'closed') reject(new Error(`the control connection closed: ${detail}`));
        });
      });
      const members = new Membership({
        bus, clock, log, subjects: this.#subjects, id: this.id, incarnation: this.incarnation, limits: this.#spec,
        state: () => this.#ownState(),
        draining: () => this.#leaving,
        load: () => [...this.#runtimes.values()].reduce((sum, { dispatcher }) => sum + dispatcher.inFlight, 0),
        judged: (change) => this.#judged(change),
        changed: () => this.#shares?.changed(),
        ticked: () => this.#shares?.ticked(),
        storeSequence: () => 0,
      });
      this.#members = members;
      ready();
      void this.#firstLook(bus, signal);
      try {
        await Promise.race([closed, aborted(signal)]);
      } finally {
        this.#members = undefined;
        members.close();
        await bus.close();
      }
    });
  }

  #newBus(name: string): Bus {
    const { clock, log, bus } = this.#outside;
    return bus?.() ?? (this.#spec.nats ? createNatsBus({ name: `regrow ${this.id} ${name}`, ...this.#spec.nats }, { clock, log }) : createMemoryBus({ clock, log }).connect());
  }

  /** Other hosts that can answer for the actor now. */
  #targets(actor: string): ForwardTarget[] {
    return targetsOf(this.#members?.members() ?? [], actor);
  }

  #judged({ host, to, reason }: Change): void {
    if (to === 'suspect') this.#story.tell('host-suspect', reason, { detail: { suspect: host } });
    if (to === 'gone') this.#story.tell('host-gone', reason, { detail: { gone: host } });
    if (to === 'dead') this.#story.tell('host-dead', reason, { detail: { dead: host } });
  }

  #ownState(): Omit<HostState, 'version'> {
    return hostState({
      id: this.id, incarnation: this.incarnation, board: this.#board, devices: this.#spec.devices, draining: this.#leaving, paused: this.#placement.paused(),
      inForce: this.#inForce, connection: undefined, modules: [], fetches: false,
    });
  }

  #stateChanged(): void {
    this.#members?.stateChanged();
    this.#shares?.changed();
  }

  #newShares(): Shares {
    return new Shares({
      clock: this.#outside.clock,
      limits: { suspectAfterMs: this.#spec.suspectAfterMs, hostsMax: 2 },
      own: () => this.#ownState(),
      members: () => this.#members?.members(),
      wishes: () => this.#wishes(),
      held: () => this.#placement.held(),
      decided: (shares) => this.#take(shares),
      braked: (holds, silent, hosts) => {
        const reason = holds ? `${silent} of ${hosts} hosts are silent at once: nothing is taken over for up to 60 s` : 'hosts are taken at their word again';
        this.#outside.log.log('warn', 'brake', { holds, reason });
      },
    });
  }

  /** What is wanted in the cluster, as far as this host knows. */
  #wishes(): ActorWish[] {
    return [...this.#inForce.values()].map(({ spec, pin }) => ({ name: spec.name, hash: specHash(spec, pin), replicas: spec.replicas, devices: spec.devices, fileOnly: true as const }));
  }

  #take(shares: ReadonlyMap<string, Share>): void {
    for (const [actor, { count, elsewhere }] of shares) {
      const where = elsewhere.length > 0 ? `its replicas are on ${elsewhere.join(', ')}` : 'no host has a place for it';
      this.#placement.setShare(actor, count, where);
    }
  }

  /**
   * Before it takes its share a host hears who else is there; else every start would load everything for half a minute.
   * Alone, or with a broker that is away, it does not wait for anybody.
   */
  async #firstLook(bus: Bus, signal: AbortSignal): Promise<void> {
    const shares = this.#shares!;
    if (shares.isOpen) return;
    await Promise.race([this.#within(isUp(bus), LINK_WAIT_MS), aborted(signal)]);
    if (!signal.aborted && bus.state === 'up' && !(await this.#isAlone(bus))) await Promise.race([this.#within(new Promise(() => {}), this.#spec.beatMs + ROUND_TRIP_MS), aborted(signal)]);
    if (!signal.aborted) shares.open();
  }

  async #isAlone(bus: Bus): Promise<boolean> {
    try {
      const { data } = await bus.request(this.#subjects.status, new Uint8Array(), { timeoutMs: ID_CALL_MS });
      return (JSON.parse(new TextDecoder().decode(data)) as StatusDocument).hosts.every(({ id }) => id === this.id);
    } catch (error) {
      return (error as { code?: string }).code === 'NO_RESPONDERS';
    }
  }

  /** Takes requests while it runs; its end is the drain of the host. */
  #endpointsWorker(): ReturnType<typeof worker> {
    return worker(async ({ signal, ready }) => {
      const bus = this.#bus;
      if (!bus) throw new Error('there is no bus to listen on');
      ready(); // a broker that is away must not keep the host from serving its own process
      if (this.#spec.nats && !(await this.#idIsFree(bus, signal))) return aborted(signal);
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

  /**
   * Calls its own id on the bus before it answers to it: an answer from another incarnation means that two hosts would be
   * one to everybody else. Waits for the broker as long as that takes. False: taken, or asked to stop meanwhile.
   */
  async #idIsFree(bus: Bus, signal: AbortSignal): Promise<boolean> {
    await Promise.race([isUp(bus), aborted(signal)]);
    if (signal.aborted) return false;
    const answer = await bus.request(this.#subjects.statusOf(this.id), new Uint8Array(), { timeoutMs: ID_CALL_MS }).catch(() => undefined);
    if (!answer) return !signal.aborted;
    const { incarnation } = JSON.parse(new TextDecoder().decode(answer.data)) as HostStatus;
    if (incarnation === this.incarnation) return true;
    const why = `host id "${this.id}" is in use by another host (incarnation ${incarnation}); give this one another "host"`;
    this.#outside.log.log('error', 'duplicate-host-id', { reason: why });
    this.#reportConflict(why);
    void this.stop();
    return false;
  }

  /** Orders are taken only where the broker knows who gives them. */
  get #hearsOrders(): boolean {
    const { nats } = this.#spec;
    return nats !== undefined && [nats.user, nats.token, nats.credsFile, nats.nkeySeedFile].some((credential) => credential !== undefined);
  }

  #verbs(): Readonly<Record<string, Verb>> {
    return {
      apply: (request) => {
        const parsed = parseHost(request['spec'], { cores: this.#outside.cores ?? availableParallelism(), resolve: (path) => path });
        if (!parsed.ok) throw new ServeError('INVALID_ARGUMENT', parsed.problems.map(({ path, message }) => `${path}: ${message}`).join('\n'));
        // What the order leaves out (nobody sends credentials) is not asked to change.
        const given = Object.keys(request['spec'] as object);
        return this.apply(parsed.spec).then((result) => ({ ...result, needRestart: result.needRestart.filter((key) => given.includes(key)) }));
      },
      restart: (request) => this.restart(wanted(request, 'actor')),
      eject: (request) => this.eject(wanted(request, 'replica')),
      drain: async () => {
        this.#noteDrainOrdered();
        void this.stop(); // the bus goes last, the answer to this order long before
        return { draining: true };
      },
      'dead-letters': deadLetterVerb({
        letters: this.#letters,
        router: this.#router,
        log: this.#outside.log,
        specOf: (actor) => this.#inForce.get(actor)?.spec,
        lend: (actor) => this.#placement.lend(actor),
        release: this.#lift,
        answerBytesMax: () => this.#bus?.payloadBytesMax ?? Infinity,
      }),
    };
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
      document: async () => ({ ...this.status(), hosts: await rollCall.hosts(this.hostStatus(), this.#members?.members() ?? []) }),
      host: () => this.hostStatus(),
    });
    this.#links = links;
    for (const [actor, { dispatcher }] of this.#runtimes) links.setReachable(actor, dispatcher.takesRequests);
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
    const shares = this.#shares;
    if (!shares?.isOpen || this.#members === undefined || !this.#members.members().some(({ liveness, state }) => liveness === 'alive' && state && !state.draining)) return;
    this.#board.hostChanged('draining: its replicas are proven on other hosts first');
    await this.#within(shares.left(), this.#spec.drainMs);
  }

  async #stop(): Promise<void> {
    this.#leaving = true;
    await this.#moveOff();
    this.#shares?.close();
    this.#draining = true;
    this.#placement.stop();
    this.#memory.stop();
    const probesEnded = this.#devices.stop();
    this.#board.hostChanged('draining'); // the other hosts hear of it too, and send nothing more
    await this.#root.stop();
    await probesEnded;
    await this.#codec.close();
    for (const { dispatcher } of this.#runtimes.values()) dispatcher.close(`host ${this.id} has stopped`);
    await this.#letters.close();
    this.#dataDir?.release();
  }
}

function isUp(bus: Bus): Promise<void> {
  return new Promise((resolve) => {
    if (bus.state === 'up') return resolve();
    const stop = bus.onState((state) => {
      if (state !== 'up') return;
      stop();
      resolve();
    });
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
