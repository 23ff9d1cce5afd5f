/**
 * What the store's watch is good for: reading sooner. A lease that changed looks younger at once; a new title, a lease
 * that ended and a fence of this process are reasons to read. Nothing else is concluded from it, and nothing from its
 * silence.
 */
import { fenceKey, parseStoreKey } from '../policy/lease.js';
import type { Clock, Store } from '../ports.js';
import type { Ledger } from './ownership-ledger.js';
import type { Owner } from './ownership-types.js';

/** @returns the ways to stop it */
export function watchOwnership(store: Store, ledger: Ledger, self: Owner, clock: Clock, readNow: () => void): (() => void)[] {
  return [
    store.watch('own', ({ key }) => {
      const found = parseStoreKey(key);
      if (found?.kind === 'own' && found.epoch > (ledger.newest(found.actor)?.epoch ?? 0)) readNow();
    }),
    store.watch('lease', (change) => {
      const found = parseStoreKey(change.key);
      if (found?.kind !== 'lease' || change.deleted || change.revision <= (ledger.lease(found)?.revision ?? 0)) return;
      ledger.leaseHeard(found, change, clock.now());
      if (ledger.lease(found)?.ended) readNow();
    }),
    store.watch(`fence.${self.host}`, ({ key, deleted }) => {
      if (!deleted && key === fenceKey(self.host, self.incarnation)) readNow();
    }),
  ];
}
