/**
 * What a replica asks of the world and shows of itself. Types and defaults only: the machine is in replica.ts, what drives
 * its lane in replica-lane.ts.
 */
import type { Clock, Lane, LaneFactory, LaneOrder, LoadReply } from '../ports.js';

export type ProofKind = 'golden' | 'recorded' | 'loaded-only';
export type ProofResult =
  | { readonly ok: true; readonly proof: ProofKind }
  | { readonly ok: false; readonly detail: string };

export type Loaded = LoadReply & { readonly ok: true };

/** As much of a lane as a proof needs. */
export type ProvingLane = Pick<Lane, 'run'>;

/** What an operator sees; `failed` and `backoff` are the supervisor's words, not this machine's. */
export type ReplicaLifePhase = 'loading' | 'proving' | 'ready' | 'suspect' | 'draining';

export interface ReplicaView {
  readonly id: string;
  readonly incarnation: number;
  readonly phase: ReplicaLifePhase;
  readonly reason: string;
  readonly pid: number;
  readonly threadId: number;
  readonly proof?: ProofKind;
}

/** Everything a replica does to the world. None of these may throw. */
export interface ReplicaEffects {
  readonly clock: Clock;
  readonly lanes: LaneFactory;
  order(id: string, incarnation: number): LaneOrder;
  /** A known question, answered right. Asked in one run after the other. */
  prove(lane: ProvingLane, loaded: Loaded): Promise<ProofResult>;
  /** Resolves when this replica may load (`startsParallelMax`); the function it gives back ends its turn. */
  startTurn(): Promise<() => void>;
  /** The route table. */
  routed(id: string, incarnation: number, lane: Lane, loaded: Loaded): void;
  unrouted(id: string): void;
  suspected(id: string, suspect: boolean): void;
  /** A replica that serves answered its golden input again, or no longer right. */
  provedAgain(id: string, result: ProofResult): void;
  /** Time until an idle replica proves itself again, in ms; asked after each proof, which took `proofMs`. */
  proveAfterMs(proofMs: number): number;
  /** Last answer to a caller, monotonic ms, and whether an unsuspected run is on it. */
  vitals(id: string): { readonly lastAnswerMs: number; readonly busy: boolean } | undefined;
  /** Asked when the lane ended: whether the death counts against the pool's restart budget. */
  charged(id: string): boolean;
  /** Its device cannot be used from now on, by anybody. */
  deviceFailed(detail: string): void;
  /** Every change worth showing. */
  changed(view: ReplicaView): void;
}

export interface ReplicaLimits {
  readonly startTimeoutMs: number;
  /** Time between two pings of a cell, silence that makes it suspect, and silence that ends it. 0 = no pings (threads). */
  readonly pingMs: number;
  readonly silentSuspectMs: number;
  readonly silentKillMs: number;
  /** Ready means a success or a proof within this time. */
  readonly freshMs: number;
  /** Longest a single run may take. */
  readonly hangMs: number;
}

export const pingDefaults = { pingMs: 100, silentSuspectMs: 500, silentKillMs: 2000 } as const;

export interface ReplicaInput {
  readonly id: string;
  readonly incarnation: number;
  readonly effects: ReplicaEffects;
  readonly limits: ReplicaLimits;
}
