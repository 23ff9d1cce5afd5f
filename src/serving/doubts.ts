/**
 * Replicas that answer, and answer badly: an answer the guard refuses, a failed proof, errors where siblings have none, a
 * device that breaks under a run. Which replica takes work meanwhile is for `Lanes` to read off its slot; here it is marked.
 */
import { noResults, shouldEject, withResult } from '../policy/ejection.js';
import type { Desk } from './desk.js';
import type { Run, Slot } from './slot.js';

/** A replica whose answer was refused gives way to its siblings for this long, or until its proof speaks for it. */
const DOUBT_MS = 1000;

/** A refused answer is tried once more, elsewhere if there is an elsewhere; the replica proves itself meanwhile. */
export function answerRefused(desk: Desk, slot: Slot, { ticket }: Run, why: string): void {
  slot.doubtedUntilMs = desk.now() + DOUBT_MS;
  desk.events.doubted(slot.route, `its answer was refused: ${why}`, !slot.doubtTold);
  slot.doubtTold = true;
  if (ticket.onLanes > 0 || ticket.waiting) return; // another copy decides
  ticket.acquit();
  if (ticket.idempotent && ticket.avoid === undefined && ticket.attempts < ticket.attemptsMax && desk.takeReplay()) {
    ticket.avoid = slot.route.replica;
    return desk.layBack(ticket);
  }
  ticket.failWith('INTERNAL', `the answer was refused ${ticket.avoid === undefined ? '' : 'twice'}: ${why}`.replace('  ', ' '), { reason: 'guard' });
}

/** What came of a proof of a replica that serves. One that failed it is used only while nothing better is there. */
export function proved(slot: Slot, right: boolean): void {
  slot.unproven = !right;
  if (!right) return;
  slot.doubtedUntilMs = 0;
  slot.doubtTold = false;
}

/** @param failed the replica's own fault, not the request's */
export function compareWithSiblings({ lanes, events }: Desk, slot: Slot, failed: boolean): void {
  slot.results = withResult(slot.results, failed);
  if (!failed || !shouldEject(slot.results, lanes.slots.filter((other) => other !== slot).map((other) => other.results))) return;
  slot.results = noResults; // told once; a replica that is kept is judged anew
  events.errs(slot.route, 'fails on requests where its siblings do not');
}

/** Devices that broke under runs of one actor. */
export class BrokenDevices {
  /** Replica that reported a device as broken, per device, since its last new replica. */
  readonly #reportedBy = new Map<string, string>();

  newReplicaOn(device: string): void {
    this.#reportedBy.delete(device);
  }

  /**
   * One replica's fault may be its own context; a second one's is the device's, and then its siblings there get no more
   * work either. @returns the slots to close
   */
  broke({ route }: Slot, slots: readonly Slot[]): readonly Slot[] {
    const { device, replica } = route;
    const second = this.#reportedBy.has(device) && this.#reportedBy.get(device) !== replica;
    this.#reportedBy.set(device, replica);
    return second ? slots.filter((other) => other.route.device === device) : slots.filter((other) => other.route === route);
  }
}
