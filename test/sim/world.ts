/**
 * One host in a simulated world: the real Host, with every machine and dispatcher in it, on simulated time, with
 * simulated lanes and a bus in memory. `simulate(seed)` runs the plan of a seed, waits for the host to heal, stops it,
 * and gives back the event log with what was left over at the end. It judges nothing: that is for invariants.ts.
 */
import { createMemoryBus, type MemoryBroker } from '../../src/adapters/memory-bus.js';
import { inferOverBus } from '../../src/client/call.js';
import { isServeError } from '../../src/errors.js';
import { Host } from '../../src/host/host.js';
import type { Bus, LaneFactory, NestedReply } from '../../src/ports.js';
import type { HostStatus } from '../../src/protocol/status.js';
import { subjects as subjectsOf } from '../../src/protocol/subjects.js';
import { parseHost, type HostSpec } from '../../src/spec/host.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { Chance } from './chance.js';
import { Faults, type HostFaults } from './faults.js';
import { SimLane, badVersion, type LaneWorld } from './lane.js';
import { ProbeLane } from './probe-lane.js';
import { planOf, type FaultPlan, type Plan, type RequestPlan } from './plan.js';
import { Recorder, type Entry } from './record.js';
import { CountedClock, SimTime } from './sim-time.js';
import { bytesOf, isRight, tensor } from './work.js';

/** What is left when the host has stopped and every caller has its answer. */
export interface Remains {
  /** By when everything had to be proven again, and whether it was. */
  readonly healBoundMs: number;
  readonly healed: boolean;
  /** The host's picture of itself just before it was asked to stop, and after. */
  readonly before: HostStatus;
  readonly after: HostStatus;
  readonly hasStopped: boolean;
  readonly hostTimers: number;
  readonly subscriptions: number;
}

export interface SimRun {
  readonly plan: Plan;
  readonly spec: HostSpec;
  readonly entries: readonly Entry[];
  readonly remains: Remains;
}

const subjects = subjectsOf();
/** As in host/placement.ts: what went bad is replaced one by one. */
const EJECT_EVERY_MS = 11_000;
/** A device, or a placement on it, that failed a few times in a row is tried again after as long as that. */
const DEVICES_HEAL_MS = 20 * 60_000;
/** Longer than any ordered stop may take. */
const STOP_BOUND_MS = 60_000;

export async function simulate(seed: number): Promise<SimRun> {
  const world = new World(planOf(seed));
  return world.run();
}

class World implements LaneWorld, HostFaults {
  readonly clock = new SimTime();
  readonly chance: Chance;
  readonly recorder: Recorder;
  readonly #hostClock: CountedClock;
  readonly #spec: HostSpec;
  readonly #lanes: SimLane[] = [];
  readonly #probeChance: Chance;
  #probes = 0;
  readonly #faults: Faults;
  readonly #requests = new Set<string>();
  readonly #open = new Set<string>();
  #subscriptions = 0;
  #toCome = 0;
  #host!: Host;
  #broker!: MemoryBroker;
  #callers!: Bus;
  /** In force. */
  #applied!: HostSpec;
  #rolling = false;
  #editions = 0;
  #turned = 0;

  constructor(private readonly plan: Plan) {
    this.chance = new Chance(plan.seed, 'lanes');
    this.#probeChance = new Chance(plan.seed, 'probes');
    this.recorder = new Recorder(() => this.clock.now());
    this.#hostClock = new CountedClock(this.clock);
    this.#faults = new Faults(this.clock, this.recorder, this.#lanes, this);
    const parsed = parseHost(plan.host, { cores: 4, resolve: (path) => `/simulated/${path}` });
    if (!parsed.ok) throw new Error(`seed ${plan.seed} made a bad spec: ${JSON.stringify(parsed.problems)}`);
    this.#spec = parsed.spec;
    this.#applied = parsed.spec;
    this.#turned = plan.faults.filter(({ kind }) => kind === 'turn-wrong' || kind === 'turn-nan').length;
  }

  async run(): Promise<SimRun> {
    const { clock, plan } = this;
    await this.#start();
    this.#toCome = plan.requests.length;
    for (const request of plan.requests) {
      clock.setTimeout(() => {
        this.#toCome--;
        this.#submit(request);
      }, request.atMs);
    }
    for (const fault of plan.faults) clock.setTimeout(() => this.#faults.strike(fault), fault.atMs);
    await clock.run(plan.stopMs ?? plan.calmMs);
    let healBoundMs = Infinity;
    let healed = true;
    if (plan.stopMs === undefined) {
      this.#faults.end();
      this.recorder.add({ type: 'calm' });
      healBoundMs = Math.max(clock.now(), this.#faults.lastMs) + this.#healMs();
      await clock.run(healBoundMs, () => this.#healed);
      healed = this.#healed;
      for (const { name, serviceMs } of plan.actors) this.#submit(probeOf(name, 2000 + 10 * serviceMs));
      await clock.run(clock.now() + 20_000, () => this.#open.size === 0);
    }
    const before = this.#host.hostStatus();
    const hasStopped = await this.#stop();
    const { pending: hostTimers } = this.#hostClock;
    const subscriptions = this.#subscriptions;
    this.#faults.end();
    await clock.run(clock.now() + 10_000);
    return {
      plan, spec: this.#spec, entries: this.recorder.entries,
      remains: {
        healBoundMs, healed, before, after: this.#host.hostStatus(), hasStopped, hostTimers, subscriptions,
      },
    };
  }

  async #start(): Promise<void> {
    const broker = this.#broker = createMemoryBus({ clock: this.clock, log: { log: () => {} }, schedule: queueMicrotask });
    this.#callers = broker.connect();
    let error: unknown;
    let settled = false;
    void Host.start(this.#spec, {
      clock: this.#hostClock,
      random: new Chance(this.plan.seed, 'host'),
      version: 'sim',
      log: { log: (_level, event, fields = {}) => this.#told(event, fields) },
      bus: () => this.#watched(broker.connect()),
      lanes: { process: this.#factory('process'), thread: this.#factory('thread') },
    }).then(
      (host) => { this.#host = host; },
      (cause: unknown) => { error = cause; },
    ).finally(() => { settled = true; });
    await this.clock.run(Infinity, () => settled);
    if (error) throw error;
  }

  async #stop(): Promise<boolean> {
    this.recorder.add({ type: 'stopAsked' });
    let over = false;
    void this.#host.stop().then(() => { over = true; });
    await this.clock.run(this.clock.now() + STOP_BOUND_MS, () => over);
    this.recorder.add({ type: 'stopped' });
    return over;
  }

  get #healed(): boolean {
    return this.clock.now() >= this.#faults.lastMs && !this.#rolling && !this.#lanes.some((lane) => lane.alive && lane.lie) && this.#toCome === 0 && this.#open.size === 0 && !this.#lanes.some((lane) => lane.alive && lane.running) &&
      this.#host.hostStatus().actors.every((actor) => actor.ready === actor.wanted) && this.#isHome;
  }

  /** Every actor is back on the device it would rather be on: all of them work again. */
  get #isHome(): boolean {
    return this.plan.devices.length === 0 || this.#lanes.every((lane) => !lane.alive || lane.device === this.#spec.actors.find(({ name }) => name === lane.actor.name)!.devices[0]);
  }

  /**
   * The longest way back: the last bad request runs into its deadline on its second replica, which hangs; the pool has
   * given up then and comes back at its longest backoff, twice. Then what went bad is found out and replaced.
   */
  #healMs(): number {
    const worst = (of: (actor: HostSpec['actors'][number]) => number): number => Math.max(...this.#spec.actors.map(of));
    return worst((actor) => actor.timeoutMaxMs) + worst((actor) => 2 * (actor.hangMs + 1000)) + worst((actor) => 2 * actor.startTimeoutMs + 3 * actor.restart.backoff.maxMs) + 4000 + this.#turned * EJECT_EVERY_MS +
      (this.plan.devices.length > 0 ? DEVICES_HEAL_MS : 0);
  }

  // -------------------------------------------------------------------------------------------------------------- requests

  #submit(plan: RequestPlan): void {
    const { request, actor, content, idempotent, priority, attemptsLeft, abortAfterMs, via } = plan;
    const spec = this.#spec.actors.find(({ name }) => name === actor)!;
    const question = bytesOf(content);
    const abort = abortAfterMs === undefined ? undefined : new AbortController();
    if (abort) this.clock.setTimeout(() => abort.abort(new Error('the caller is gone')), abortAfterMs!);
    const budgetMs = Math.min(plan.timeoutMs ?? spec.timeoutMs, spec.timeoutMaxMs);
    this.#requests.add(request);
    this.#open.add(request);
    this.recorder.add({
      type: 'submitted', request, actor, content, via, idempotent: spec.idempotent && idempotent !== false, budgetMs,
      executionsMax: Math.min(1 + spec.replaysMax, attemptsLeft ?? Infinity),
    });
    const call = { inputs: [tensor('x', question)], requestId: request, idempotent, priority, attemptsLeft, signal: abort?.signal };
    const answer: Promise<{ outputs: readonly NamedTensor[]; servedBy?: string | undefined; device?: string | undefined; degraded?: string | undefined }> = via === 'host'
      ? this.#host.infer(actor, { ...call, timeoutMs: plan.timeoutMs })
      : inferOverBus(this.#callers, subjects.infer(actor), { ...call, timeoutMs: budgetMs });
    answer.then(
      ({ outputs, servedBy, device, degraded }) => this.recorder.add({
        type: 'ended', request, end: 'ok', right: isRight(actor, question, outputs), ...(servedBy && { servedBy: servedBy.split('/').at(-1)! }),
        ...(device !== undefined && { device }), ...(degraded !== undefined && { degraded }),
      }),
      (error: unknown) => {
        if (!isServeError(error)) this.recorder.add({ type: 'ended', request, end: 'canceled' });
        else this.recorder.add({ type: 'ended', request, end: error.code, message: error.message, ...(error.outcome && { unknown: true }) });
      },
    ).finally(() => this.#open.delete(request));
  }

  isRequest(request: string): boolean {
    return this.#requests.has(request);
  }

  nestedSubmitted(request: string, actor: string, content: string): void {
    const spec = this.#spec.actors.find(({ name }) => name === actor)!;
    this.#requests.add(request);
    this.recorder.add({
      type: 'submitted', request, actor, content, via: 'nested', idempotent: spec.idempotent, budgetMs: spec.timeoutMaxMs, executionsMax: 1 + spec.replaysMax,
    });
  }

  nestedEnded(request: string, actor: string, question: Uint8Array, reply: NestedReply): void {
    if (reply.ok) this.recorder.add({ type: 'ended', request, end: 'ok', right: isRight(actor, question, reply.outputs) });
    else this.recorder.add({ type: 'ended', request, end: reply.code, message: reply.message, ...(reply.outcome && { unknown: true }) });
  }

  // ----------------------------------------------------------------------------------------------------------------- ports

  deviceFails(device: string): boolean {
    return this.#faults.deviceFails(device);
  }

  reached(...step: Parameters<LaneWorld['reached']>): void {
    this.#faults.reached(...step);
  }

  rollOut({ kind, actor, chance }: FaultPlan): boolean {
    if (this.#rolling) return false;
    this.#rolling = true;
    const proves = kind === 'roll-out';
    const version = proves ? `edition ${++this.#editions}` : badVersion;
    const edition = (spec: HostSpec['actors'][number]): HostSpec['actors'][number] => ({ ...spec, version, replicas: proves && chance < 0.3 ? (spec.replicas % 4) + 1 : spec.replicas });
    const next = { ...this.#applied, actors: this.#applied.actors.map((spec) => (spec.name === actor ? edition(spec) : spec)) };
    this.recorder.add({ type: 'applyAsked', actor, version, proves, replicas: next.actors.find(({ name }) => name === actor)!.replicas });
    void this.#host.apply(next).then(({ changes }) => {
      const { change, reason } = changes.find((candidate) => candidate.actor === actor)!;
      if (change === 'rolled') this.#applied = next;
      this.#rolling = false;
      this.recorder.add({ type: 'applyEnded', actor, change, reason });
    });
    return true;
  }

  busDown(): boolean {
    if (this.#callers.state !== 'up') return false;
    this.recorder.add({ type: 'busDown' });
    this.#broker.stop();
    return true;
  }

  busUp(): void {
    this.recorder.add({ type: 'busUp' });
    this.#broker.start();
  }

  #factory(isolation: 'process' | 'thread'): LaneFactory {
    let zombies = 0;
    return {
      open: (order) => {
        if (order.load.actor === 'probe') {
          const { clock, recorder } = this;
          return new ProbeLane(++this.#probes, order, { clock, recorder, chance: this.#probeChance, deviceFails: (device) => this.deviceFails(device) });
        }
        const actor = this.plan.actors.find(({ name }) => name === order.load.actor)!;
        const lane = new SimLane(this.#lanes.length + 1, actor, isolation, order, this, (delta) => (zombies += delta));
        this.#lanes.push(lane);
        return lane;
      },
      get zombies() { return zombies; },
    };
  }

  #told(event: string, { actor, replica, ...fields }: Readonly<Record<string, unknown>>): void {
    this.recorder.add({ type: 'told', event, ...(actor !== undefined && { actor: String(actor) }), ...(replica !== undefined && { replica: String(replica) }), fields });
  }

  #watched(bus: Bus): Bus {
    const prefix = subjects.infer('x').slice(0, -1);
    return {
      get state() { return bus.state; },
      get payloadBytesMax() { return bus.payloadBytesMax; },
      onState: (listener) => bus.onState(listener),
      publish: (...message) => bus.publish(...message),
      request: (...request) => bus.request(...request),
      flush: (timeoutMs) => bus.flush(timeoutMs),
      subscribe: (subject, handler, options) => {
        const actor = subject.startsWith(prefix) ? subject.slice(prefix.length) : undefined;
        const subscription = bus.subscribe(subject, handler, options);
        this.#subscriptions++;
        if (actor) this.recorder.add({ type: 'subscribed', actor });
        let open = true;
        return {
          unsubscribe: () => {
            if (open) this.#subscriptions--;
            if (open && actor) this.recorder.add({ type: 'unsubscribed', actor });
            open = false;
            subscription.unsubscribe();
          },
        };
      },
      close: () => {
        this.recorder.add({ type: 'busClosed' });
        return bus.close();
      },
    };
  }
}

/** After everything has healed each actor must answer. */
function probeOf(actor: string, timeoutMs: number): RequestPlan {
  return {
    atMs: 0, request: `probe-${actor}`, actor, content: 'echo 424242', timeoutMs, idempotent: undefined, priority: 0, attemptsLeft: undefined,
    abortAfterMs: undefined, via: 'host',
  };
}
