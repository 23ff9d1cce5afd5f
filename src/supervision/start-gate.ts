/**
 * How many children of a host may be starting at once (`startsParallelMax`), over all its supervisors.
 *
 * First come, first served. A supervisor asks for a slot before it spawns a worker and gives it back when the worker's
 * start is over; supervisors themselves never hold a slot, or a tree deeper than the limit could never start.
 */
export interface StartGate {
  /** Calls `granted` once, now or later. The result gives the slot back, or the place in the line. */
  acquire(granted: () => void): () => void;
}

export function createStartGate(slotsMax: number): StartGate & { readonly held: number; readonly waiting: number } {
  const line = new Set<{ granted: () => void }>();
  let held = 0;
  const release = (): void => {
    held -= 1;
    const next = line.values().next().value;
    if (next) {
      line.delete(next);
      held += 1;
      next.granted();
    }
  };
  return {
    acquire(granted) {
      const ticket = { granted };
      if (held < slotsMax) {
        held += 1;
        granted();
      } else {
        line.add(ticket);
      }
      let over = false;
      return () => {
        if (over) return;
        over = true;
        if (!line.delete(ticket)) release();
      };
    },
    get held() { return held; },
    get waiting() { return line.size; },
  };
}
