/**
 * What the parts of one dispatcher have in common: where its tickets lie (queue, suspects, lanes) and the moves that
 * several of them make. Decides nothing, and starts nothing by itself: whoever lays a ticket back sees to it that it runs.
 */
import type { NamedTensor } from '../tensor/datatype.js';
import { fingerprint } from '../tensor/digest.js';
import type { DispatcherEvents, DispatcherOptions } from './dispatcher-options.js';
import { Lanes } from './lanes.js';
import { TicketQueue } from './queue.js';
import type { SharedServing } from './shared.js';
import { Suspects } from './suspects.js';
import type { Ticket } from './ticket.js';

export class Desk {
  readonly queue: TicketQueue;
  readonly suspects = new Suspects();
  readonly lanes = new Lanes();
  /** Runs beyond the first of their request. */
  replays = 0;
  /** Requests refused because an equal one was proven to end replicas. */
  quarantined = 0;

  constructor(
    /** New ones apply from now on. */
    public options: DispatcherOptions,
    readonly shared: SharedServing,
    readonly events: DispatcherEvents,
  ) {
    this.queue = new TicketQueue(shared);
  }

  now(): number {
    return this.shared.clock.now();
  }

  /** Takes one more run out of the host's budget, if there is one left. */
  takeReplay(): boolean {
    if (!this.shared.takeReplay(this.now())) return false;
    this.replays++;
    return true;
  }

  /** It lost its lane and goes on: among the suspects if it is one, else at the head of the queue. */
  layBack(ticket: Ticket): void {
    if (ticket.deaths > 0) this.suspects.add(ticket);
    else this.queue.unshift(ticket);
  }

  /** It waits no longer, alive. */
  takeUp(ticket: Ticket): void {
    if (!this.suspects.remove(ticket)) this.queue.remove(ticket);
  }

  /** It ended while it waited. */
  drop(ticket: Ticket): void {
    if (!this.suspects.remove(ticket)) this.queue.drop(ticket);
  }

  /** Of actor, version and inputs: what ended one version may be harmless to the next. */
  fingerprint(inputs: readonly NamedTensor[], version: string): string {
    return `${this.options.name}:${version}:${fingerprint(inputs, this.shared.hash)}`;
  }
}
