/**
 * Which of its devices an actor runs on, and when a device or a placement that failed is tried again.
 *
 * Two things can stand against a device: the device itself (its probe failed, or it broke under a replica: fenced for
 * everybody) and the placement (one actor's pool gave up there). Both are tried again after 30 s, doubling to 15 min.
 * The order an actor lists is its preference and nothing else is: load does not move a pool.
 */

export type DeviceState =
  /** Not known yet. */
  | { readonly state: 'probing'; readonly reason: string }
  | { readonly state: 'usable'; readonly reason: string }
  /** Broke while it was used. */
  | { readonly state: 'fenced'; readonly reason: string }
  /** Its probe failed. */
  | { readonly state: 'unusable'; readonly reason: string };

/** What failed, how often in a row, and when it may be tried again. */
export interface Pause {
  readonly failures: number;
  readonly failedMs: number;
  readonly untilMs: number;
  readonly reason: string;
}

export const RETRY_MIN_MS = 30_000;
export const RETRY_MAX_MS = 15 * 60_000;
/** Good for this long after a pause was over: the next failure is a first one again. */
const FORGIVEN_AFTER_MS = RETRY_MAX_MS;

export function afterFailure(before: Pause | undefined, reason: string, nowMs: number): Pause {
  const forgiven = before === undefined || !remembered(before, nowMs);
  const failures = forgiven ? 1 : before.failures + 1;
  return { failures, failedMs: nowMs, untilMs: nowMs + Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (failures - 1)), reason };
}

/** The next try was made before its time and went well, or its time has come: nothing stands against it any more. */
export const released = (pause: Pause, nowMs: number): Pause => ({ ...pause, untilMs: Math.min(pause.untilMs, nowMs) });

/** The next failure would not be a first one. */
export const remembered = (pause: Pause, nowMs: number): boolean => nowMs - pause.untilMs < FORGIVEN_AFTER_MS;

export const paused = (pause: Pause | undefined, nowMs: number): boolean => pause !== undefined && nowMs < pause.untilMs;

export type DeviceChoice =
  /** `degraded`: why the answers are second best; absent on the first choice. */
  | { readonly to: 'device'; readonly device: string; readonly degraded?: string }
  /** A device it would rather have is still being probed. */
  | { readonly to: 'wait'; readonly reason: string }
  /** Usable, but its pools gave up on every usable device: one replica, at the longest backoff, for as long as it takes. */
  | { readonly to: 'last-resort'; readonly device: string; readonly degraded?: string }
  | { readonly to: 'nowhere'; readonly reason: string };

export interface DeviceWishes {
  /** In order of preference. */
  readonly wanted: readonly string[];
  /** Of this host; a device it does not have is passed over without a word. */
  readonly states: ReadonlyMap<string, DeviceState>;
  /** Placements of this actor that failed. */
  readonly pauses: ReadonlyMap<string, Pause>;
  /** Where it runs or ran last; it stays there as a last resort. */
  readonly present?: string | undefined;
}

export function chooseDevice({ wanted, states, pauses, present }: DeviceWishes, nowMs: number): DeviceChoice {
  /** What stands against each device that cannot be had, in the order of the list. */
  const against = new Map<string, string>();
  const failed: string[] = [];
  for (const device of wanted) {
    const known = states.get(device);
    if (known === undefined) continue;
    if (known.state === 'probing') return { to: 'wait', reason: `${device} is being probed` };
    if (known.state !== 'usable') {
      against.set(device, `${device} ${known.state}: ${known.reason}`);
      continue;
    }
    const pause = pauses.get(device);
    if (!paused(pause, nowMs)) return { to: 'device', device, ...degradedBy([...against.values()], device) };
    against.set(device, `${device} failed: ${pause!.reason}`);
    failed.push(device);
  }
  if (failed.length === 0) return { to: 'nowhere', reason: `no usable device: ${[...against.values()].join('; ') || `none of [${wanted}] is here`}` };
  // The last one of the list is the one its operator trusts most to be there; where it is already, it stays.
  const device = failed.find((candidate) => candidate === present) ?? failed.at(-1)!;
  const preferred = wanted.slice(0, wanted.indexOf(device));
  return { to: 'last-resort', device, ...degradedBy([...against].filter(([other]) => preferred.includes(other)).map(([, line]) => line), device) };
}

function degradedBy(against: readonly string[], device: string): { readonly degraded?: string } {
  return against.length === 0 ? {} : { degraded: `${against.join('; ')}, served on ${device}` };
}

/** When a paused placement on a usable device is due, in ms from now; undefined when none is paused. */
export function nextRetryMs({ states, pauses }: Pick<DeviceWishes, 'states' | 'pauses'>, nowMs: number): number | undefined {
  let due: number | undefined;
  for (const [device, pause] of pauses) {
    if (!paused(pause, nowMs) || states.get(device)?.state !== 'usable') continue;
    due = Math.min(due ?? Infinity, pause.untilMs - nowMs);
  }
  return due;
}
