/**
 * What keeps healing from becoming a storm: a pause when too many hosts fall silent at once (then the network, the
 * broker or this observer is the likelier culprit), a rate for take-overs, and an end for an actor that walks from host
 * to host and breaks its pool on each.
 *
 * Assumes the own monotonic clock in ms. While the brake holds, the caller treats dead hosts as if they still held their
 * places; nothing here stops requests from being routed around a suspect.
 */

export const BRAKE_SHARE = 0.55;
export const BRAKE_HOSTS_MIN = 3;
export const BRAKE_MAX_MS = 60_000;

export interface Brake {
  /** When it began to hold; undefined: it does not. */
  readonly heldSinceMs?: number;
  /** Silent hosts that turned before this do not count: they are old news. */
  readonly countFromMs?: number;
}

export const releasedBrake: Brake = {};

export const brakeHolds = (brake: Brake): boolean => brake.heldSinceMs !== undefined;

export interface BrakeFacts {
  /** Suspect or dead members, by when they left `alive` (`silentSinceMs` of the detector). */
  readonly silentSinceMs: readonly number[];
  /** All members not forgotten, this host included. */
  readonly hosts: number;
  readonly suspectAfterMs: number;
}

/** How many hosts make a mass. */
export const brakeThreshold = (hosts: number): number => Math.max(BRAKE_HOSTS_MIN, Math.ceil(BRAKE_SHARE * hosts - 1e-9));

/** To be called after every tick of the detector, before anything is done about its changes. */
export function stepBrake(brake: Brake, facts: BrakeFacts, nowMs: number): Brake {
  const turned = (fromMs: number): number => facts.silentSinceMs.filter((atMs) => atMs >= fromMs).length;
  const threshold = brakeThreshold(facts.hosts);
  if (brake.heldSinceMs !== undefined) {
    const over = nowMs - brake.heldSinceMs >= BRAKE_MAX_MS || turned(brake.countFromMs ?? -Infinity) < threshold;
    // The same hosts cannot trip it again: the next time counts only those that turn from now on.
    return over ? { countFromMs: nowMs } : brake;
  }
  const windowFromMs = Math.max(nowMs - facts.suspectAfterMs, brake.countFromMs ?? -Infinity);
  return turned(windowFromMs) >= threshold ? { heldSinceMs: nowMs, countFromMs: windowFromMs } : brake;
}

// ------------------------------------------------------------------------------------------------------------- rate

/** A bucket of one second's take-overs. */
export interface TakeOverRate {
  readonly tokens: number;
  readonly atMs: number;
}

export const fullRate = (perSecondMax: number, nowMs: number): TakeOverRate => ({ tokens: perSecondMax, atMs: nowMs });

export function spendTakeOver(rate: TakeOverRate, perSecondMax: number, nowMs: number): { readonly granted: boolean; readonly rate: TakeOverRate } {
  const tokens = Math.min(perSecondMax, rate.tokens + (Math.max(0, nowMs - rate.atMs) * perSecondMax) / 1000);
  // Refilled in small steps a bucket must not fall short of a whole token by a rounding error.
  const granted = tokens >= 1 - 1e-9;
  return { granted, rate: { tokens: granted ? Math.max(0, tokens - 1) : tokens, atMs: nowMs } };
}

// ------------------------------------------------------------------------------------------------------------- walk

export interface GaveUp {
  readonly host: string;
  readonly device: string;
  readonly reason: string;
}

/** Why an actor is placed on no further host; undefined while it has hosts left to try. */
export function walkEnded(gaveUp: readonly GaveUp[], hostsMax: number): string | undefined {
  const lastOf = new Map<string, string>();
  for (const { host, device, reason } of [...gaveUp].sort((a, b) => order(a.host, b.host) || order(a.device, b.device))) lastOf.set(host, `${host} (${device}): ${reason}`);
  return lastOf.size >= hostsMax ? `its pool gave up on ${lastOf.size} hosts, tried on no further one: ${[...lastOf.values()].join('; ')}` : undefined;
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
