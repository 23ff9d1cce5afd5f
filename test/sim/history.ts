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
  answered: (Moment & { readonly ok: boolean; readonly right: boolean }) | undefined;
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
  readonly #pools = new Map<string, number>();
  readonly stalls: readonly Of<'stalled'>[];
  /** Lanes that ended by themselves after they were ready, in order of the host's hearing of it. */
  readonly deaths: readonly LaneLife[];

  constructor(readonly sim: SimRun) {
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
   * a run that took too long.
   */
  casts(run: RunLife): boolean {
    const { exited, killed } = run.lane;
    if (!exited || run.answered) return false;
    return endedByItself(run.lane) || (killed?.detail.includes('hangMs') ?? false);
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
          ...this.#poolOf(entry.actor, entry.replica), turned: undefined,
          number: entry.lane, replica: entry.replica, actor: entry.actor, isolation: entry.isolation, opened: moment, loaded: undefined, proved: undefined,
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
        if (entry.event === 'replica-ready') this.lanesOf(entry.actor!).filter(({ replica }) => replica === entry.replica).at(-1)!.ready = moment;
        break;
      default:
        if ('lane' in entry) this.#readLane(this.lanes.get(entry.lane)!, entry, moment);
    }
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
        break;
      case 'runStarted':
        runOf(lane, entry.run).started = moment;
        break;
      case 'runAnswered': {
        const run = runOf(lane, entry.run);
        run.answered = { ...moment, ok: entry.ok, right: entry.right };
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

function runOf(lane: LaneLife, id: number): RunLife {
  return lane.runs.find(({ run }) => run === id)!;
}

/** As the host sees it: nobody ordered the end, or the order overran. */
export function endedByItself(lane: LaneLife): boolean {
  return lane.exited !== undefined && (lane.exited.reason === 'crashed' || lane.exited.reason === 'killed');
}
