/** The event log read once: lives of lanes and of requests, for invariants that ask about one of them. */
import type { ActorSpec } from '../../src/spec/actor.js';
import type { Entry, Event } from './record.js';
import type { SimRun } from './world.js';

type Of<Type extends Event['type']> = Extract<Entry, { readonly type: Type }>;

export interface RunLife {
  readonly lane: LaneLife;
  readonly run: number;
  /** Undefined: a proof. */
  readonly request: string | undefined;
  readonly posted: Moment;
  started: Moment | undefined;
  /** `fatal`: it said that the device cannot be used. */
  answered: (Moment & { readonly ok: boolean; readonly right: boolean; readonly fatal: boolean }) | undefined;
}

/** `index` orders what happened in one millisecond. */
export interface Moment {
  readonly atMs: number;
  readonly index: number;
}

export interface LaneLife {
  readonly number: number;
  readonly replica: string;
  readonly actor: string;
  readonly device: string;
  readonly isolation: 'process' | 'thread';
  readonly opened: Moment;
  loaded: Moment | undefined;
  /** First right answer of a proof. */
  proved: Moment | undefined;
  /** The host said so. */
  ready: Moment | undefined;
  stopAsked: Moment | undefined;
  killed: (Moment & { readonly detail: string; readonly unheardMs: number }) | undefined;
  /** By itself. */
  died: Moment | undefined;
  exited: (Moment & { readonly reason: string }) | undefined;
  /** Went bad while it served. */
  turned: (Moment & { readonly how: 'wrong' | 'nan' }) | undefined;
  /** Said first that its device cannot be used, be it of a load, a proof or a request. */
  broke: Moment | undefined;
  /** No request may be posted from then on: its device broke under it, or under two of its siblings. */
  closed: Moment | undefined;
  /** Of which pool of its actor, in order of their making. */
  readonly pool: number;
  /** First lane of its replica, and not one of those the actor started with. */
  readonly isFresh: boolean;
  readonly frozen: { readonly fromMs: number; toMs: number }[];
  readonly runs: RunLife[];
}

export interface RequestLife {
  readonly submitted: Of<'submitted'> & Moment;
  readonly ends: (Of<'ended'> & Moment)[];
  readonly runs: RunLife[];
}

/** From then on the host says that the device is or is not to be used. */
export interface DeviceNews extends Moment {
  readonly device: string;
  readonly usable: boolean;
}

/** An edition that was to be served. */
export interface Roll {
  readonly actor: string;
  readonly proves: boolean;
  readonly replicas: number;
  readonly asked: Moment;
  ended: (Moment & { readonly change: string; readonly reason: string }) | undefined;
}

export class History {
  readonly lanes = new Map<number, LaneLife>();
  readonly requests = new Map<string, RequestLife>();
  readonly rolls: Roll[] = [];
  readonly news: DeviceNews[] = [];
  readonly #pools = new Map<string, number>();
  readonly #pooled: DevicePools | undefined;
  /** Replica under which a device broke last, by actor and device; a newcomer there makes it forgotten. */
  readonly #brokenUnder = new Map<string, string>();
  readonly stalls: readonly Of<'stalled'>[];
  /** Lanes that ended by themselves after they were ready, in order of the host's hearing of it. */
  readonly deaths: readonly LaneLife[];

  constructor(readonly sim: SimRun) {
    if (sim.plan.devices.length > 0) this.#pooled = new DevicePools();
    sim.entries.forEach((entry, index) => this.#read(entry, index));
    this.stalls = sim.entries.filter((entry): entry is Of<'stalled'> => entry.type === 'stalled');
    this.deaths = [...this.lanes.values()].filter((lane) => lane.exited && endedByItself(lane)).sort((a, b) => a.exited!.index - b.exited!.index);
  }

  get actors(): readonly ActorSpec[] {
    return this.sim.spec.actors;
  }

  actor(name: string): ActorSpec {
    return this.sim.spec.actors.find((actor) => actor.name === name)!;
  }

  lanesOf(actor: string): LaneLife[] {
    return [...this.lanes.values()].filter((lane) => lane.actor === actor);
  }

  get hasDevices(): boolean {
    return this.sim.plan.devices.length > 0;
  }

  /** As the host has said. The CPU always is. */
  isUsable(device: string, index: number): boolean {
    return device === 'cpu' || (this.news.findLast((news) => news.device === device && news.index < index)?.usable ?? false);
  }

  /** How long the host's loop stood still in the span. */
  stalledMs(fromMs: number, toMs: number): number {
    return this.stalls.reduce((sum, { atMs, ms }) => sum + (atMs <= toMs && atMs + ms >= fromMs ? ms : 0), 0);
  }

  /** Callers' runs on the lane that were not answered then. */
  pendingAt(lane: LaneLife, { index }: Moment): RunLife[] {
    return lane.runs.filter((run) => run.request !== undefined && run.posted.index < index && !(run.answered && run.answered.index < index));
  }

  /**
   * Whether the run may have brought suspicion on its request: it was on a lane that ended by itself, or was ended for
   * a run that took too long; that of a proof is nobody's fault.
   */
  casts(run: RunLife): boolean {
    const { exited, killed } = run.lane;
    if (!exited || run.answered) return false;
    return endedByItself(run.lane) || (killed !== undefined && killed.detail.includes('hangMs') && !killed.detail.includes('proof'));
  }

  #read(entry: Entry, index: number): void {
    const moment = { atMs: entry.atMs, index };
    switch (entry.type) {
      case 'submitted':
        this.requests.set(entry.request, { submitted: { ...entry, index }, ends: [], runs: [] });
        break;
      case 'ended':
        this.requests.get(entry.request)!.ends.push({ ...entry, index });
        break;
      case 'applyAsked':
        this.rolls.push({ actor: entry.actor, proves: entry.proves, replicas: entry.replicas, asked: moment, ended: undefined });
        break;
      case 'applyEnded':
        this.rolls.at(-1)!.ended = { ...moment, change: entry.change, reason: entry.reason };
        break;
      case 'laneOpened':
        this.lanes.set(entry.lane, {
          ...(this.#pooled?.poolOf(this, entry, moment) ?? this.#poolOf(entry.actor, entry.replica)), turned: undefined, broke: undefined, closed: undefined,
          number: entry.lane, replica: entry.replica, actor: entry.actor, device: entry.device, isolation: entry.isolation, opened: moment, loaded: undefined, proved: undefined,
          ready: undefined, stopAsked: undefined, killed: undefined, died: undefined, exited: undefined, frozen: [], runs: [],
        });
        break;
      case 'runPosted': {
        const lane = this.lanes.get(entry.lane)!;
        const run: RunLife = { lane, run: entry.run, request: entry.request, posted: moment, started: undefined, answered: undefined };
        lane.runs.push(run);
        if (entry.request !== undefined) this.requests.get(entry.request)!.runs.push(run);
        break;
      }
      case 'told':
        if (entry.event === 'replica-ready') {
          const lane = this.lanesOf(entry.actor!).filter(({ replica }) => replica === entry.replica).at(-1)!;
          lane.ready = moment;
          this.#brokenUnder.delete(`${lane.actor}/${lane.device}`);
        }
        if (entry.event === 'device-fenced' || entry.event === 'device-unusable' || entry.event === 'device-usable') {
          this.news.push({ ...moment, device: String(entry.fields['device']), usable: entry.event === 'device-usable' });
        }
        break;
      default:
        if ('lane' in entry) this.#readLane(this.lanes.get(entry.lane)!, entry, moment);
    }
  }

  /** One replica's fault may be its own context; a second one's is the device's, and then none of the actor's lanes there may be used. */
  #close(lane: LaneLife, moment: Moment): void {
    const key = `${lane.actor}/${lane.device}`;
    const before = this.#brokenUnder.get(key);
    this.#brokenUnder.set(key, lane.replica);
    const closing = before === undefined || before === lane.replica ? [lane] : this.lanesOf(lane.actor).filter(({ device, ready, exited }) => device === lane.device && ready && !exited);
    for (const one of closing) one.closed ??= moment;
  }

  /** The roll-out of the actor that is under way then. */
  rollAt(actor: string, index: number): Roll | undefined {
    return this.rolls.find((roll) => roll.actor === actor && roll.asked.index < index && !(roll.ended && roll.ended.index < index));
  }

  /** A replica that was not there before belongs to the newest pool: the one that is rolled in, or the one that serves. */
  #poolOf(actor: string, replica: string): { readonly pool: number; readonly isFresh: boolean } {
    const known = this.#pools.get(replica);
    if (known !== undefined) return { pool: known, isFresh: false };
    const isFirst = Number(replica.split('-').at(-1)) < this.actor(actor).replicas;
    const rolls = this.rolls.filter((roll) => roll.actor === actor);
    const pool = isFirst ? 0 : rolls.findLastIndex((roll) => !roll.ended || roll.ended.change === 'rolled') + 1;
    this.#pools.set(replica, pool);
    return { pool, isFresh: !isFirst };
  }

  #readLane(lane: LaneLife, entry: Entry & { readonly lane: number }, moment: Moment): void {
    switch (entry.type) {
      case 'laneLoaded':
        if (entry.ok) lane.loaded = moment;
        if (entry.fatal) lane.broke ??= moment;
        break;
      case 'runStarted':
        runOf(lane, entry.run).started = moment;
        break;
      case 'runAnswered': {
        const run = runOf(lane, entry.run);
        run.answered = { ...moment, ok: entry.ok, right: entry.right, fatal: entry.fatal ?? false };
        if (entry.fatal) lane.broke ??= moment;
        if (entry.fatal && run.request !== undefined && lane.device !== 'cpu') this.#close(lane, moment);
        if (run.request === undefined && entry.right) lane.proved ??= moment;
        break;
      }
      case 'laneStop':
        lane.stopAsked ??= moment;
        break;
      case 'laneKill':
        if (!lane.exited) lane.killed ??= { ...moment, detail: entry.detail, unheardMs: entry.unheardMs };
        break;
      case 'laneDead':
        lane.died = moment;
        break;
      case 'laneExited':
        lane.exited = { ...moment, reason: entry.reason };
        break;
      case 'laneTurned':
        lane.turned = { ...moment, how: entry.how };
        break;
      case 'laneFrozen':
        lane.frozen.push({ fromMs: moment.atMs, toMs: Infinity });
        break;
      case 'laneThawed':
        lane.frozen.at(-1)!.toMs = moment.atMs;
        break;
    }
  }
}

/**
 * Pools of a host with devices, told apart from outside: ids of replicas name the device but not the pool. A new replica
 * belongs to the last pool of its device if it came together with it or after its last newcomer was ready while that one
 * serves; else it is the first one of a new pool.
 */
class DevicePools {
  readonly #numbers = new Map<string, number>();
  readonly #pools = new Map<string, { number: number; device: string; newest: string; openedMs: number }[]>();

  poolOf(history: History, { actor, replica, device }: { readonly actor: string; readonly replica: string; readonly device: string }, { atMs }: Moment): { readonly pool: number; readonly isFresh: boolean } {
    const known = this.#numbers.get(replica);
    if (known !== undefined) return { pool: known, isFresh: false };
    const pools = this.#pools.get(actor) ?? [];
    this.#pools.set(actor, pools);
    const own = history.lanesOf(actor);
    let pool = pools.findLast((candidate) => candidate.device === device);
    const goesOn = pool && (pool.openedMs === atMs || (own.some((lane) => lane.replica === pool!.newest && lane.ready) && own.some((lane) => lane.pool === pool!.number && !lane.exited && !lane.stopAsked)));
    // Where nothing of the actor lives its whole pool is made at once, and takes nobody's place.
    const isFirst = !own.some((lane) => !lane.exited && !lane.stopAsked && lane.pool !== (goesOn ? pool!.number : -1)) && (!goesOn || pool!.openedMs === atMs);
    if (!pool || !goesOn) pools.push(pool = { number: pools.length, device, newest: replica, openedMs: atMs });
    pool.newest = replica;
    pool.openedMs = atMs;
    this.#numbers.set(replica, pool.number);
    return { pool: pool.number, isFresh: !isFirst };
  }
}

function runOf(lane: LaneLife, id: number): RunLife {
  return lane.runs.find(({ run }) => run === id)!;
}

/** As the host sees it: nobody ordered the end, or the order overran. */
export function endedByItself(lane: LaneLife): boolean {
  return lane.exited !== undefined && (lane.exited.reason === 'crashed' || lane.exited.reason === 'killed');
}
