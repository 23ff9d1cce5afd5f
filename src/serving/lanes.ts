/** The routed lanes of one actor, and which of them a ticket goes to. Knows no suspects: a lane set aside is merely not open. */
import type { Route } from './routes.js';
import type { Slot } from './slot.js';
import type { Ticket } from './ticket.js';

export class Lanes {
  readonly slots: Slot[] = [];
  /** Where the search for an idle lane starts: behind the one that was used last. */
  #next = 0;

  remove(slot: Slot): void {
    const index = this.slots.indexOf(slot);
    if (index >= 0) this.slots.splice(index, 1);
  }

  ofRoute(route: Route): Slot | undefined {
    return this.slots.find((slot) => slot.route === route);
  }

  ofReplica(replica: string): Slot | undefined {
    return this.slots.find((slot) => slot.route.replica === replica);
  }

  /** Those that do not drain, whatever else they are. */
  get routed(): number {
    return this.slots.reduce((sum, slot) => sum + (slot.mode === 'closed' ? 0 : 1), 0);
  }

  /** Runs that can go on side by side, now or in a moment: a lane set aside for a solo run is back after one run. */
  get concurrency(): number {
    return this.slots.reduce((sum, slot) => sum + (slot.mode === 'closed' ? 0 : slot.route.concurrency), 0);
  }

  /** Runs on those that do not drain. */
  get running(): number {
    return this.slots.reduce((sum, slot) => sum + (slot.mode === 'closed' ? 0 : slot.runs.length), 0);
  }

  /** Whether a lane serves, other than the one given. */
  anyServes(besides?: Slot): boolean {
    return this.slots.some((slot) => slot !== besides && slot.serves);
  }

  /**
   * Replicas nobody doubts first, then doubted ones; one that failed its proof only when nothing better serves.
   * @param ahead runs that may wait in a lane behind those that run; @param now asked only if somebody is doubted
   */
  pick(ticket: Ticket, ahead: number, now: () => number): Slot | undefined {
    if (!this.slots.some((slot) => slot.unproven || slot.doubtedUntilMs > 0)) return this.#pickFrom(ticket, ahead, anySlot);
    const nowMs = now();
    const picked =
      this.#pickFrom(ticket, ahead, (slot) => !slot.unproven && slot.doubtedUntilMs <= nowMs) ??
      this.#pickFrom(ticket, ahead, (slot) => !slot.unproven);
    return picked ?? (this.anyServes() ? undefined : this.#pickFrom(ticket, ahead, anySlot));
  }

  /** An idle lane, least recently used first; else, for what may run twice, the shortest line with room ahead. */
  #pickFrom(ticket: Ticket, ahead: number, eligible: (slot: Slot) => boolean): Slot | undefined {
    let shortest: Slot | undefined;
    const count = this.slots.length;
    for (let i = 0; i < count; i++) {
      const slot = this.slots[(this.#next + i) % count]!;
      if (!eligible(slot)) continue;
      // A ticket whose answer this replica got wrong goes to another one while there is another one.
      if (ticket.avoid === slot.route.replica && this.anyServes(slot)) continue;
      if (slot.idle) {
        this.#next = (this.#next + i + 1) % count;
        return slot;
      }
      if (ticket.idempotent && slot.roomAhead(ahead) && (!shortest || slot.runs.length < shortest.runs.length)) shortest = slot;
    }
    return shortest;
  }
}

const anySlot = (): boolean => true;
