/** The event log of a cluster read once: requests with every run they had on any host, lanes with what they did. */
import type { ActorSpec } from '../../../src/spec/actor.js';
import type { ClusterEntry, ClusterEvent } from './record.js';
import type { ClusterRun } from './world.js';

type Of<Type extends ClusterEvent['type']> = Extract<ClusterEvent, { readonly type: Type }>;

export interface Moment {
  readonly atMs: number;
  /** Orders what happened in one millisecond. */
  readonly index: number;
}

export interface ClusterRunLife extends Moment {
  readonly host: string;
  readonly lane: ClusterLane;
  readonly run: number;
  readonly request: string | undefined;
  started: Moment | undefined;
  answered: (Moment & { readonly ok: boolean; readonly right: boolean }) | undefined;
}

export interface ClusterLane {
  readonly number: number;
  readonly host: string;
  readonly actor: string;
  readonly replica: string;
  proved: Moment | undefined;
  stopAsked: Moment | undefined;
  exited: Moment | undefined;
  readonly runs: ClusterRunLife[];
}

export interface ClusterRequestLife {
  readonly asked: Of<'asked'> & Moment;
  readonly ends: (Of<'answered'> & Moment)[];
  readonly runs: ClusterRunLife[];
  /** Where it was carried. */
  readonly ways: { readonly atMs: number; readonly host: string; readonly well: boolean }[];
}

export class ClusterHistory {
  readonly requests = new Map<string, ClusterRequestLife>();
  readonly lanes = new Map<number, ClusterLane>();
  /** Acknowledged renewals of each host, by when they were sent. */
  readonly renewals = new Map<string, { readonly sentMs: number; readonly index: number }[]>();
  readonly struck: readonly (Of<'struck'> & Moment)[];

  constructor(readonly run: ClusterRun) {
    run.entries.forEach((entry, index) => this.#read(entry, index));
    this.struck = run.entries.flatMap((entry, index) => (entry.type === 'struck' ? [{ ...entry, index }] : []));
  }

  actor(name: string): ActorSpec {
    return this.run.specs[0]!.actors.find((actor) => actor.name === name)!;
  }

  #read(entry: ClusterEntry, index: number): void {
    const moment = { atMs: entry.atMs, index };
    switch (entry.type) {
      case 'asked':
        this.requests.set(entry.request, { asked: { ...entry, index }, ends: [], runs: [], ways: [] });
        break;
      case 'carried':
        this.requests.get(entry.request)!.ways.push(entry);
        break;
      case 'answered':
        this.requests.get(entry.request)!.ends.push({ ...entry, index });
        break;
      case 'laneOpened':
        this.lanes.set(entry.lane, { number: entry.lane, host: entry.host, actor: entry.actor, replica: entry.replica, proved: undefined, stopAsked: undefined, exited: undefined, runs: [] });
        break;
      case 'runPosted': {
        const lane = this.lanes.get(entry.lane)!;
        const run: ClusterRunLife = { ...moment, host: entry.host, lane, run: entry.run, request: entry.request, started: undefined, answered: undefined };
        lane.runs.push(run);
        if (entry.request !== undefined) this.requests.get(entry.request)!.runs.push(run);
        break;
      }
      case 'runStarted':
        this.#runOf(entry.lane, entry.run).started = moment;
        break;
      case 'runAnswered': {
        const run = this.#runOf(entry.lane, entry.run);
        run.answered = { ...moment, ok: entry.ok, right: entry.right };
        if (run.request === undefined && entry.right) run.lane.proved ??= moment;
        break;
      }
      case 'renewed':
        this.renewals.set(entry.host, [...(this.renewals.get(entry.host) ?? []), { sentMs: entry.sentMs, index }]);
        break;
      case 'laneStop':
        this.lanes.get(entry.lane)!.stopAsked ??= moment;
        break;
      case 'laneExited':
        this.lanes.get(entry.lane)!.exited ??= moment;
        break;
    }
  }

  #runOf(lane: number, run: number): ClusterRunLife {
    return this.lanes.get(lane)!.runs.findLast((candidate) => candidate.run === run)!;
  }
}
