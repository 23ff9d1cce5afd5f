/**
 * When a host may remove a replica that placement does not want there any more: only its own ones, and only after all
 * wanted ones of the actor have been ready for 30 s, so that a move never leaves a gap.
 *
 * What "ready" is in the cluster comes from host states; the 30 s are counted on the own monotonic clock from when this
 * host first saw the present wish fulfilled. An actor without any place keeps what it has.
 */
import type { Placed, Placement } from './cluster-placement.js';

export const SETTLED_AFTER_MS = 30_000;

export interface ReadyReplicas {
  readonly host: string;
  readonly actor: string;
  readonly device: string;
  readonly count: number;
}

/** Actors whose wish is fulfilled: which wish, and since when. */
export type Fulfilled = ReadonlyMap<string, { readonly wish: string; readonly sinceMs: number }>;

const wishOf = (places: readonly Placed[]): string => places.map(({ host, device, count }) => `${host} ${device} ${count}`).sort().join(',');
const placeOf = (actor: string, host: string, device: string): string => `${actor} ${host} ${device}`;

/** To be called at every change of the placement or of what is ready. Another wish starts its 30 s anew. */
export function fulfilled(before: Fulfilled, placement: Placement, ready: readonly ReadyReplicas[], nowMs: number): Fulfilled {
  const counts = new Map<string, number>();
  for (const { actor, host, device, count } of ready) {
    const place = placeOf(actor, host, device);
    counts.set(place, (counts.get(place) ?? 0) + count);
  }
  const now = new Map<string, { wish: string; sinceMs: number }>();
  for (const [actor, places] of placement) {
    if (places.length === 0 || !places.every(({ host, device, count }) => (counts.get(placeOf(actor, host, device)) ?? 0) >= count)) continue;
    const wish = wishOf(places);
    const known = before.get(actor);
    now.set(actor, known?.wish === wish ? known : { wish, sinceMs: nowMs });
  }
  return now;
}

/** @returns how many ready replicas of which actor `host` may remove now; actors the placement does not name are left out */
export function surplus(placement: Placement, host: string, ready: readonly ReadyReplicas[], done: Fulfilled, nowMs: number): readonly Omit<ReadyReplicas, 'host'>[] {
  const mine = new Map<string, { actor: string; device: string; count: number }>();
  for (const each of ready) {
    if (each.host !== host) continue;
    const place = placeOf(each.actor, host, each.device);
    mine.set(place, { actor: each.actor, device: each.device, count: (mine.get(place)?.count ?? 0) + each.count });
  }
  return [...mine.values()].flatMap(({ actor, device, count }) => {
    const places = placement.get(actor);
    const met = done.get(actor);
    if (places === undefined || met === undefined || met.wish !== wishOf(places) || nowMs - met.sinceMs < SETTLED_AFTER_MS) return [];
    const wanted = places.find((place) => place.host === host && place.device === device)?.count ?? 0;
    return count > wanted ? [{ actor, device, count: count - wanted }] : [];
  });
}
