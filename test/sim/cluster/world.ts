/**
 * A cluster in a simulated world: real hosts with every machine and dispatcher in them, a real client, and plain callers, on
 * one simulated time with a clock for each process, simulated lanes, and a NATS that fails them. `simulateCluster(seed)`
 * runs the plan of a seed, heals everything, waits for convergence, stops all hosts, and gives back the event log with
 * what was left over. It judges nothing: that is for invariants.ts.
 */
import { createMemoryStore } from '../../../src/adapters/memory-store.js';
import { Client } from '../../../src/client/client.js';
import { inferOverBus } from '../../../src/client/call.js';
import { isServeError } from '../../../src/errors.js';
import { Host } from '../../../src/host/host.js';
import { SETTLED_AFTER_MS } from '../../../src/policy/surplus.js';
import { ATTEMPTS_MAX } from '../../../src/policy/retry.js';
import type { Bus, LaneFactory, Objects } from '../../../src/ports.js';
import type { HostStatus, StatusDocument } from '../../../src/protocol/status.js';
import { subjects as subjectsOf } from '../../../src/protocol/subjects.js';
import type { ActorSpec } from '../../../src/spec/actor.js';
import { parseHost, type HostSpec } from '../../../src/spec/host.js';
import type { NamedTensor } from '../../../src/tensor/datatype.js';
import { Chance } from '../chance.js';
import { Faults } from '../faults.js';
import { SimLane, type LaneWorld } from '../lane.js';
import { SimTime } from '../sim-time.js';
import { bytesOf, isRight, tensor } from '../work.js';
import { ClusterFaults } from './faults.js';
import { HostileBroker, Line } from './hostile-bus.js';
import { HostileStore } from './hostile-store.js';
import { clusterPlanOf, type ClusterPlan, type ClusterRequest, type HostPlan, type Theme } from './plan.js';
import { Process } from './process.js';
import { Log, type ClusterEntry } from './record.js';

/** What one host left when it had stopped. */
export interface HostRemains {
  readonly host: string;
  readonly hasStopped: boolean;
  readonly timers: number;
  readonly subscriptions: number;
  readonly lanesAlive: number;
  readonly before: HostStatus;
}

export interface ClusterRun {
  readonly plan: ClusterPlan;
  readonly specs: readonly HostSpec[];
  readonly entries: readonly ClusterEntry[];
  readonly converged: boolean;
  /** Hosts that were to be there in the end. */
  readonly living: readonly string[];
  readonly convergeBoundMs: number;
  /** The cluster as its hosts see it after it has converged. */
  readonly documents: readonly StatusDocument[];
  readonly remains: readonly HostRemains[];
}

const subjects = subjectsOf();
const encoder = new TextEncoder();
/** Longer than any ordered stop may take. */
const STOP_BOUND_MS = 60_000;
/** After it woke or came back a host is left alone for so long before anything is expected of it again. */
const RECOVERY_MS = 3000;
const DOCUMENTS = 10;
/** Mass silence and a store that lost writes hold take-overs for a minute, one after the other. */
const BRAKES_MS = 2 * 60_000;

export interface SimulateOptions {
  /** Default: as the seed says. */
  readonly theme?: Theme;
  /** Told of every message, for whoever looks into a seed. */
  readonly tap?: (line: string) => void;
}

export async function simulateCluster(seed: number, { theme, tap }: SimulateOptions = {}): Promise<ClusterRun> {
  const world = new World(clusterPlanOf(seed, theme));
  if (tap) world.broker.tap = (line) => tap(`${world.time.now().toFixed(3).padStart(10)} wire ${line}`);
  return world.run();
}

/** One host of the plan over all its incarnations. */
export class Slot {
  readonly lines: Readonly<Record<'data' | 'control', Line>>;
  readonly spec: HostSpec;
  state: 'down' | 'starting' | 'up' | 'stopping' = 'down';
  process!: Process;
  host: Host | undefined;
  data: Bus | undefined;
  lanes: SimLane[] = [];
  replicaFaults!: Faults;
  /** Things done to it, to see whether anything was. */
  hits = 0;
  /** Things that are wrong with it now. */
  ills = 0;
  /** It never comes back. */
  lost = false;
  /** Singletons it says it owns. */
  readonly owned = new Set<string>();

  constructor(readonly plan: HostPlan, broker: HostileBroker) {
    this.lines = { data: new Line('data', broker), control: new Line('control', broker) };
    const parsed = parseHost(plan.options, { cores: 4, resolve: (path) => `/simulated/${path}` });
    if (!parsed.ok) throw new Error(`the plan of ${plan.id} is a bad spec: ${JSON.stringify(parsed.problems)}`);
    this.spec = parsed.spec;
  }

  get id(): string { return this.plan.id; }

  /** As far as the world knows it can answer for the actor, and nothing is in its way. */
  isWell(actor: string): boolean {
    if (this.state !== 'up' || this.ills > 0 || !this.process.runs || this.data?.state !== 'up' || !this.host) return false;
    const status = this.host.hostStatus().actors.find(({ name }) => name === actor);
    return status !== undefined && status.ready > 0;
  }
}

export class World {
  readonly time = new SimTime();
  readonly log = new Log(() => this.time.now());
  readonly broker: HostileBroker;
  readonly store: HostileStore;
  readonly #objects: Objects;
  readonly slots: readonly Slot[];
  /** Callers have lines as well. */
  readonly clientLine: Line;
  readonly #client: Process;
  readonly #plain: Process;
  readonly #calls: Client;
  readonly #plainBus: Bus;
  readonly #clientBus: Bus;
  readonly #faults: ClusterFaults;
  readonly #requests = new Set<string>();
  /** Calls of embedding processes end with them. */
  readonly #open = new Map<string, ((end: 'gone' | 'left') => void) | undefined>();
  /** The callers or the broker were hit so often. */
  callerHits = 0;
  callerIlls = 0;
  #lanes = 0;
  #lookedMs = 0;

  constructor(readonly plan: ClusterPlan) {
    const { seed } = plan;
    this.broker = new HostileBroker(this.time, new Chance(seed, 'net'));
    this.store = new HostileStore(this.time, new Chance(seed, 'store'), this.broker);
    this.#objects = createMemoryStore({ clock: this.time, log: { log: () => {} } }).objects();
    this.slots = plan.hosts.map((host) => new Slot(host, this.broker));
    this.#client = new Process(this.time, 'client', plan.clientRate, 0, seed);
    this.#plain = new Process(this.time, 'plain', 1, 0, seed);
    this.clientLine = new Line('data', this.broker);
    this.#clientBus = this.broker.connect(this.#client, this.clientLine);
    this.#plainBus = this.broker.connect(this.#plain, this.clientLine);
    this.#calls = new Client({ bus: this.#clientBus, subjects, clock: this.#client.clock, random: this.#client.random });
    this.#faults = new ClusterFaults(this);
    this.store.written = ({ name: host }, what, key, bytes) => {
      const value = new TextDecoder().decode(bytes);
      // Renewals are many and say nothing, but for the last one.
      if (/^(own|fence)\./.test(key) || (key.startsWith('lease.') && value.includes('true'))) this.log.add({ type: 'written', host, what, key, value });
    };
    this.store.acknowledged = ({ name: host }, _what, key, sentMs) => {
      if (key.startsWith(`lease.${host}.`)) this.log.add({ type: 'renewed', host, sentMs });
    };
    this.broker.carried = (request, { name, runs }) => {
      const slot = this.slots.find(({ id }) => id === name);
      if (slot && this.#requests.has(request)) this.log.add({ type: 'carried', request, host: name, well: runs && slot.ills === 0 });
    };
  }

  async run(): Promise<ClusterRun> {
    const { time, plan, log } = this;
    for (const slot of this.slots) this.start(slot);
    await time.run(10_000, () => this.slots.every(({ state }) => state === 'up'));
    await time.run(time.now() + 1500);
    const fromMs = time.now();
    let toCome = plan.requests.length;
    for (const request of plan.requests) {
      time.setTimeout(() => {
        toCome--;
        this.#submit(request);
      }, request.atMs);
    }
    const keepCopies = (): void => {
      this.store.keepCopy();
      if (time.now() < fromMs + plan.calmMs) time.setTimeout(keepCopies, 500);
    };
    keepCopies();
    for (const fault of plan.faults) time.setTimeout(() => this.#faults.strike(fault), fault.atMs);
    await time.run(fromMs + plan.calmMs);
    this.#faults.end();
    log.add({ type: 'world', kind: 'calm' });
    const convergeBoundMs = Math.max(time.now(), this.#faults.lastMs) + this.#convergeMs();
    let converged = false;
    await time.run(convergeBoundMs, () => (converged ||= toCome === 0 && this.#open.size === 0 && time.now() >= this.#faults.lastMs && this.#converged));
    if (converged) log.add({ type: 'world', kind: 'converged' });
    // The hosts have told each other by then.
    await time.run(time.now() + (converged && plan.waitsForSurplus ? this.#surplusMs() : 4000));
    this.#probe();
    const documents = await this.#documents();
    await time.run(time.now() + 20_000, () => this.#open.size === 0);
    const remains = await this.#stopAll();
    return { plan, specs: this.slots.map(({ spec }) => spec), entries: log.entries, converged, living: this.#living.map(({ id }) => id), convergeBoundMs, documents, remains };
  }

  // ---------------------------------------------------------------------------------------------------------------- hosts

  start(slot: Slot): void {
    const { id, plan } = slot;
    slot.state = 'starting';
    slot.host = undefined;
    slot.lanes = [];
    slot.owned.clear();
    const process = slot.process = new Process(this.time, id, plan.rate, plan.wallOffsetMs, this.plan.seed);
    const recorder = this.log.of(id);
    slot.replicaFaults = new Faults(this.time, recorder, slot.lanes, { rollOut: () => false, busDown: () => false, busUp: () => {} });
    const laneWorld: LaneWorld = {
      clock: process.outsideClock,
      chance: new Chance(this.plan.seed, `lanes ${id} ${this.time.now()}`),
      recorder,
      reached: (...step) => slot.replicaFaults.reached(...step),
      isRequest: (request) => this.#requests.has(request),
      nestedSubmitted: () => {},
      nestedEnded: () => {},
    };
    const factory = (isolation: 'process' | 'thread'): LaneFactory => {
      let zombies = 0;
      return {
        open: (order) => {
          const actor = this.plan.actors.find(({ name }) => name === order.load.actor)!;
          const lane = new SimLane(++this.#lanes, actor, isolation, order, laneWorld, (delta) => (zombies += delta));
          slot.lanes.push(lane);
          return lane;
        },
        get zombies() { return zombies; },
      };
    };
    let connections = 0;
    this.log.add({ type: 'hostStarts', host: id });
    void Host.start(slot.spec, {
      clock: process.clock,
      random: process.random,
      version: 'sim',
      clustered: true,
      log: {
        log: (_level, event, { actor, replica, ...fields } = {}) => {
          if (event === 'singleton-taken') slot.owned.add(String(actor));
          if (event === 'singleton-lost' || event === 'singleton-handed-over') slot.owned.delete(String(actor));
          recorder.add({ type: 'told', event, fields, ...(actor !== undefined && { actor: String(actor) }), ...(replica !== undefined && { replica: String(replica) }) });
        },
      },
      bus: () => {
        const bus = this.broker.connect(process, slot.lines[connections++ % 2 === 0 ? 'data' : 'control']);
        if (connections % 2 === 1) slot.data = bus;
        return bus;
      },
      store: (bus) => ({ store: this.store.connect(bus, process), objects: this.#objects }),
      wakefulClocksMs: () => [process.wallTime(), process.bootTimeMs()],
      lanes: { process: factory('process'), thread: factory('thread') },
    }).then(async (host) => {
      if (slot.process !== process) return;
      slot.host = host;
      await host.settled;
      if (slot.process !== process || slot.state !== 'starting') return;
      slot.state = 'up';
      this.log.add({ type: 'hostSettled', host: id });
    });
  }

  /** The machine of a host that was lost is back, under its old address or another one. */
  comeBack(slot: Slot, sameAddress: boolean): void {
    if (sameAddress) this.broker.processReplaced(slot.process);
    this.start(slot);
  }

  /** @param abruptly nobody closes its connections: the machine is gone, not only the process */
  crash(slot: Slot, abruptly: boolean): void {
    slot.hits++;
    slot.state = 'down';
    slot.replicaFaults.end();
    slot.process.kill();
    this.broker.processChanged(slot.process, abruptly);
    this.log.add({ type: 'hostCrashes', host: slot.id });
    this.#endCallsOf(slot, 'gone');
  }

  /** Ordered: what it accepted is answered first. */
  drain(slot: Slot, then: () => void): void {
    const { process, host } = slot;
    slot.hits++;
    slot.state = 'stopping';
    this.log.add({ type: 'hostStopAsked', host: slot.id });
    void host!.stop().then(async () => {
      // Whoever was answered last hears of it first.
      await Promise.resolve();
      if (slot.process !== process || process.state === 'dead') return;
      this.log.add({ type: 'hostStopped', host: slot.id });
      this.#endCallsOf(slot, 'left');
      slot.state = 'down';
      slot.replicaFaults.end();
      process.kill();
      this.broker.processChanged(process);
      then();
    });
  }

  /** Something is wrong with it until the returned function is called, and for a moment after. */
  afflict(slot: Slot): () => void {
    const { process } = slot;
    slot.hits++;
    slot.ills++;
    this.log.add({ type: 'hostIll', host: slot.id });
    return () => {
      this.time.setTimeout(() => {
        if (--slot.ills === 0 && slot.process === process) this.log.add({ type: 'hostWell', host: slot.id });
      }, RECOVERY_MS);
    };
  }

  // ------------------------------------------------------------------------------------------------------------- requests

  #submit(plan: ClusterRequest): void {
    const { actor, content, timeoutMs, via } = plan;
    const caller = via === 'host' ? this.#callerHost(plan) : undefined;
    if (via === 'host' && !caller) return;
    const request = caller ? `${caller.id}:${plan.request}` : plan.request;
    const spec = this.#specOf(actor);
    const idempotent = spec.idempotent && plan.idempotent !== false;
    const question = bytesOf(content);
    const well = this.slots.filter((slot) => slot.isWell(actor)).map((slot) => ({ slot, hits: slot.hits, process: slot.process }));
    const hitsBefore = this.callerHits;
    const illBefore = this.callerIlls > 0 || this.#clientBus.state !== 'up' || this.#plainBus.state !== 'up';
    this.#requests.add(request);
    this.log.add({
      type: 'asked', request, actor, content, via, idempotent, budgetMs: timeoutMs, rate: caller?.process.rate ?? (via === 'client' ? this.plan.clientRate : 1),
      executionsMax: via === 'client' ? ATTEMPTS_MAX : 1 + spec.replaysMax, well: well.map(({ slot }) => slot.id),
    });
    const call = { timeoutMs, requestId: request, ...(!idempotent && { idempotent: false as const }) };
    let answer: Promise<{ outputs: readonly NamedTensor[]; servedBy?: string | undefined; host?: string | undefined; attempts?: number | undefined; epoch?: number | undefined }>;
    if (caller) answer = caller.host!.infer(actor, { ...call, inputs: [tensor('x', question)] });
    else if (via === 'bus') answer = inferOverBus(this.#plainBus, subjects.infer(actor), { ...call, inputs: [tensor('x', question)] });
    else {
      answer = this.#calls.infer(actor, { x: { datatype: 'UINT8', shape: [question.length], data: question } }, { ...call, idempotent })
        .then(({ outputs, ...rest }) => ({ ...rest, outputs: Object.entries(outputs).map(([name, { data }]) => tensor(name, new Uint8Array((data as Uint8Array).buffer, (data as Uint8Array).byteOffset, (data as Uint8Array).byteLength))) }));
    }
    const ended = (event: { end: string; unknown?: true; right?: boolean; servedBy?: string; message?: string; attempts?: number; epoch?: number }): void => {
      if (!this.#open.delete(request)) return;
      this.log.add({
        type: 'answered', request, ...event,
        well: well.filter(({ slot, hits, process }) => slot.hits === hits && slot.process === process && slot.isWell(actor)).map(({ slot }) => slot.id),
        callerHit: illBefore || this.callerHits !== hitsBefore || this.callerIlls > 0,
      });
    };
    this.#open.set(request, caller && ((end) => ended({ end })));
    answer.then(
      ({ outputs, servedBy, host, attempts, epoch }) => ended({
        end: 'ok', right: isRight(actor, question, outputs), ...(servedBy && { servedBy: servedBy.includes('/') ? servedBy : `${host ?? caller?.id}/${servedBy}` }),
        ...(attempts !== undefined && { attempts }), ...(epoch !== undefined && { epoch }),
      }),
      (error: unknown) => {
        if (!isServeError(error)) ended({ end: 'thrown', message: String((error as Error)?.stack ?? error) });
        else ended({ end: error.code, message: error.message, ...(error.outcome && { unknown: true }), ...(error.attempts !== undefined && { attempts: error.attempts }) });
      },
    );
  }

  #endCallsOf(slot: Slot, end: 'gone' | 'left'): void {
    for (const [request, over] of this.#open) if (request.startsWith(`${slot.id}:`)) over?.(end);
  }

  /** A frozen process asks nothing. */
  #callerHost({ chance }: ClusterRequest): Slot | undefined {
    const fit = this.slots.filter(({ state, process, host }) => state === 'up' && process.runs && host);
    return fit[Math.floor(chance * fit.length)];
  }

  #specOf(actor: string): ActorSpec {
    return this.slots[0]!.spec.actors.find(({ name }) => name === actor)!;
  }

  /** After everything has healed each actor must answer, whoever asks. */
  #probe(): void {
    for (const { name } of this.plan.actors.filter((actor) => actor.name !== this.plan.broken)) {
      for (const via of ['client', 'bus', 'host'] as const) {
        this.#submit({ atMs: 0, request: `probe-${via}-${name}`, actor: name, content: 'echo 424242', timeoutMs: 5000, idempotent: undefined, via, chance: 0.5 });
      }
    }
  }

  async #documents(): Promise<StatusDocument[]> {
    const found: StatusDocument[] = [];
    let left = DOCUMENTS;
    for (let i = 0; i < DOCUMENTS; i++) {
      void this.#plainBus.request(subjects.status, encoder.encode(''), { timeoutMs: 2000 })
        .then(({ data }) => found.push(JSON.parse(new TextDecoder().decode(data)) as StatusDocument), () => {})
        .finally(() => left--);
    }
    await this.time.run(this.time.now() + 5000, () => left === 0);
    return found;
  }

  // ---------------------------------------------------------------------------------------------------------- convergence

  get #living(): readonly Slot[] {
    return this.slots.filter(({ lost }) => !lost);
  }

  get #converged(): boolean {
    const { plan, time } = this;
    if (!this.#living.every(({ state, data, lines, ills }) => state === 'up' && ills === 0 && data?.state === 'up' && lines.control.open)) return false;
    // Looking is dear, and nothing depends on the very moment.
    if (time.now() < this.#lookedMs + 50) return false;
    this.#lookedMs = time.now();
    const ready = new Map<string, number>();
    for (const { host, owned } of this.#living) {
      for (const actor of host!.hostStatus().actors) {
        if (actor.name === plan.broken) continue;
        if (actor.ready !== actor.wanted) return false;
        if (!this.#specOf(actor.name).singleton || owned.has(actor.name)) ready.set(actor.name, (ready.get(actor.name) ?? 0) + actor.ready);
      }
    }
    return plan.actors.every(({ name }) => name === plan.broken || (ready.get(name) ?? 0) >= this.#specOf(name).replicas);
  }

  /** Surplus replicas go 30 s after everything is as it should be, by slow clocks; twice, because views differ. */
  #surplusMs(): number {
    return (2 * SETTLED_AFTER_MS + 5000) / Math.min(...this.slots.map(({ plan }) => plan.rate));
  }

  /** The longest way back: bad requests run into their deadlines on hung replicas, pools come back at their longest backoff, clocks are slow. */
  #convergeMs(): number {
    const worst = (of: (actor: ActorSpec) => number): number => Math.max(...this.slots.flatMap(({ spec }) => spec.actors.map(of)));
    const slowest = Math.min(...this.slots.map(({ plan }) => plan.rate), this.plan.clientRate);
    return (worst((actor) => actor.timeoutMaxMs) + worst((actor) => 2 * (actor.hangMs + 1000)) + worst((actor) => 2 * actor.startTimeoutMs + 3 * actor.restart.backoff.maxMs) + this.slots[0]!.spec.leaseMs + BRAKES_MS + 10_000) / slowest;
  }

  async #stopAll(): Promise<HostRemains[]> {
    const { time } = this;
    const remains: HostRemains[] = [];
    const pictures = new Map(this.slots.flatMap(({ id, host, state }) => (host && state === 'up' ? [[id, host.hostStatus()]] : [])));
    for (const slot of this.slots) {
      const before = pictures.get(slot.id);
      if (!slot.host || slot.state !== 'up' || !before) continue;
      let over = false;
      this.log.add({ type: 'hostStopAsked', host: slot.id });
      void slot.host.stop().then(() => { over = true; });
      await time.run(time.now() + STOP_BOUND_MS, () => over);
      const timers = slot.process.clock.pending;
      await time.run(time.now() + 200);
      remains.push({ host: slot.id, before, hasStopped: over, timers, subscriptions: this.broker.interestsOf(slot.process), lanesAlive: slot.lanes.filter(({ alive }) => alive).length });
      slot.state = 'down';
      slot.process.kill();
    }
    return remains;
  }
}
