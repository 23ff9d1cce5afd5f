/** Why a singleton is served here or is not, in words for status and events. Decides nothing. */
import type { StoreState } from '../ports.js';
import type { LeaseSeen, Title } from './ownership-ledger.js';
import { sameOwner } from './ownership-ledger.js';
import type { Owner, OwnershipEvent, OwnershipLimits } from './ownership-types.js';

export interface Circumstances {
  readonly store: { readonly state: StoreState; readonly detail: string } | undefined;
  readonly limits: OwnershipLimits;
  readonly nowMs: number;
  readonly self: Owner;
  readonly fencedBy: string | undefined;
  readonly closed: boolean;
  /** The epoch served here. */
  readonly serving: number | undefined;
  readonly newest: Title | undefined;
  readonly lease: (owner: Owner) => LeaseSeen | undefined;
  /** Since the last acknowledged renewal was sent. */
  readonly renewalAgeMs: number | undefined;
  readonly holds: boolean;
  readonly isCandidate: boolean;
  readonly wait: string | undefined;
  /** Whom it is being given to. */
  readonly target: string | undefined;
}

/** A lease not renewed for this many times `renewMs` is worth a word. */
const LATE_RENEWALS = 4;

export function reason(facts: Circumstances): string {
  const { store, newest, self } = facts;
  if (!store) return 'no store';
  if (facts.fencedBy !== undefined) return `this host was declared dead by ${facts.fencedBy}`;
  if (facts.closed) return 'this host is stopping';
  if (facts.target !== undefined) return `being handed over to ${facts.target}`;
  if (facts.serving !== undefined) return `owned by this host (epoch ${facts.serving})`;
  if (store.state === 'absent') return `no store: ${store.detail}`;
  if (store.state !== 'ready') return `the store is ${store.state}: ${store.detail}`;
  if (newest?.owner && !sameOwner(newest.owner, self)) return ofOther(newest.owner, facts);
  if (!facts.holds) return facts.renewalAgeMs === undefined ? 'no lease was acknowledged yet' : `the own lease does not hold: last acknowledged renewal ${seconds(facts.renewalAgeMs)} ago`;
  if (facts.wait !== undefined) return facts.wait;
  return facts.isCandidate ? 'about to be taken' : 'nobody owns it, and this host does not want it';
}

function ofOther(owner: Owner, { lease, nowMs, limits, wait, isCandidate }: Circumstances): string {
  const seen = lease(owner);
  const ageMs = seen ? nowMs - seen.changedAtMs : 0;
  if (seen?.ended) return wait ?? `host ${owner.host} has given it up`;
  if (!isCandidate || ageMs < LATE_RENEWALS * limits.renewMs) return `owned by host ${owner.host}`;
  if (ageMs < limits.leaseMs) return `waiting for the lease of ${owner.host} to run out (${seconds(limits.leaseMs - ageMs)})`;
  return `the lease of ${owner.host} has run out${wait === undefined ? '' : `; ${wait}`}`;
}

interface Told {
  readonly type: OwnershipEvent;
  readonly why: string;
  readonly detail: string;
}

export function serving(before: number | undefined, epoch: number | undefined, why: string | undefined, lost: () => string): Told {
  if (epoch !== undefined) return { type: 'singleton-taken', why: why ?? 'named as the owner by the store', detail: `epoch ${epoch}` };
  return { type: 'singleton-lost', why: lost(), detail: `epoch ${before}` };
}

const seconds = (ms: number): string => `${Math.ceil(Math.max(0, ms) / 1000)} s`;
