/**
 * What becomes of a request when the lane it is on ends or may be frozen, or the device under it breaks: run again, run
 * alone, answered with an error, or proven to be poison. The decision is policy/replay; this file knows the facts and
 * carries it out.
 */
import { afterLaneLoss } from '../policy/replay.js';
import type { LaneExit } from '../ports.js';
import { equalBytes } from '../tensor/compare.js';
import type { NamedTensor } from '../tensor/datatype.js';
import type { Desk } from './desk.js';
import type { Run, Slot } from './slot.js';
import type { Ticket } from './ticket.js';

export interface LaneLoss {
  readonly exit: LaneExit;
  /** Nobody ordered it. */
  readonly byItself: boolean;
  /** Other lanes went within the same moment, so that no request is to blame. */
  readonly crowd: boolean;
}

/** The run is on no list of its slot any more. */
export function runLost(desk: Desk, slot: Slot, run: Run, loss: LaneLoss): void {
  const { ticket } = run;
  const { exit } = loss;
  ticket.onLanes--;
  // A replica that breaks may take along an answer it had not sent yet: then the run posted ahead was the one that ran.
  const wasRunning = slot.wasRunning(run) || exit.reason === 'crashed';
  const blamed = wasRunning && (run.hung || (loss.byItself && !loss.crowd));
  if (!wasRunning) ticket.attempts--;
  else if (blamed) ticket.diedUnder(run.solo && exit.reason !== 'killed', desk.now());
  else if (loss.byItself) ticket.diedInCrowd();
  if (ticket.ended || ticket.onLanes > 0) return;
  // It was late here and waits for another lane, already counted as a replay; but now it may be a suspect.
  const paid = ticket.waiting;
  if (paid) {
    if (ticket.deaths === 0) return;
    desk.takeUp(ticket);
  }
  const decide = (budgetLeft: boolean) =>
    afterLaneLoss({
      idempotent: ticket.idempotent, wasRunning: wasRunning || paid, laneDiedByItself: blamed, suspect: ticket.deaths > 0,
      soloRuns: ticket.isProven(run.solo) ? ticket.soloRuns : 0, killed: exit.reason === 'killed',
      attempts: ticket.attempts, attemptsMax: ticket.attemptsMax, budgetLeft,
    });
  let decision = decide(true);
  if (!paid && (decision === 'replay' || decision === 'solo') && !desk.takeReplay()) decision = decide(false);
  const what = `replica ${slot.route.replica}#${slot.route.incarnation} ended (${exit.reason}: ${exit.detail}) while the request was on it`;
  switch (decision) {
    case 'requeue':
      return desk.layBack(ticket);
    case 'replay':
      return desk.queue.unshift(ticket);
    case 'solo':
      return desk.suspects.add(ticket);
    case 'unknown':
      ticket.failWith('UNAVAILABLE', `${what}; it is not idempotent, so it was not repeated`, { outcome: 'unknown' });
      return;
    case 'exhausted':
      return exhausted(ticket, what);
    case 'poison':
      return poisoned(desk, slot, ticket, exit);
  }
}

/** The device under the run broke: what may run twice is run again, and by then on another device or another replica. */
export function deviceLost(desk: Desk, { ticket }: Run, why: string): void {
  if (ticket.onLanes > 0 || ticket.waiting) return;
  if (!ticket.idempotent) {
    ticket.failWith('UNAVAILABLE', `${why}; it is not idempotent, so it was not repeated`, { outcome: 'unknown' });
  } else if (ticket.attempts < ticket.attemptsMax && desk.takeReplay()) {
    desk.layBack(ticket);
  } else {
    exhausted(ticket, why);
  }
}

/** A replica that may be frozen still has the run; a second copy goes elsewhere if it may. First answer wins. */
export function secondCopy(desk: Desk, { ticket, solo, late }: Run): void {
  if (ticket.ended || ticket.waiting || ticket.onLanes > 1 || !ticket.idempotent || solo) return;
  if (ticket.attempts >= ticket.attemptsMax || !desk.takeReplay()) return;
  // The late one may be what keeps the lane busy for ever: its second copy runs alone, so that a second death is proof.
  if (late && ticket.deaths === 0) desk.suspects.add(ticket, 'late');
  else desk.layBack(ticket);
}

/** A suspect is tried nowhere else: nobody sends it on, and no client repeats it by itself. */
function exhausted(ticket: Ticket, what: string): void {
  ticket.failWith('UNAVAILABLE', `${what}; ${ticket.attempts} executions are used up or the host's replay budget is empty`, {
    reason: ticket.deaths > 0 ? 'suspect' : undefined,
  });
}

/** Equal requests that wait get the same answer, before they cost a replica each. */
function poisoned(desk: Desk, slot: Slot, ticket: Ticket, exit: LaneExit): void {
  const { options, shared, events } = desk;
  const { inputs, bytes } = ticket;
  const print = desk.fingerprint(inputs, slot.route.version);
  shared.quarantine(print, desk.now(), options.quarantineMs);
  events.poisoned(ticket, print, exit);
  ticket.failWith('POISON', `this input ended a replica of ${options.name} in a run of its own (${exit.reason}: ${exit.detail})`);
  for (const other of [...desk.queue, ...desk.suspects]) {
    if (other.call.suspect || other.bytes !== bytes || !sameInputs(other.inputs, inputs)) continue;
    desk.quarantined++;
    other.failWith('POISON', `an equal request ended a replica of ${options.name} in a run of its own`);
  }
}

/** Compares bytes and not fingerprints: a full queue would take long to hash, and most requests differ early. */
function sameInputs(one: readonly NamedTensor[], other: readonly NamedTensor[]): boolean {
  return one.length === other.length && one.every(({ name, datatype, shape, data }, index) => {
    const like = other[index]!;
    return name === like.name && datatype === like.datatype && shape.join() === like.shape.join() && equalBytes(data, like.data);
  });
}
