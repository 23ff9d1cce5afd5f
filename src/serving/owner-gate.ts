/**
 * What stands before a singleton's dispatcher: only its owner takes requests, and only an answer of the epoch the request was
 * taken in may leave. While the actor moves to another host, requests wait here and then go there, so that a planned move
 * loses none.
 */
import { ServeError } from '../errors.js';
import type { Clock, TimerHandle } from '../ports.js';

export interface OwnerGate {
  /** While this host owns the actor and may serve it; asked before a request is taken and before its answer leaves. */
  epoch(): number | undefined;
  /** Why it does not. */
  reason(): string;
  /** Somebody who is alive owns it, here or elsewhere, ready or not. */
  hasLivingOwner(): boolean;
  /** On its way to another host. */
  moving(): boolean;
  /** Resolves when one of these may be different, here or elsewhere. */
  nextChange(): Promise<void>;
}

/** Resolves when the actor is here, or somewhere else, or the time is over. */
export async function whileMoving(gate: OwnerGate, readyElsewhere: () => boolean, clock: Clock, untilMs: number): Promise<void> {
  if (!gate.moving() || readyElsewhere()) return;
  let timer: TimerHandle;
  let isOver = false;
  const over = new Promise<void>((resolve) => {
    timer = clock.setTimeout(() => {
      isOver = true;
      resolve();
    }, Math.max(0, untilMs - clock.now()));
  });
  while (!isOver && gate.moving() && !readyElsewhere()) await Promise.race([gate.nextChange(), over]);
  clock.clearTimeout(timer);
}

/** Resolves at the next change, or when the time is over. @returns whether there was one */
export async function changeWithin(gate: OwnerGate, clock: Clock, ms: number): Promise<boolean> {
  let timer: TimerHandle;
  const over = new Promise<boolean>((resolve) => (timer = clock.setTimeout(() => resolve(false), Math.max(0, ms))));
  return Promise.race([gate.nextChange().then(() => true), over]).finally(() => clock.clearTimeout(timer));
}

export const notOwned = (gate: OwnerGate): ServeError => new ServeError('UNAVAILABLE', gate.reason(), { retryAfterMs: 1000, attempts: 0 });

/** @param repeatable somebody may run it again */
export const lostMeanwhile = (actor: string, attempts: number, repeatable: boolean): ServeError =>
  new ServeError('UNAVAILABLE', `this host ceased to own ${actor} while the request ran; its answer does not count`, { attempts, ...(!repeatable && { outcome: 'unknown' as const }) });
