/**
 * When a run is late enough to be suspected: 8 times the p99 of its shape, between 100 ms and a third of the actor's
 * time-out (semantics, section 2). Unknown shapes get the upper bound: a first run may compile, page in, warm up.
 *
 * Keeps the last 128 run times per shape for a bounded number of shapes; the least recently seen shape gives way.
 */

const SAMPLES = 128;
const SAMPLES_MIN = 20;
const SHAPES_MAX = 64;
const FACTOR = 8;
const SUSPECT_MIN_MS = 100;

interface Shape {
  readonly times: Float64Array;
  count: number;
  /** Recomputed every 16 samples: sorting 128 numbers is no work for every request. */
  p99Ms: number;
}

/** Changed in place: this is on the path of every request. */
export class RunTimes {
  readonly #shapes = new Map<string, Shape>();

  learn(shape: string, runMs: number): void {
    let known = this.#shapes.get(shape);
    if (!known) {
      known = { times: new Float64Array(SAMPLES), count: 0, p99Ms: 0 };
      if (this.#shapes.size >= SHAPES_MAX) this.#shapes.delete(this.#shapes.keys().next().value!);
      this.#shapes.set(shape, known);
    }
    known.times[known.count % SAMPLES] = runMs;
    known.count++;
    if (known.count === SAMPLES_MIN || known.count % 16 === 0) known.p99Ms = p99(known.times.subarray(0, Math.min(known.count, SAMPLES)));
  }

  p99Ms(shape: string): number | undefined {
    const known = this.#shapes.get(shape);
    return known && known.count >= SAMPLES_MIN ? known.p99Ms : undefined;
  }
}

function p99(times: Float64Array): number {
  const sorted = Float64Array.from(times).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))]!;
}

/** @param fixedMs the spec's own value, which overrules what was learned */
export function suspectAfterMs(p99Ms: number | undefined, timeoutMs: number, fixedMs?: number): number {
  if (fixedMs !== undefined) return fixedMs;
  const mostMs = Math.max(SUSPECT_MIN_MS, timeoutMs / 3);
  return p99Ms === undefined ? mostMs : Math.min(mostMs, Math.max(SUSPECT_MIN_MS, FACTOR * p99Ms));
}
