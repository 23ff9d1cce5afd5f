/** What a row of the table is: a subject, its settings, a fault, and what is wanted of the host meanwhile. */
import type { ActorOptions } from '../../src/spec/actor.js';
import type { TestNats } from '../support/nats-server.js';
import type { Caller } from './caller.js';
import type { Bite, FaultOrder } from './fixtures/faulty.js';
import type { HostUnderTest } from './host.js';
import type { Outcome } from './load.js';
import type { Question, Subject, SubjectName } from './subject.js';
import type { Watch } from './watch.js';

export interface Row {
  readonly name: string;
  /** Part of the quick form. */
  readonly quick: boolean;
  readonly subject: SubjectName;
  /** Of the module: how long a run is, in rounds of its computation. */
  readonly rounds?: number;
  readonly isolation?: 'process' | 'thread';
  readonly replicas?: number;
  /** Settings that are not the defaults; the table shows them. */
  readonly settings?: Omit<ActorOptions, 'name'>;
  /** The actor has its first question and answer as golden. */
  readonly golden?: boolean;
  readonly form?: 'host' | 'guarded' | 'embedded';
  readonly env?: NodeJS.ProcessEnv;
  /** Log lines by which the host shows that it noticed. */
  readonly noticedBy?: readonly string[];
  readonly noticedWithinMs?: number;
  /** Replicas that start at once afterwards: what recovery is compared with. Absent = recovery has no target. */
  readonly startsAtOnce?: number;
  /** Failures are reported and not held against the row. */
  readonly mayFail?: boolean;
  /** Returns when it happened, in wall ms. */
  readonly fault: (stage: Stage) => Promise<number>;
  readonly alsoWanted?: (stage: Stage, measured: Measured) => readonly Aim[];
}

export interface Stage {
  readonly subject: Subject;
  readonly host: HostUnderTest;
  readonly nats: TestNats;
  readonly caller: Caller;
  readonly watch: Watch;
  /** What is left of the row, in ms. */
  readonly leftMs: () => number;
  /** One replica has the fault at its next run. Resolves when it bit. */
  readonly arm: (order: FaultOrder) => Promise<Bite>;
  /** Process ids of the replicas. */
  readonly cells: () => number[];
  /** Questions from now on. */
  readonly askFromNowOn: (questions: readonly Question[]) => void;
  /** A request beside the load, counted under `aside`. */
  readonly askAside: (question: Question) => Promise<Outcome>;
  /** Facts the fault leaves for `alsoWanted` and for the table. */
  readonly notes: Record<string, unknown>;
}

export interface Aim {
  readonly aim: string;
  readonly wanted: string;
  readonly measured: string;
  readonly met: boolean;
  /** Missing it makes the run fail. */
  readonly hard: boolean;
}

export interface Windows {
  readonly before: number | null;
  readonly during: number | null;
  readonly after: number | null;
}

export interface Measured {
  readonly row: string;
  readonly subject: SubjectName;
  readonly replicas: number;
  readonly isolation: 'process' | 'thread';
  /** In words. */
  readonly settings: string;
  readonly capacityPerSecond: number;
  readonly perSecond: number;
  readonly requests: number;
  readonly ok: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly wrong: number;
  /** Outcomes of requests beside the load, such as the poison itself. */
  readonly aside: Readonly<Record<string, number>>;
  readonly p50Ms: Windows;
  readonly p99Ms: Windows;
  readonly longestGapMs: number;
  readonly detectMs: number | null;
  /** From noticed to as many ready as wanted; null = nothing was missing, or it never came back (`recovered`). */
  readonly recoverMs: number | null;
  readonly recovered: boolean;
  /** From spawn to proven, idle, as many at once as started here. */
  readonly idleStartMs: number | null;
  readonly deaths: number;
  readonly said: string;
  readonly lies: readonly string[];
  readonly loadAverage: number;
  readonly aims: readonly Aim[];
}
