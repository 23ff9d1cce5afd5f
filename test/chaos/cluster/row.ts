/** What a row of the cluster's table is: servers, hosts, a fault, and what is wanted of the hosts meanwhile. */
import type { Aim, Windows } from '../row.js';
import type { CallerName } from './callers.js';
import type { ClusterHost } from './hosts.js';
import type { Brokers } from './nats.js';
import type { Proxy } from './proxy.js';
import type { ClusterWatch } from './watch.js';

export interface Fault {
  /** Wall ms. */
  readonly atMs: number;
  /** When what broke was whole again; absent = it stays broken. */
  readonly untilMs?: number;
}

export interface ClusterRow {
  readonly name: string;
  readonly quick: boolean;
  readonly servers: 1 | 3;
  /** Default 3. */
  readonly hosts?: number;
  /** Hosts may have the broker close a suspect host's connection. */
  readonly kick?: boolean;
  /** Hosts reach the broker through a wire that can be cut. */
  readonly proxied?: boolean;
  /** A further actor that can be made to abort wherever it loads. */
  readonly deadly?: boolean;
  /** Callers stay off the nats-server this fault takes away, so that what they see is the hosts' doing. */
  readonly callersOff?: (stage: Pick<ClusterStage, 'victim' | 'brokers' | 'ids'>) => Promise<number> | number;
  /** How a host is lost: there are aims for finding that out and for having all replicas again. */
  readonly loses?: 'a host';
  /** A plain client may fail with these, and only when it asked no later than this after the fault. Absent: with nothing. */
  readonly plain?: { readonly codes: readonly string[]; readonly noneAfterMs: number };
  /** The longest time without an answer of the singleton; `lease` = what a take-over takes. */
  readonly singletonGap: 'lease' | number;
  /** Time after the fault is over, in s: `[full, quick]`. */
  readonly tailS: readonly [number, number];
  readonly fault: (stage: ClusterStage) => Promise<Fault>;
  readonly alsoWanted?: (stage: ClusterStage, measured: ClusterMeasured, fault: Fault) => readonly Aim[];
}

export interface ClusterStage {
  readonly quick: boolean;
  readonly folder: string;
  readonly brokers: Brokers;
  readonly ids: readonly string[];
  readonly hosts: ReadonlyMap<string, ClusterHost>;
  readonly proxies: ReadonlyMap<string, Proxy>;
  /** The host that is hit: the owner of the singleton. */
  readonly victim: string;
  readonly watch: ClusterWatch;
  /** Replicas of the replicated actor. */
  readonly wanted: number;
  /** Index of the server that leads the store. */
  leader(): Promise<number>;
  /** Of the replicas of an actor on a host, as it says. */
  pidsOf(host: string, actor: string): Promise<readonly number[]>;
  /** Requests at once beside the load, so that every host has some inside; resolves a moment later, before their answers. */
  salvo(): Promise<void>;
}

/** Of one caller in one row. */
export interface CallerFigures {
  readonly caller: CallerName;
  readonly perSecond: number;
  readonly requests: number;
  readonly ok: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly wrong: number;
  readonly p50Ms: Windows;
  readonly p99Ms: Windows;
  readonly longestGapMs: number;
  /** In order of their sending; ms from the fault. */
  readonly failures: readonly { readonly outcome: string; readonly atMs: number }[];
  /** The last request that failed was sent this long after the fault; null = none failed after it. */
  readonly lastFailedMs: number | null;
}

export interface ClusterMeasured {
  readonly row: string;
  readonly hosts: number;
  readonly servers: number;
  /** In words. */
  readonly settings: string;
  readonly callers: readonly CallerFigures[];
  /** From the fault until the first of the others says so; null = nobody did. */
  readonly detectMs: number | null;
  /** How long after the fault a plain request could still end up with who is lost; 0 = no request did. */
  readonly outOfRoutingMs: number | null;
  /** The longest time with fewer ready than wanted; 0 = never, null = to the end. */
  readonly recoverMs: number | null;
  /** Replicas loading beside each other on an idle machine: the yardstick for `recoverMs`. */
  readonly idleStartMs: number;
  /** Null: no singleton in this run. */
  readonly ownersAtOnce: number | null;
  readonly epochs: readonly number[];
  readonly said: string;
  readonly loadAverage: number;
  readonly aims: readonly Aim[];
}
