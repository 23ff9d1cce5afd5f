/**
 * The load generator: `concurrency` callers, each asking again as soon as it was answered (a closed loop), for a while.
 *
 * A closed loop measures capacity and the latency at a given number of callers; it says nothing of open-loop overload.
 * The beginning of every slice is asked but not counted, because the caches still belong to whoever was measured before.
 */

export interface LoadOrder {
  readonly concurrency: number;
  readonly durationMs: number;
}

export interface LoadResult {
  /** Of the requests counted, in ms. */
  readonly latenciesMs: Float64Array;
  readonly perSecond: number;
  /** All requests of the slice, the uncounted beginning included. */
  readonly requests: number;
}

const UNCOUNTED = 0.1;

/** @param ask one request; rejects or throws when it was not answered, and right, which ends the whole slice */
export async function generateLoad(order: LoadOrder, ask: () => Promise<unknown>): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const startedMs = performance.now();
  const countFromMs = startedMs + order.durationMs * UNCOUNTED;
  const endMs = startedMs + order.durationMs;
  let requests = 0;
  let counted = 0;
  let lastMs = startedMs;
  const caller = async (): Promise<void> => {
    for (;;) {
      const askedMs = performance.now();
      await ask();
      lastMs = performance.now();
      requests++;
      if (lastMs > countFromMs) counted++;
      if (askedMs >= countFromMs) latenciesMs.push(lastMs - askedMs);
      // Slow models get at least two rounds of answers, whatever the clock says, so that one is counted in full.
      if (lastMs >= endMs && requests >= 2 * order.concurrency) return;
    }
  };
  await Promise.all(Array.from({ length: order.concurrency }, caller));
  return { latenciesMs: Float64Array.from(latenciesMs), perSecond: counted / ((lastMs - countFromMs) / 1000), requests };
}
