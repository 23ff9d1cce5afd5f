/**
 * Suspects run alone: on a newcomer before it takes other work, or on one of several open lanes that was emptied for it.
 * The last open lane is never spent on a suspect, only on the second copy of a late run: it may be all that hides a frozen
 * replica from its callers. What the end of such a run means is decided in `lost-runs`.
 */
import type { Desk } from './desk.js';
import type { Slot } from './slot.js';
import type { Ticket } from './ticket.js';

export class Trials {
  /** A suspect was run while nothing else served, and no replica came since. */
  #hadItsTurn = false;

  constructor(
    private readonly desk: Desk,
    /** Posts the ticket to the slot, which is empty. */
    private readonly post: (slot: Slot, ticket: Ticket) => void,
  ) {}

  /**
   * A proven replica joins. A suspect runs on it first, alone: if it is guilty, nobody else is hit. Where nothing else
   * serves, every second newcomer serves, or the innocents would wait until the last suspect is judged; and one that comes
   * while another death is so fresh that it would spoil the verdict. Not where no other newcomer will come, for there the
   * suspects would wait for ever.
   */
  newcomer(slot: Slot): void {
    const { lanes, suspects, queue, options } = this.desk;
    const othersCome = (options.replicas ?? 1) > 1;
    const innocentsWait = queue.count > 0 && !lanes.anyServes();
    const innocentsFirst = othersCome && innocentsWait && (this.#hadItsTurn || !suspects.some(this.#isQuiet));
    if (suspects.count > 0 && !innocentsFirst) slot.mode = 'reserved';
    this.#hadItsTurn = false;
  }

  /** Runs whoever can be run now, and sets a lane aside for the next one. */
  next(): void {
    const { lanes, suspects } = this.desk;
    for (const slot of lanes.slots) {
      if (slot.mode === 'reserved' && slot.runs.length === 0) this.#tryOn(slot);
    }
    if (suspects.count === 0) return;
    const aside = lanes.slots.some((slot) => slot.mode === 'reserved' || slot.mode === 'solo');
    const open = lanes.slots.filter((slot) => slot.serves);
    const late = suspects.lateCount > lanes.slots.filter((slot) => slot.mode === 'reserved' && slot.forLate).length;
    if (open.length === 0 || (aside && !late)) return;
    if (aside || !late) {
      if (open.length < 2) return;
    }
    const least = open.reduce((best, slot) => (slot.runs.length < best.runs.length ? slot : best));
    least.forLate = late;
    least.mode = 'reserved';
    if (least.runs.length === 0) this.next();
  }

  /** Several lanes died at once: the machine did it, so what ran on them is innocent and goes on as usual. */
  absolve(): void {
    for (const ticket of this.desk.suspects.absolve(this.desk.now())) this.desk.queue.unshift(ticket);
  }

  #tryOn(slot: Slot): void {
    // A caller's request may cost the replacement; what an operator tries again only ever a replica beside one that serves.
    const serving = this.desk.lanes.anyServes(slot);
    const ticket = this.desk.suspects.take(({ call }, late) => late || serving || (!call.suspect && !slot.forLate), this.#isQuiet);
    slot.forLate = false;
    if (!ticket) {
      slot.mode = 'open';
      return;
    }
    slot.mode = 'solo';
    if (!serving) this.#hadItsTurn = true;
    this.post(slot, ticket);
  }

  /** Whether its end, if it came now, would be a verdict and not one of a crowd. */
  readonly #isQuiet = (ticket: Ticket): boolean => this.desk.shared.isQuietFor(ticket, this.desk.now());
}
