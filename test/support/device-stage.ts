/**
 * A host on simulated time whose devices do what the test says: compute, break under a run, refuse loads, crash. The host
 * is the real one; only its lanes, its clock and its bus in memory are not.
 */
import { Host } from '../../src/host/host.js';
import { probeOutputs } from '../../src/host/probe-model.js';
import type { LaneFactory, LaneOrder, LoadReply, RunReply, RunTask } from '../../src/ports.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import type { ActorStatus, DeviceStatus } from '../../src/protocol/status.js';
import type { InferAnswer } from '../../src/serving/ticket.js';
import type { ActorOptions } from '../../src/spec/actor.js';
import { parseHost } from '../../src/spec/host.js';
import { SimClock, settle } from './sim-clock.js';
import { SimLane } from './sim-lane.js';

export type Mood =
  | 'computes'
  /** Every load and run says that the device is gone. */
  | 'broken'
  /** The process of whatever loads there dies; probes do not. */
  | 'crashes'
  /** Loads do not end until the mood changes. */
  | 'dawdles';

export class DeviceLane extends SimLane {
  /** Its own context is poisoned, whatever its device is like. */
  poisoned = false;
  /** Runs stay under way until `answer` or `fail`. */
  holds = false;
  loaded = false;
  #load: (() => void) | undefined;

  constructor(readonly order: LaneOrder, private readonly mood: () => Mood) {
    super();
  }

  get device(): string {
    return this.order.load.device;
  }

  get isProbe(): boolean {
    return this.order.replica.startsWith('probe-');
  }

  override load(): Promise<LoadReply> {
    return new Promise((resolve) => {
      this.#load = () => {
        const mood = this.mood();
        if (mood === 'dawdles' && !this.isProbe) return;
        this.#load = undefined;
        if (mood === 'broken') return resolve({ ok: false, message: `${this.device} is on fire`, permanent: false, deviceFatal: true });
        if (mood === 'crashes' && !this.isProbe) return this.die('crashed', 'SIGSEGV');
        this.loaded = true;
        resolve({ ok: true, runtime: 'sim', loadMs: 0 });
      };
      this.#load();
    });
  }

  moodChanged(): void {
    if (!this.ended) this.#load?.();
  }

  override run(task: RunTask): Promise<RunReply | undefined> {
    const reply = super.run(task);
    if (this.isProbe) queueMicrotask(() => this.answer({ ok: true, outputs: probeOutputs, runMs: 1 }));
    else if (!this.holds) queueMicrotask(() => this.go());
    return reply;
  }

  /** The oldest run ends as its device would have it. */
  go(): void {
    if (this.ended || this.pending.length === 0) return;
    const fire: RunReply = { ok: false, code: 'INTERNAL', message: 'CUDA failure 700', deviceFatal: true };
    this.answer(this.poisoned || this.mood() === 'broken' ? fire : { ok: true, outputs: [], runMs: 1 });
  }
}

export class DeviceStage {
  readonly clock = new SimClock();
  readonly lanes: DeviceLane[] = [];
  readonly events: RegrowEvent[] = [];
  readonly #moods = new Map<string, Mood>();
  #requests = 0;
  host!: Host;

  static async start(devices: readonly string[], actors: readonly Omit<ActorOptions, 'name'>[], moods: Readonly<Record<string, Mood>> = {}): Promise<DeviceStage> {
    const stage = new DeviceStage();
    for (const [device, mood] of Object.entries(moods)) stage.#moods.set(device, mood);
    const parsed = parseHost({
      host: 'stage', devices,
      actors: actors.map((actor, at) => ({ name: `actor${at}`, module: '/nowhere.js', idempotent: true, ...actor })),
    }, { cores: 4, resolve: (path) => path });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
    const factory: LaneFactory = {
      zombies: 0,
      open: (order) => {
        const lane = new DeviceLane(order, () => stage.#moods.get(order.load.device) ?? 'computes');
        stage.lanes.push(lane);
        return lane;
      },
    };
    let ulid = 0;
    stage.host = await Host.start(parsed.spec, {
      clock: stage.clock, version: 'test', lanes: { process: factory, thread: factory },
      random: { next: () => 0.5, ulid: () => `id-${++ulid}` },
      log: { log: () => {} },
    });
    stage.host.onEvent((event) => stage.events.push(event));
    await stage.pass(0);
    return stage;
  }

  /** How the device is from now on. */
  async mood(device: string, mood: Mood): Promise<void> {
    this.#moods.set(device, mood);
    for (const lane of this.lanes) if (lane.device === device) lane.moodChanged();
    await this.pass(0);
  }

  /** Time goes by; with 0, everything that does not wait for time happens. */
  async pass(ms: number): Promise<void> {
    await settle(20);
    await this.clock.advance(ms);
    await settle(20);
  }

  infer(actor = 'actor0', idempotent?: boolean): Promise<InferAnswer> {
    return this.host.infer(actor, { requestId: `r${++this.#requests}`, inputs: [], idempotent });
  }

  /** Live lanes of replicas, as `device replica`. */
  get alive(): string[] {
    return this.lanes.filter((lane) => !lane.ended && !lane.isProbe).map((lane) => lane.order.replica);
  }

  lane(replica: string): DeviceLane {
    const lane = this.lanes.findLast((candidate) => candidate.order.replica === replica);
    if (!lane) throw new Error(`no lane ${replica}; there are: ${this.lanes.map(({ order }) => order.replica)}`);
    return lane;
  }

  probes(device: string): number {
    return this.lanes.filter((lane) => lane.isProbe && lane.device === device).length;
  }

  device(id: string): DeviceStatus {
    return this.host.hostStatus().devices.find((device) => device.id === id)!;
  }

  actor(name = 'actor0'): ActorStatus {
    return this.host.hostStatus().actors.find((actor) => actor.name === name)!;
  }

  /** `type: reason` of the events of these types so far. */
  told(...types: RegrowEvent['type'][]): string[] {
    return this.events.filter(({ type }) => types.includes(type)).map(({ type, reason }) => `${type}: ${reason}`);
  }

  async stop(): Promise<void> {
    const stopped = this.host.stop();
    let over = false;
    void stopped.then(() => (over = true));
    while (!over) await this.clock.advance(100);
    await stopped;
  }
}
