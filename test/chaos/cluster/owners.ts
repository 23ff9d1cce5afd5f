/**
 * What the answers of a singleton prove: how many owned it at once, and whether an acknowledged change was lost. Pure.
 *
 * Every answer says who gave it, under which epoch, when (one wall clock: all processes are on one machine), and how far
 * the checkpointed counter was.
 */

export interface Told {
  /** Wall ms: when the caller asked, when the run answered, when the caller had the answer. */
  readonly sentMs: number;
  readonly ranMs: number;
  readonly doneMs: number;
  /** `host#incarnation of the host process`, or whatever tells owners apart. */
  readonly owner: string;
  readonly epoch: number;
  readonly count: number;
}

/** How much later than its run an answer may arrive without having been held back. */
const ON_THE_WAY_MS = 1000;

/**
 * Owners that answered at the same time, the lawful one included: 1, or more when an answer was given under an older epoch
 * after one under a newer, or when two owners answered under the same epoch.
 */
export function ownersAtOnce(answers: readonly Told[]): number {
  const unlawful = new Set<string>();
  const ownerOf = new Map<number, string>();
  let newest: Told | undefined;
  for (const answer of [...answers].sort((a, b) => a.ranMs - b.ranMs)) {
    const owner = ownerOf.get(answer.epoch) ?? answer.owner;
    ownerOf.set(answer.epoch, owner);
    if (owner !== answer.owner) unlawful.add(`${answer.owner} ${answer.epoch}`);
    if (newest && answer.epoch < newest.epoch) unlawful.add(`${answer.owner} ${answer.epoch}`);
    if (!newest || answer.epoch > newest.epoch) newest = answer;
  }
  // A run that ended in time, but whose answer left long after a newer owner's first one.
  for (const answer of answers) {
    const successor = answers.find(({ epoch, doneMs }) => epoch > answer.epoch && answer.doneMs > doneMs + ON_THE_WAY_MS);
    if (successor) unlawful.add(`${answer.owner} ${answer.epoch}`);
  }
  return 1 + unlawful.size;
}

/** Answers that count less than, or the same as, one that was received before they were asked for: a change was lost. */
export function lostChanges(answers: readonly Told[]): readonly Told[] {
  const received = [...answers].sort((a, b) => a.doneMs - b.doneMs);
  let [next, known] = [0, -Infinity];
  return [...answers].sort((a, b) => a.sentMs - b.sentMs).filter(({ sentMs, count }) => {
    while (next < received.length && received[next]!.doneMs < sentMs) known = Math.max(known, received[next++]!.count);
    return count <= known;
  });
}
