/**
 * What the store says of leases, fences and owners, and when this host saw each of them change: the only times that count
 * in a take-over.
 *
 * A listing of the leader replaces everything it knows; the watch may only make a lease look younger, which delays and
 * never harms. It reads no clock and makes no calls.
 */
import { fenceKey, leaseKey, parseStoreKey, type StoreKey } from '../policy/lease.js';
import type { StoreEntry, StoreListing } from '../ports.js';
import { parseRecord } from '../protocol/beat.js';
import type { Owner } from './ownership-types.js';

/** Of one process, found or not found. */
export interface LeaseSeen {
  /** 0: there is no such key. */
  readonly revision: number;
  readonly changedAtMs: number;
  /** Its last word: everything is stopped, it never comes back. */
  readonly ended: boolean;
}

export interface Title {
  readonly epoch: number;
  /** Undefined: given back. */
  readonly owner: Owner | undefined;
}

const encoder = new TextEncoder();
const encode = (value: object): Uint8Array => encoder.encode(JSON.stringify(value));

export const leaseValue = (ended: boolean): Uint8Array => encode({ ended });
export const fenceValue = (by: Owner): Uint8Array => encode({ by });
export const titleValue = (owner: Owner | undefined): Uint8Array => encode(owner ? { host: owner.host, incarnation: owner.incarnation } : {});

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const isToken = (value: unknown): value is string => typeof value === 'string' && TOKEN.test(value);
/** Of a value nobody of ours wrote: nobody renews its lease, so it is waited out like that of any dead host. */
const stranger: Owner = { host: 'unknown', incarnation: 'unknown' };

function ownerIn(value: Uint8Array): Owner | undefined {
  const found = parseRecord(value);
  if (found && Object.keys(found).length === 0) return undefined;
  return found && isToken(found['host']) && isToken(found['incarnation']) ? { host: found['host'], incarnation: found['incarnation'] } : stranger;
}

export const sameOwner = (a: Owner | undefined, b: Owner | undefined): boolean => a?.host === b?.host && a?.incarnation === b?.incarnation;
const idOf = ({ host, incarnation }: Owner): string => `${host}.${incarnation}`;

export interface Listings {
  readonly leases: StoreListing;
  readonly fences: StoreListing;
  readonly titles: StoreListing;
}

export class Ledger {
  readonly #leases = new Map<string, LeaseSeen & Owner>();
  readonly #fences = new Map<string, Owner & { readonly seenAtMs: number; readonly by: string }>();
  /** Per actor, by epoch, rising. */
  readonly #titles = new Map<string, Title[]>();

  /** @param nowMs after the answers came */
  read({ leases, fences, titles }: Listings, nowMs: number): void {
    const before = new Map(this.#leases);
    this.#leases.clear();
    for (const { entry, owner } of parsed(leases.entries, 'lease')) this.#seeLease(owner, entry, before.get(idOf(owner)), nowMs);
    const known = new Map(this.#fences);
    this.#fences.clear();
    for (const { entry, owner } of parsed(fences.entries, 'fence')) this.#fences.set(idOf(owner), known.get(idOf(owner)) ?? { ...owner, seenAtMs: nowMs, by: fencerIn(entry.value) });
    this.#titles.clear();
    this.#addTitles(titles.entries);
    for (const [actor] of this.#titles) this.#seeMissing(this.newest(actor)?.owner, before, nowMs);
  }

  /** All keys of one actor, read again. */
  readActor(actor: string, entries: readonly StoreEntry[], nowMs: number): void {
    this.#titles.delete(actor);
    this.#addTitles(entries);
    this.#seeMissing(this.newest(actor)?.owner, this.#leases, nowMs);
  }

  /** By the watch, or read alone; undefined: there is none. */
  leaseHeard(owner: Owner, entry: StoreEntry | undefined, nowMs: number): void {
    const before = this.#leases.get(idOf(owner));
    if (entry) this.#seeLease(owner, entry, before, nowMs);
    else if (before?.revision !== 0) this.#leases.set(idOf(owner), { ...owner, revision: 0, changedAtMs: nowMs, ended: false });
  }

  lease(owner: Owner): LeaseSeen | undefined {
    return this.#leases.get(idOf(owner));
  }

  fence(owner: Owner): { readonly by: string } | undefined {
    return this.#fences.get(idOf(owner));
  }

  actors(): Iterable<string> {
    return this.#titles.keys();
  }

  newest(actor: string): Title | undefined {
    return this.#titles.get(actor)?.at(-1);
  }

  /** By epoch, rising. */
  titles(actor: string): readonly Title[] {
    return this.#titles.get(actor) ?? [];
  }

  /** Keys of processes nothing was heard of for so long, and that are named by no newest title. */
  old(nowMs: number, keptMs: number): string[] {
    const named = new Set([...this.#titles.keys()].map((actor) => this.newest(actor)?.owner).filter((owner) => owner !== undefined).map(idOf));
    const leases = [...this.#leases].filter(([id, { revision, changedAtMs }]) => revision > 0 && !named.has(id) && nowMs - changedAtMs >= keptMs);
    // A fence outlives the lease it ended.
    const fences = [...this.#fences].filter(([id, { seenAtMs }]) => !named.has(id) && !this.#leases.has(id) && nowMs - seenAtMs >= keptMs);
    return [...leases.map(([, owner]) => leaseKey(owner.host, owner.incarnation)), ...fences.map(([, owner]) => fenceKey(owner.host, owner.incarnation))];
  }

  #seeLease(owner: Owner, { revision, value }: StoreEntry, before: LeaseSeen | undefined, nowMs: number): void {
    // Another revision, not a higher one: a store that was rolled back counts from below.
    const changedAtMs = before?.revision === revision ? before.changedAtMs : nowMs;
    this.#leases.set(idOf(owner), { ...owner, revision, changedAtMs, ended: parseRecord(value)?.['ended'] === true });
  }

  /** An owner without a lease has to be waited for like any other, from when that was seen first. */
  #seeMissing(owner: Owner | undefined, before: ReadonlyMap<string, LeaseSeen>, nowMs: number): void {
    if (!owner || this.#leases.has(idOf(owner))) return;
    const seen = before.get(idOf(owner));
    this.#leases.set(idOf(owner), { ...owner, revision: 0, changedAtMs: seen?.revision === 0 ? seen.changedAtMs : nowMs, ended: false });
  }

  #addTitles(entries: readonly StoreEntry[]): void {
    for (const entry of entries) {
      const key = parseStoreKey(entry.key);
      if (key?.kind !== 'own') continue;
      const list = this.#titles.get(key.actor) ?? [];
      list.push({ epoch: key.epoch, owner: ownerIn(entry.value) });
      this.#titles.set(key.actor, list);
    }
    for (const list of this.#titles.values()) list.sort((a, b) => a.epoch - b.epoch);
  }
}

function fencerIn(value: Uint8Array): string {
  const by = parseRecord(value)?.['by'] as Partial<Owner> | undefined;
  return isToken(by?.host) ? by.host : 'unknown';
}

function parsed(entries: readonly StoreEntry[], kind: 'lease' | 'fence'): { readonly entry: StoreEntry; readonly owner: Owner }[] {
  return entries.flatMap((entry) => {
    const key: StoreKey | undefined = parseStoreKey(entry.key);
    return key && key.kind === kind && 'host' in key ? [{ entry, owner: { host: key.host, incarnation: key.incarnation } }] : [];
  });
}
