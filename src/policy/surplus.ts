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

/** Whether hosts may remove what they have of the actor beyond their places, ready or not. */
export function maySettle(placement: Placement, actor: string, done: Fulfilled, nowMs: number): boolean {
  const places = placement.get(actor);
  const met = done.get(actor);
  return places !== undefined && met !== undefined && met.wish === wishOf(places) && nowMs - met.sinceMs >= SETTLED_AFTER_MS;
}
