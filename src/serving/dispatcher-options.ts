/** What a dispatcher is told, and what it tells: its options come from the actor's spec, its events go to the control path. */
import type { LaneExit } from '../ports.js';
import type { GuardRules } from '../tensor/guard.js';
import type { Route } from './routes.js';
import type { Ticket } from './ticket.js';

export interface DispatcherOptions {
  readonly name: string;
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  readonly timeoutMaxMs: number;
  readonly hangMs: number;
  readonly queue: { readonly sizeMax: number; readonly bytesMax: number };
  readonly replaysMax: number;
  readonly quarantineMs: number;
  /** Wanted by the spec; 1 when absent. */
  readonly replicas?: number | undefined;
  /** A run that takes longer is run elsewhere too; learned when absent. */
  readonly suspectMs?: number | undefined;
  readonly guard?: GuardRules | undefined;
}

export interface DispatcherEvents {
  /** Requests are taken from now on, or no longer. */
  availability(takes: boolean, reason: string): void;
  /** A lane ended; the ids of the requests that were on it, in order. */
  laneLost(route: Route, requestIds: readonly string[]): void;
  /** Its answer was refused: it should prove itself again. `first`: since it was last proven. */
  doubted(route: Route, reason: string, first: boolean): void;
  /** A run on it is late; undefined when it answered after all. */
  slow(route: Route, runningMs: number | undefined): void;
  /** Its device cannot be used from now on; it gets no more work. */
  deviceFailed(route: Route, detail: string): void;
  /** It fails where its siblings do not. */
  errs(route: Route, detail: string): void;
  /** A request ended a replica in a solo run. */
  poisoned(ticket: Ticket, fingerprint: string, exit: LaneExit): void;
}
