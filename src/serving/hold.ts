/**
 * Whether the requests of one actor are taken here, and the timer that ends a hold: after its last replica went, they
 * wait for the next one for a while. What the states mean is policy/availability; this file keeps the one and its clock.
 */
import { nextAvailability, takesRequests, type Availability, type AvailabilityEvent } from '../policy/availability.js';
import type { TimerHandle } from '../ports.js';
import type { Desk } from './desk.js';

export class Hold {
  #availability: Availability = { state: 'starting' };
  #timer: TimerHandle;
  #restartUnderWay = true;
  /** Why nothing is ready; of use only then. */
  downReason = 'the host is starting';

  constructor(private readonly desk: Desk) {}

  get takesRequests(): boolean {
    return takesRequests(this.#availability);
  }

  replicaReady(): void {
    this.#step({ type: 'replicaReady' });
  }

  /** A replica ended or drains. */
  replicaLost(reason: string): void {
    const { lanes, options, shared } = this.desk;
    if (lanes.routed > 0) return;
    this.downReason = reason;
    // Where another host is ready, nobody has to wait for a replica here.
    this.#step({ type: 'lastReplicaLost', restartUnderWay: this.#restartUnderWay && !shared.readyElsewhere(options.name), reason });
  }

  /** Told by the control path: whether a replacement is being made, and if not, why. */
  setProspect(restartUnderWay: boolean, reason: string): void {
    this.#restartUnderWay = restartUnderWay;
    if (this.desk.lanes.routed === 0) this.downReason = reason;
    if (!restartUnderWay) this.#step({ type: 'noRestart', reason });
  }

  close(reason: string): void {
    this.setProspect(false, reason);
    this.#failWaiting(reason);
    this.desk.shared.clock.clearTimeout(this.#timer);
  }

  whyWaiting(): string {
    const { lanes, queue } = this.desk;
    if (lanes.routed === 0) return this.downReason;
    return `${queue.count} requests waited for ${lanes.routed} replica${lanes.routed === 1 ? '' : 's'}`;
  }

  #step(event: AvailabilityEvent): void {
    const { shared, events } = this.desk;
    const before = this.#availability;
    const after = nextAvailability(before, event, shared.clock.now(), shared.holdMs);
    if (after === before) return;
    this.#availability = after;
    if (this.#timer !== undefined) shared.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (after.state === 'holding') {
      // One millisecond late rather than early: a timer may fire a fraction before its time.
      this.#timer = shared.clock.setTimeout(() => this.#step({ type: 'timePassed' }), shared.holdMs + 1);
    }
    if (takesRequests(after) !== takesRequests(before)) events.availability(takesRequests(after), this.downReason);
    if (after.state === 'closed') this.#failWaiting(after.reason);
  }

  #failWaiting(reason: string): void {
    const { options, queue, suspects } = this.desk;
    const message = `actor ${options.name} has no ready replica here: ${reason}; ${this.downReason}`;
    for (const ticket of queue) ticket.failWith('UNAVAILABLE', message, { retryAfterMs: 1000 });
    for (const ticket of suspects) {
      // What it is suspected of must not go from host to host, so there is nothing else to wait for than a replica here.
      if (ticket.deaths > 0 && this.#restartUnderWay) continue;
      ticket.failWith('UNAVAILABLE', message, { retryAfterMs: 1000, reason: ticket.deaths > 0 ? 'suspect' : undefined });
    }
  }
}
