/** What a host gives to `Ownership` (ownership.ts) and hears from it. What it gives must not throw. */
import type { Clock, Log, Store } from '../ports.js';

/** One process of one host. */
export interface Owner {
  readonly host: string;
  readonly incarnation: string;
}

export interface Owned extends Owner {
  readonly epoch: number;
}

export interface OwnershipLimits {
  /** How long an owner's lease stays unchanged before another takes over. */
  readonly leaseMs: number;
  /** How long an owner serves after it sent its last acknowledged renewal. */
  readonly renewDeadlineMs: number;
  readonly renewMs: number;
  /** How often the truth is read, however quiet the store is. */
  readonly resyncMs: number;
  readonly takeOversPerSecondMax: number;
}

export type OwnershipEvent = 'singleton-taken' | 'singleton-lost' | 'singleton-handed-over' | 'store-rolled-back' | 'host-fenced';

export interface OwnershipOptions {
  /** Undefined: there is none, and no singleton runs here. */
  readonly store: Store | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly id: string;
  /** Of this process. */
  readonly incarnation: string;
  readonly limits: OwnershipLimits;
  /** A mass suspicion holds every take-over. */
  readonly braked: () => boolean;
  /** Highest sequence of the store over the beats of all hosts; 0 when none is known. */
  readonly highestSequence: () => number;
  /** Every epoch of the actor that anybody named: states of hosts, answers. */
  readonly knownEpochs: (actor: string) => Iterable<number>;
  /**
   * Clocks in ms that run on while the machine is suspended, as the monotonic one may not: the wall clock and, on a real
   * host, `os.uptime() * 1000`. Always the same ones in the same order. Default: `[clock.wallTime()]`.
   */
  readonly wakefulClocksMs?: () => readonly number[];
  /** `epochOf`, `ownerOf` or `reasonOf` of the actor changed. */
  readonly changed: (actor: string) => void;
  /** Another host declared this process dead: it owns nothing any more and never will. Once. */
  readonly fenced: (reason: string) => void;
  /** For the event stream and the log. `actor` is undefined for what concerns the host. */
  readonly tell: (event: OwnershipEvent, actor: string | undefined, reason: string, detail: string) => void;
}

/** What `Ownership` offers, as an interface for those who only ask. */
export interface Singletons {
  /**
   * Actors whose share is here now, on each change; the others keep theirs until `handOver` or `release`.
   * @param interested those whose share may be here one day: their owners' leases are looked at from now on, so that the
   * time of a silent one counts from when it fell silent
   */
  candidates(actors: Iterable<string>, interested?: Iterable<string>): void;
  /** Of an actor that may be served here right now. */
  epochOf(actor: string): number | undefined;
  /** To be asked before a request is accepted and before its answer leaves. */
  mayServe(actor: string): boolean;
  /** Why it is served here or is not. */
  reasonOf(actor: string): string;
  /** As the store said last; undefined: nobody, or not known here. */
  ownerOf(actor: string): Owned | undefined;
  /**
   * After this host stopped serving it, to a host that is a candidate: nobody else listens. From the call on `mayServe` is
   * false, until it failed. @returns false: this host did not give it away (`epochOf` says whether
   * it still has it)
   */
  handOver(actor: string, target: Owner): Promise<boolean>;
  /** The same without a target: the next candidate takes it at once, this host too while it is one. */
  release(actor: string): Promise<boolean>;
  /**
   * Last, after everything was stopped: the others need not wait for the lease to run out. Never rejects.
   * @param isQuiet asked at the end: whether nothing of it runs here any more. Where something does, they wait
   */
  close(isQuiet?: () => boolean): Promise<void>;
}
