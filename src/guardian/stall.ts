/**
 * Whether the loop of a process stands still, judged by its beats.
 *
 * A beat is due each `beatMs`; a loop stands still for `loopStallMs` when that much time has passed since the first beat
 * that did not come. Whoever judges must have been awake: when its own look comes a whole period late, this process (or
 * this machine) stood still as well, and everything it knows of the other's silence is void.
 */

export interface StallWatch {
  readonly loopStallMs: number;
  /** Between two beats, and between two looks. */
  readonly beatMs: number;
  readonly heardAt: number;
  readonly lookedAt: number;
}

export function startWatch(times: { readonly loopStallMs: number; readonly beatMs: number }, now: number): StallWatch {
  return { loopStallMs: times.loopStallMs, beatMs: times.beatMs, heardAt: now, lookedAt: now };
}

export function beatHeard(watch: StallWatch, now: number): StallWatch {
  return { ...watch, heardAt: now };
}

/** To be called each `beatMs`. `standsStill`: for at least `loopStallMs`. */
export function look(watch: StallWatch, now: number): { readonly watch: StallWatch; readonly standsStill: boolean } {
  const { loopStallMs, beatMs, lookedAt } = watch;
  const slept = now - lookedAt >= 2 * beatMs;
  const heardAt = slept ? now : watch.heardAt;
  return { watch: { ...watch, heardAt, lookedAt: now }, standsStill: now - heardAt >= loopStallMs + beatMs };
}
