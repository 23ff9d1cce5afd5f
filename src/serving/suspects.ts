/**
 * Requests that were running when their lane died by itself. They wait here, apart from the queue, until each can run
 * alone (semantics, section 2): one poison payload must not take innocent neighbours along, nor the last lane. The second
 * copies of late runs wait here too: what looks like a slow replica may be a request that never ends.
 */
import { MASS_DEATH_MS } from '../policy/replay.js';
import type { Ticket } from './ticket.js';

export class Suspects {
  #waiting: { readonly ticket: Ticket; readonly sinceMs: number; readonly late: boolean }[] = [];

  get count(): number {
    return this.#waiting.length;
  }

  /** Second copies of late runs among them. */
  get lateCount(): number {
    return this.#waiting.reduce((sum, { late }) => sum + (late ? 1 : 0), 0);
  }

  /** @param why `late`: nothing died, its first copy is still on a lane */
  add(ticket: Ticket, nowMs: number, why: 'death' | 'late' = 'death'): void {
    ticket.waiting = true;
    this.#waiting.push({ ticket, sinceMs: nowMs, late: why === 'late' });
  }

  /** The oldest that may run, late ones first: their replica may be frozen and their callers wait. */
  take(mayRun: (ticket: Ticket, late: boolean) => boolean): Ticket | undefined {
    const able = this.#waiting.filter((entry) => mayRun(entry.ticket, entry.late));
    const ticket = (able.find(({ late }) => late) ?? able[0])?.ticket;
    if (ticket) this.remove(ticket);
    return ticket;
  }

  /** Those added so recently that a death now makes theirs one of a crowd; newest first. */
  takeRecent(nowMs: number): Ticket[] {
    const recent = this.#waiting.filter((entry) => nowMs - entry.sinceMs <= MASS_DEATH_MS);
    this.#waiting = this.#waiting.filter((entry) => !recent.includes(entry));
    for (const { ticket } of recent) ticket.waiting = false;
    return recent.map((entry) => entry.ticket).reverse();
  }

  /** Its deadline passed or its caller is gone. @returns whether it waited here */
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
