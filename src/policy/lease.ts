/**
 * The rules by which at most one host owns a singleton: when an owner must stop, when a candidate may take over, which
 * epoch comes next and how all of it is spelled in the store (semantics, 3.6 to 3.9).
 *
 * Ownership is only ever taken by creating a key that never existed and contains the epoch, so the store needs no other
 * guarantee than "one create wins". Ages are measured from when the observer saw a change, on its own monotonic clock;
 * no time is ever read from the store. Reading and writing are the caller's.
 */

/** A machine that was suspended longer than this may not trust its own monotonic clock. */
export const SUSPENDED_MAX_MS = 1000;
/** Numbers left out after the store lost some: whatever was given out in the lost part stays below. */
export const ROLL_BACK_GAP = 1000;
export const EPOCHS_KEPT = 100;
/** How long a leader behind the known sequence stops every take-over: it may be about to catch up. */
export const ROLL_BACK_BRAKE_MS = 60_000;

/**
 * To be asked before a request is accepted, before its answer leaves, and after any own lag over a beat.
 *
 * @param sentOfLastAckMs when the last acknowledged renewal was *sent*; undefined: none was
 * @param suspendedMs how far the wall clock or the uptime ran ahead of the monotonic clock since then
 */
export function ownerMayServe(nowMs: number, sentOfLastAckMs: number | undefined, renewDeadlineMs: number, suspendedMs: number): boolean {
  // Written so that NaN refuses.
  return sentOfLastAckMs !== undefined && nowMs - sentOfLastAckMs <= renewDeadlineMs && suspendedMs <= SUSPENDED_MAX_MS;
}

/** How far each clock that runs on during a suspension is ahead of the monotonic one; only differences mean anything. */
export const clockLeads = (wakefulClocksMs: readonly number[], nowMs: number): readonly number[] => wakefulClocksMs.map((clockMs) => clockMs - nowMs);

/** How long the machine was suspended between two readings of `clockLeads`, as far as its clocks tell; also when one was set forward. */
export function suspendedMs(then: readonly number[], now: readonly number[]): number {
  // A clock that is there only once tells nothing: NaN, which refuses.
  return then.length === now.length ? Math.max(0, ...now.map((leadMs, index) => leadMs - then[index]!)) : NaN;
}

export interface TakeOverFacts {
  /** When this candidate saw the owner's lease change last, or first looked and found none. */
  readonly lastChangeSeenMs: number;
  readonly leaseMs: number;
  /** `ownerMayServe` of the candidate's own lease. */
  readonly ownLeaseValid: boolean;
  /** A read from the stream's leader, made after the lease ran out, found it unchanged. */
  readonly leaderConfirms: boolean;
  /** How long the store's leader has been behind what somebody saw; undefined: it is not. */
  readonly rolledBackForMs?: number;
  /** A mass suspicion holds everything. */
  readonly braked: boolean;
}

export type TakeOverVerdict = { readonly may: true } | { readonly may: false; readonly reason: string };

/** The reasons come in the order in which they are cheap to find out, so a caller may ask before the leader was read. */
export function candidateMayTake(facts: TakeOverFacts, nowMs: number): TakeOverVerdict {
  const ageMs = nowMs - facts.lastChangeSeenMs;
  const no = (reason: string): TakeOverVerdict => ({ may: false, reason });
  if (!(ageMs >= facts.leaseMs)) return no(`the owner's lease changed ${Math.round(ageMs)} ms ago, it runs out after ${facts.leaseMs} ms`);
  if (!facts.ownLeaseValid) return no('the own lease is not valid');
  if (facts.braked) return no('too many hosts fell silent at once');
  if (facts.rolledBackForMs !== undefined && facts.rolledBackForMs < ROLL_BACK_BRAKE_MS) return no('the store is behind what was seen of it');
  if (!facts.leaderConfirms) return no('the leader of the store has not confirmed it');
  return { may: true };
}

/** @param highestSeen over the beats of all hosts and the own reads */
export const storeRolledBack = (highestSeen: number, leaderSequence: number): boolean => leaderSequence < highestSeen;

/** @param known every epoch of the actor seen anywhere: keys, host states, answers, the own high-water mark */
export function nextEpoch(known: Iterable<number>, rolledBack: boolean): number {
  let highest = 0;
  for (const epoch of known) if (epoch > highest) highest = epoch;
  return highest + (rolledBack ? ROLL_BACK_GAP : 1);
}

/** The store lost something: its leader is behind what somebody saw, or an epoch somebody named is not in it. */
export function rolledBack(facts: { readonly highestSeen: number; readonly leaderSequence: number; readonly epochs: Iterable<{ readonly newest: number; readonly known: number }> }): boolean {
  if (storeRolledBack(facts.highestSeen, facts.leaderSequence)) return true;
  for (const { newest, known } of facts.epochs) if (newest < known) return true;
  return false;
}

/** What a key of `own` says of the actor, for somebody who wants it. */
export type Standing =
  /** No key yet, given back, or the very process that asks. */
  | { readonly kind: 'free' }
  /** Its owner said that it stopped everything and never comes back. */
  | { readonly kind: 'ended' }
  | { readonly kind: 'owned'; readonly lastChangeSeenMs: number };

/**
 * @param beganMs when the leader read that the facts come from began: a lease must have been out by then
 * @param facts.leaderConfirms is true by that read
 */
export function claim(standing: Standing, facts: { readonly leaseMs: number; readonly ownLeaseValid: boolean; readonly rolledBackForMs: number | undefined; readonly braked: boolean }, beganMs: number): TakeOverVerdict {
  const { leaseMs, ownLeaseValid, rolledBackForMs, braked } = facts;
  return candidateMayTake({
    // Nobody is declared dead where nobody is in charge: neither age nor brake counts.
    lastChangeSeenMs: standing.kind === 'owned' ? standing.lastChangeSeenMs : -Infinity,
    leaseMs, ownLeaseValid, leaderConfirms: true,
    braked: braked && standing.kind === 'owned',
    ...(rolledBackForMs !== undefined && { rolledBackForMs }),
  }, beganMs);
}

/** How long keys of processes that are gone are kept, by the observer's own clock. */
export const LEASE_KEPT_MS = 24 * 3_600_000;

// -------------------------------------------------------------------------------------------------------------- keys

export type StoreKey =
  | { readonly kind: 'lease' | 'fence'; readonly host: string; readonly incarnation: string }
  | { readonly kind: 'own' | 'check'; readonly actor: string; readonly epoch: number };

export const leaseKey = (host: string, incarnation: string): string => `lease.${host}.${incarnation}`;
export const fenceKey = (host: string, incarnation: string): string => `fence.${host}.${incarnation}`;
export const ownKey = (actor: string, epoch: number): string => `own.${actor}.${epoch}`;
/** Of what the owner of that epoch saved last (`context.checkpoint`). */
export const checkKey = (actor: string, epoch: number): string => `check.${actor}.${epoch}`;

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
/** One spelling per epoch: with leading zeros two creates of one epoch could both win. */
const EPOCH = /^[1-9]\d{0,15}$/;

/** @returns undefined for every key these rules did not write */
export function parseStoreKey(key: string): StoreKey | undefined {
  const [kind, name, last, ...more] = key.split('.');
  if (name === undefined || last === undefined || more.length > 0 || !TOKEN.test(name)) return undefined;
  if (kind === 'lease' || kind === 'fence') return TOKEN.test(last) ? { kind, host: name, incarnation: last } : undefined;
  if ((kind !== 'own' && kind !== 'check') || !EPOCH.test(last) || !Number.isSafeInteger(Number(last))) return undefined;
  return { kind, actor: name, epoch: Number(last) };
}

/** The key whose value names the present owner of each actor. */
export function newestOwner(keys: Iterable<string>): ReadonlyMap<string, { readonly key: string; readonly epoch: number }> {
  const newest = new Map<string, { key: string; epoch: number }>();
  for (const key of keys) {
    const parsed = parseStoreKey(key);
    if (parsed?.kind === 'own' && parsed.epoch > (newest.get(parsed.actor)?.epoch ?? 0)) newest.set(parsed.actor, { key, epoch: parsed.epoch });
  }
  return newest;
}

/** Keys of owners long gone, oldest first; the newest `EPOCHS_KEPT` of each actor stay, so no epoch is ever used again. */
export function ownersToPurge(keys: Iterable<string>): readonly string[] {
  const epochsOf = new Map<string, number[]>();
  for (const key of keys) {
    const parsed = parseStoreKey(key);
    if (parsed?.kind === 'own') epochsOf.set(parsed.actor, [...(epochsOf.get(parsed.actor) ?? []), parsed.epoch]);
  }
  return [...epochsOf].flatMap(([actor, epochs]) => epochs.sort((a, b) => a - b).slice(0, -EPOCHS_KEPT).map((epoch) => ownKey(actor, epoch)));
}

// ---------------------------------------------------------------------------------------------------- high-water mark

/** Highest epoch seen per actor. */
export type EpochMarks = ReadonlyMap<string, number>;

/** Whoever reads an answer or a checkpoint of a singleton asks here first: nothing of an earlier owner is taken. */
export function readEpoch(marks: EpochMarks, actor: string, epoch: number): { readonly accepted: boolean; readonly marks: EpochMarks } {
  const mark = marks.get(actor) ?? 0;
  if (!(epoch >= mark)) return { accepted: false, marks };
  return { accepted: true, marks: epoch === mark ? marks : new Map(marks).set(actor, epoch) };
}
