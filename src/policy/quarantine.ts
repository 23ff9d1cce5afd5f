/** Fingerprints of requests that ended a replica in a solo run, and until when equal ones are refused. */

export interface Quarantine {
  /** Fingerprint to the monotonic time, in ms, its quarantine ends. Insertion order is age order. */
  readonly until: ReadonlyMap<string, number>;
}

/** Bound of the list; the oldest entry gives way. At one confirmed poison per two deaths this is hours of constant crashing. */
export const QUARANTINE_SIZE_MAX = 10_000;

export const emptyQuarantine: Quarantine = { until: new Map() };

export function confirmPoison(quarantine: Quarantine, fingerprint: string, nowMs: number, quarantineMs: number): Quarantine {
  const until = new Map([...quarantine.until].filter(([known, end]) => end > nowMs && known !== fingerprint));
  until.set(fingerprint, nowMs + quarantineMs);
  while (until.size > QUARANTINE_SIZE_MAX) until.delete(until.keys().next().value!);
  return { until };
}

export function isQuarantined(quarantine: Quarantine, fingerprint: string, nowMs: number): boolean {
  const end = quarantine.until.get(fingerprint);
  return end !== undefined && end > nowMs;
}

/** An equal request was seen to be harmless, or an operator takes it upon himself. */
export function release(quarantine: Quarantine, fingerprint: string): Quarantine {
  const until = new Map(quarantine.until);
  return until.delete(fingerprint) ? { until } : quarantine;
}

/** What still counts, oldest first, with the time that is left: what one process can tell the next, whose clock is another. */
export function remaining(quarantine: Quarantine, nowMs: number): { readonly fingerprint: string; readonly leftMs: number }[] {
  return [...quarantine.until].filter(([, end]) => end > nowMs).map(([fingerprint, end]) => ({ fingerprint, leftMs: end - nowMs }));
}

/** Whether anything can match at all: spares healthy hosts the fingerprint of every request. */
export function isEmpty(quarantine: Quarantine, nowMs: number): boolean {
  for (const end of quarantine.until.values()) if (end > nowMs) return false;
  return true;
}
