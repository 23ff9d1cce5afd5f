/**
 * The status document (contract, section 5): what a host says of itself and of the hosts it knows. Plain data as it
 * crosses the wire; every state carries its reason. Times are ISO strings, ages are ms.
 */
import type { ExitReason, Outcome } from '../errors.js';

export type ReplicaPhase = 'loading' | 'proving' | 'ready' | 'suspect' | 'draining' | 'backoff' | 'failed';
export type ActorState = 'ready' | 'degraded' | 'down';
export type Liveness = 'alive' | 'suspect' | 'dead';

export interface LastExit {
  readonly reason: ExitReason;
  readonly detail: string;
  readonly at: string;
  /** Ids of the requests that were on the replica. */
  readonly requests: readonly string[];
}

export interface ReplicaStatus {
  readonly id: string;
  readonly device: string;
  readonly isolation: 'process' | 'thread';
  readonly phase: ReplicaPhase;
  /** What stands behind "ready"; absent until a proof was tried. */
  readonly proof?: 'golden' | 'recorded' | 'loaded-only';
  readonly reason: string;
  readonly incarnation: number;
  readonly pid: number;
  readonly threadId: number;
  readonly restarts: number;
  readonly readySinceMs?: number;
  readonly lastProofMs?: number;
  readonly memoryBytes: number;
  readonly lastExit?: LastExit;
}

export interface ActorStatus {
  readonly name: string;
  readonly kind: 'model' | 'module';
  readonly version: string;
  readonly wanted: number;
  readonly ready: number;
  readonly state: ActorState;
  readonly reason: string;
  /** Something an operator should look at though it serves: the model file on disk is not the pinned one any more. */
  readonly notice?: string;
  /** Of a singleton: the host that owns it, and since which take-over. */
  readonly owner?: string;
  readonly epoch?: number;
  readonly queue: { readonly count: number; readonly bytes: number };
  readonly requests: Readonly<Record<Outcome, number>>;
  readonly replays: number;
  readonly quarantined: number;
  readonly replicas: readonly ReplicaStatus[];
}

export interface DeviceStatus {
  readonly id: string;
  readonly state: 'usable' | 'fenced' | 'unusable';
  readonly reason: string;
}

export interface HostStatus {
  readonly id: string;
  readonly incarnation: string;
  readonly version: string;
  readonly liveness: Liveness;
  readonly reason: string;
  /** Of the host file, and the identity of all it asks for: equal on hosts that were given the same. */
  readonly revision?: number;
  readonly specHash?: string;
  readonly uptimeMs: number;
  readonly devices: readonly DeviceStatus[];
  readonly actors: readonly ActorStatus[];
}

export interface StatusDocument {
  readonly prefix: string;
  readonly bus: 'up' | 'down' | 'memory';
  readonly hosts: readonly HostStatus[];
}
