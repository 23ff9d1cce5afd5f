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
export type Fulfilled = ReadonlyMap<string, { readonly wish: readonly Placed[]; readonly sinceMs: number }>;

/** The same places, in any order; a host stands in a wish once. */
function isSame(wish: readonly Placed[], other: readonly Placed[]): boolean {
  const equal = (a: Placed, b: Placed | undefined): boolean => a.host === b?.host && a.device === b.device && a.count === b.count;
  return wish === other || (wish.length === other.length && wish.every((place, at) => equal(place, other[at]) || other.some((each) => equal(place, each))));
}

function countAt({ host, device }: Placed, ready: readonly ReadyReplicas[]): number {
  let count = 0;
  for (const each of ready) if (each.host === host && each.device === device) count += each.count;
  return count;
}

/** To be called at every change of the placement or of what is ready. Another wish starts its 30 s anew. */
export function fulfilled(before: Fulfilled, placement: Placement, ready: readonly ReadyReplicas[], nowMs: number): Fulfilled {
  // By actor: a text per replica as the key of one map took a third of a look at 20,000 replicas.
  const readyOf = new Map<string, ReadyReplicas[]>();
  for (const each of ready) {
    const known = readyOf.get(each.actor);
    if (known) known.push(each);
    else readyOf.set(each.actor, [each]);
  }
  const now = new Map<string, { wish: readonly Placed[]; sinceMs: number }>();
  for (const [actor, places] of placement) {
    const there = readyOf.get(actor);
    if (!there || places.length === 0 || !places.every((place) => countAt(place, there) >= place.count)) continue;
    const known = before.get(actor);
    now.set(actor, known && isSame(known.wish, places) ? known : { wish: places, sinceMs: nowMs });
  }
  return now;
}

/** Whether hosts may remove what they have of the actor beyond their places, ready or not. */
export function maySettle(placement: Placement, actor: string, done: Fulfilled, nowMs: number): boolean {
  const places = placement.get(actor);
  const met = done.get(actor);
  return places !== undefined && met !== undefined && isSame(met.wish, places) && nowMs >= met.sinceMs + SETTLED_AFTER_MS; // the very sum a timer for that moment is made of
}
