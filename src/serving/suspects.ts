/**
 * Requests that were running when their lane died by itself. They wait here, apart from the queue, until each can run
 * alone (semantics, section 2): one poison payload must not take innocent neighbours along, nor the last lane. The second
 * copies of late runs wait here too: what looks like a slow replica may be a request that never ends.
 */
import type { Ticket } from './ticket.js';

interface Entry {
  readonly ticket: Ticket;
  /** Nothing died, its first copy is still on a lane. */
  readonly late: boolean;
}

export class Suspects {
  #waiting: Entry[] = [];

  get count(): number {
    return this.#waiting.length;
  }

  /** Second copies of late runs among them. */
  get lateCount(): number {
    return this.#waiting.reduce((sum, { late }) => sum + (late ? 1 : 0), 0);
  }

  some(test: (ticket: Ticket) => boolean): boolean {
    return this.#waiting.some(({ ticket }) => test(ticket));
  }

  add(ticket: Ticket, why: 'death' | 'late' = 'death'): void {
    ticket.waiting = true;
    this.#waiting.push({ ticket, late: why === 'late' });
  }

  /**
   * The oldest that may run; late ones first, because their replica may be frozen and their callers wait, then those who
   * should.
   */
  take(mayRun: (ticket: Ticket, late: boolean) => boolean, should: (ticket: Ticket) => boolean): Ticket | undefined {
    const able = this.#waiting.filter((entry) => mayRun(entry.ticket, entry.late));
    const ticket = (able.find(({ late }) => late) ?? able.find((entry) => should(entry.ticket)) ?? able[0])?.ticket;
    if (ticket) this.remove(ticket);
    return ticket;
  }

  /** Takes out whose only death was a moment ago and is now one of a crowd; newest first. */
  absolve(nowMs: number): Ticket[] {
    const absolved = this.#waiting.filter(({ ticket }) => ticket.absolve(nowMs)).map(({ ticket }) => ticket);
    for (const ticket of absolved) this.remove(ticket);
    return absolved.reverse();
  }

  /** @returns whether it waited here */
  remove(ticket: Ticket): boolean {
    const index = this.#waiting.findIndex((entry) => entry.ticket === ticket);
    if (index < 0) return false;
    this.#waiting.splice(index, 1);
    ticket.waiting = false;
    return true;
  }

  *[Symbol.iterator](): Iterator<Ticket> {
    for (const { ticket } of [...this.#waiting]) yield ticket;
  }
}
