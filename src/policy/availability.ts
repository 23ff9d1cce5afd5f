/**
 * Whether an actor's requests are taken on this host: while a replica is ready, and for `holdMs` after the last one
 * went if a new one is under way. Subscription to the actor's subject follows this value and nothing else, so the
 * broker's "no responders" is the honest 503.
 */

export type Availability =
  /** Never had a replica yet. */
  | { readonly state: 'starting' }
  | { readonly state: 'open' }
  /** The last replica went; requests wait for the next one. */
  | { readonly state: 'holding'; readonly untilMs: number }
  | { readonly state: 'closed'; readonly reason: string };

export type AvailabilityEvent =
  | { readonly type: 'replicaReady' }
  | { readonly type: 'lastReplicaLost'; readonly restartUnderWay: boolean; readonly reason: string }
  /** Nothing restarts any more: the pool gave up or is being stopped. */
  | { readonly type: 'noRestart'; readonly reason: string }
  | { readonly type: 'timePassed' };

export function nextAvailability(now: Availability, event: AvailabilityEvent, nowMs: number, holdMs: number): Availability {
  switch (event.type) {
    case 'replicaReady':
      return now.state === 'open' ? now : { state: 'open' };
    case 'lastReplicaLost':
      if (now.state !== 'open') return now;
      return event.restartUnderWay && holdMs > 0 ? { state: 'holding', untilMs: nowMs + holdMs } : { state: 'closed', reason: event.reason };
    case 'noRestart':
      return now.state === 'open' ? now : { state: 'closed', reason: event.reason };
    case 'timePassed':
      return now.state === 'holding' && nowMs >= now.untilMs ? { state: 'closed', reason: `no replica came back within holdMs (${holdMs})` } : now;
  }
}

export const takesRequests = (availability: Availability): boolean => availability.state === 'open' || availability.state === 'holding';
