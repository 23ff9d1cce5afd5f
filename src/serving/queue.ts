/**
 * The bounded queue of one actor: first come, first served within two priorities. Every eighth turn belongs to bulk
 * work, so that a stream of interactive requests delays it but cannot starve it.
 *
 * Tickets that ended while waiting (deadline, caller gone) leave the counts at once and the arrays lazily.
 */
import type { Ticket } from './ticket.js';

const BULK_EVERY = 8;

export class TicketQueue {
  #lines: [Line, Line] = [new Line(), new Line()];
  #turn = 0;
  count = 0;
  bytes = 0;

  /** @param host where the bytes of all queues of a host are counted */
  constructor(private readonly host: { queueBytes: number }) {}

  push(ticket: Ticket): void {
    this.#enter(ticket);
    this.#lineOf(ticket).push(ticket);
  }

  /** Back to the head: it was here before and lost its lane. */
  unshift(ticket: Ticket): void {
    this.#enter(ticket);
    this.#lineOf(ticket).unshift(ticket);
  }

  /** The ticket `shift` would give, if any is waiting. */
  peek(): Ticket | undefined {
    return this.#next()?.peek();
  }

  shift(): Ticket | undefined {
    const ticket = this.#next()?.shift();
    if (!ticket) return undefined;
    this.#turn = (this.#turn + 1) % BULK_EVERY;
    this.#leave(ticket);
    return ticket;
  }

  /** An ended ticket leaves the counts. Call it once per ticket that is waiting here. */
  drop(ticket: Ticket): void {
    this.#leave(ticket);
    this.#lineOf(ticket).dropped();
  }

  /** Out of the middle, alive: it goes on elsewhere. */
  remove(ticket: Ticket): void {
    this.#leave(ticket);
    this.#lineOf(ticket).remove(ticket);
  }

  *[Symbol.iterator](): Iterator<Ticket> {
    for (const line of this.#lines) yield* line.live();
  }

  #next(): Line | undefined {
    const [interactive, bulk] = this.#lines;
    const order = this.#turn === BULK_EVERY - 1 ? [bulk, interactive] : [interactive, bulk];
    return order.find((line) => line.peek() !== undefined);
  }

  #lineOf(ticket: Ticket): Line {
    return this.#lines[ticket.call.priority ?? 0];
  }

  #enter(ticket: Ticket): void {
    ticket.waiting = true;
    this.count++;
    this.bytes += ticket.bytes;
    this.host.queueBytes += ticket.bytes;
  }

  #leave(ticket: Ticket): void {
    ticket.waiting = false;
    this.count--;
    this.bytes -= ticket.bytes;
    this.host.queueBytes -= ticket.bytes;
  }
}

/** An array read from a moving head; compacted when more than half of it is behind the head or ended. Behind the head is nothing. */
class Line {
  #tickets: (Ticket | undefined)[] = [];
  #head = 0;
  #dead = 0;

  push(ticket: Ticket): void {
    this.#tickets.push(ticket);
  }

  unshift(ticket: Ticket): void {
    if (this.#head > 0) this.#tickets[--this.#head] = ticket;
    else this.#tickets.unshift(ticket);
  }

  peek(): Ticket | undefined {
    while (this.#head < this.#tickets.length && this.#tickets[this.#head]!.ended) {
      this.#tickets[this.#head++] = undefined;
      this.#dead--;
    }
    if (this.#head === this.#tickets.length) this.#compact();
    return this.#tickets[this.#head];
  }

  shift(): Ticket | undefined {
    const ticket = this.peek();
    if (ticket) this.#tickets[this.#head++] = undefined;
    if (this.#head > 64 && this.#head * 2 > this.#tickets.length) this.#compact();
    return ticket;
  }

  remove(ticket: Ticket): void {
    const index = this.#tickets.indexOf(ticket, this.#head);
    if (index >= 0) this.#tickets.splice(index, 1);
  }

  dropped(): void {
    if (++this.#dead > 64 && this.#dead * 2 > this.#tickets.length - this.#head) this.#compact();
  }

  live(): Ticket[] {
    return this.#tickets.slice(this.#head).filter((ticket): ticket is Ticket => ticket !== undefined && !ticket.ended);
  }

  #compact(): void {
    this.#tickets = this.live();
    this.#head = 0;
    this.#dead = 0;
  }
}
