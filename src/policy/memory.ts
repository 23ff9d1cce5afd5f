/**
 * When a cell has grown too large to keep: above its bound, or growing without an end in sight.
 *
 * Resident memory is noisy (garbage waits for its collector, arenas keep their peak), so the bound must be exceeded in
 * several looks in a row, and growth is judged by the *least* memory of each window: what remains when garbage is gone.
 * Growth counts only when it is steady, more than twofold and large; a cache that fills up and stops is no leak.
 */

export interface MemoryRecord {
  /** Looks in a row above the bound. */
  readonly over: number;
  /** Floor of the first window after the warm-up: what the replica needs; undefined until then. */
  readonly baseline: number | undefined;
  /** Least bytes of the last windows, oldest first. */
  readonly floors: readonly number[];
  readonly windowSinceMs: number;
  readonly windowFloor: number;
  /** Windows closed so far. */
  readonly windows: number;
}

/** A collector may be one look late, but not three. */
const OVER_LOOKS = 3;
const WINDOW_MS = 30_000;
/** Loading, first runs and caches. */
const WARM_UP_WINDOWS = 2;
/** Steady: this many windows in a row, each above the one before. */
const GROWING_WINDOWS = 8;
const STEP_BYTES = 1024 * 1024;
const GROWTH_FACTOR = 2;
const GROWTH_BYTES = 256 * 1024 * 1024;

export const freshMemory = (nowMs: number): MemoryRecord => ({ over: 0, baseline: undefined, floors: [], windowSinceMs: nowMs, windowFloor: Infinity, windows: 0 });

/** @param bytes resident memory now; 0 = unknown, nothing is concluded */
export function withSample(record: MemoryRecord, bytes: number, bytesMax: number, nowMs: number): MemoryRecord {
  if (bytes <= 0) return record;
  const over = bytes > bytesMax ? record.over + 1 : 0;
  const windowFloor = Math.min(record.windowFloor, bytes);
  if (nowMs - record.windowSinceMs < WINDOW_MS) return { ...record, over, windowFloor };
  const windows = record.windows + 1;
  const warm = windows > WARM_UP_WINDOWS;
  return {
    over, windows,
    baseline: record.baseline ?? (warm ? windowFloor : undefined),
    floors: warm ? [...record.floors, windowFloor].slice(-(GROWING_WINDOWS + 1)) : [],
    windowSinceMs: nowMs,
    windowFloor: Infinity,
  };
}

/** Why the cell should be recycled, for people; undefined when it should not. */
export function tooLarge(record: MemoryRecord, bytes: number, bytesMax: number): string | undefined {
  if (record.over >= OVER_LOOKS) return `memory: ${mb(bytes)} resident, bytesMax is ${mb(bytesMax)}`;
  const { floors, baseline } = record;
  if (baseline === undefined || floors.length <= GROWING_WINDOWS) return undefined;
  const steady = floors.every((floor, at) => at === 0 || floor >= floors[at - 1]! + STEP_BYTES);
  const last = floors.at(-1)!;
  if (!steady || last < baseline * GROWTH_FACTOR || last < baseline + GROWTH_BYTES) return undefined;
  return `memory: grows steadily, from ${mb(baseline)} after the warm-up to ${mb(last)}`;
}

/**
 * How long to wait after the last recycling of an actor's replica. One that is too large while still young says that the
 * bound is below what the actor needs; recycling it for ever would only burn starts.
 * @param youngInARow how many in a row were recycled within `YOUNG_MS` of becoming ready
 */
export function recycleEveryMs(youngInARow: number): number {
  return Math.min(RECYCLE_MAX_MS, RECYCLE_MIN_MS * 2 ** youngInARow);
}

export const YOUNG_MS = 60_000;
const RECYCLE_MIN_MS = 10_000;
const RECYCLE_MAX_MS = 15 * 60_000;

const mb = (bytes: number): string => (bytes === Infinity ? 'unlimited' : `${Math.round(bytes / (1024 * 1024))} MiB`);
