/**
 * Admit a request or refuse it at once.
 *
 * Refusing early is kinder than a late time-out: the caller can go elsewhere while its budget is young. Bytes are the
 * real bound (they are what fills memory), predicted wait is the useful one, the count is a backstop.
 */

export interface QueueFacts {
  readonly count: number;
  readonly bytes: number;
  readonly sizeMax: number;
  readonly bytesMax: number;
  /** Over all actors of the host. */
  readonly hostBytes: number;
  readonly hostBytesMax: number;
  /** Learned time one run takes, in ms; undefined before the first. */
  readonly serviceMs: number | undefined;
  /** Runs that can go on side by side now; 0 while the last replica restarts. */
  readonly lanes: number;
  /** Runs posted to lanes and not answered yet. */
  readonly running: number;
}

export type Admission =
  | { readonly admit: true }
  | { readonly admit: false; readonly message: string; readonly retryAfterMs: number };

const ADMIT: Admission = { admit: true };

/** @param bytes of this request; @param budgetMs left until its deadline */
export function admit(queue: QueueFacts, bytes: number, budgetMs: number): Admission {
  const waitMs = predictedWaitMs(queue);
  const refuse = (message: string): Admission => ({ admit: false, message, retryAfterMs: Math.max(100, Math.ceil(waitMs)) });
  if (queue.count >= queue.sizeMax) return refuse(`queue is full: ${queue.count} requests wait (queue.sizeMax ${queue.sizeMax})`);
  // One request is always let into an empty queue: it was checked against the request limits, and refusing it for ever
  // with "try again" would be a lie.
  if (queue.count > 0 && queue.bytes + bytes > queue.bytesMax) return refuse(`queue is full: ${queue.bytes} bytes wait, ${bytes} more are over queue.bytesMax (${queue.bytesMax})`);
  if (queue.hostBytes > 0 && queue.hostBytes + bytes > queue.hostBytesMax) return refuse(`host is full: ${queue.hostBytes} bytes wait, ${bytes} more are over queueBytesMax (${queue.hostBytesMax})`);
  if (waitMs + (queue.serviceMs ?? 0) > budgetMs && queue.count > 0) {
    return refuse(`the deadline cannot be met: ${Math.ceil(waitMs)} ms of work wait ahead, ${Math.floor(budgetMs)} ms are left`);
  }
  return ADMIT;
}

/** Time until a request admitted now would start, from the learned service time; 0 while nothing is known. */
export function predictedWaitMs(queue: Pick<QueueFacts, 'count' | 'running' | 'lanes' | 'serviceMs'>): number {
  if (queue.serviceMs === undefined || queue.lanes === 0) return 0;
  return (Math.max(0, queue.count + queue.running + 1 - queue.lanes) * queue.serviceMs) / queue.lanes;
}

/** Exponentially weighted mean with a weight of 1/8 for the newest value, as TCP does for round trips. */
export function learnServiceMs(known: number | undefined, measuredMs: number): number {
  return known === undefined ? measuredMs : known + (measuredMs - known) / 8;
}

const AHEAD_MS = 2;
const AHEAD_MAX = 8;
const ANSWERS_MIN = 32;

/**
 * How many runs may wait in a lane behind the running one. One closes the gap between two runs; for runs of microseconds
 * the way there and back is longer than the run, so more of them travel together, as long as together they take no
 * longer than 2 ms: what was posted cannot be overtaken, and after a crash all of it must run again.
 */
export function runsAhead(laneMs: number, answers: number): number {
  if (answers < ANSWERS_MIN) return 1;
  return Math.max(1, Math.min(AHEAD_MAX, Math.floor(AHEAD_MS / Math.max(laneMs, AHEAD_MS / AHEAD_MAX))));
}
