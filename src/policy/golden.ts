/**
 * What is known of the right answer to a recorded golden input, and who is believed when replicas disagree.
 *
 * The first replica of a key records. A later one that answers otherwise is refused, unless another one before it was
 * refused with the same answer: then two of three disagree with the recording, and the recording was wrong.
 */

export interface GoldenBook<Answer> {
  readonly recorded: Answer | undefined;
  /** The answer of the last replica that was refused. */
  readonly dissent: Answer | undefined;
}

export const emptyBook = { recorded: undefined, dissent: undefined } as const;

export interface GoldenVerdict<Answer> {
  readonly book: GoldenBook<Answer>;
  readonly verdict: 'recorded' | 'agrees' | 'disagrees' | 'overruled';
}

/** @param difference undefined when the two answers are equal, else what differs */
export function judgeGolden<Answer>(book: GoldenBook<Answer>, answer: Answer, difference: (a: Answer, b: Answer) => string | undefined): GoldenVerdict<Answer> {
  if (book.recorded === undefined) return { book: { recorded: answer, dissent: undefined }, verdict: 'recorded' };
  if (difference(answer, book.recorded) === undefined) return { book: { ...book, dissent: undefined }, verdict: 'agrees' };
  if (book.dissent !== undefined && difference(answer, book.dissent) === undefined) {
    return { book: { recorded: answer, dissent: undefined }, verdict: 'overruled' };
  }
  return { book: { ...book, dissent: answer }, verdict: 'disagrees' };
}
