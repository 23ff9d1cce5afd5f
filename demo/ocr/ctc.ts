/**
 * From the recognition model's answer to text: greedy CTC decoding.
 *
 * The model answers, for each of `steps` narrow vertical strips of a line, with a probability for each character and
 * for "no new character" (column 0). Equal neighbours are one character. Spaces are read more eagerly than letters, see
 * below. It deliberately uses no language model: what is printed is what comes out.
 */
import type { Dictionary } from './dictionary.js';

export interface ReadText {
  readonly text: string;
  /** Mean probability of the characters in `text`, spaces left out; 0 without any. */
  readonly confidence: number;
}

/**
 * The model learned on Chinese, where words are not spaced, and rarely calls a space the likeliest answer between Latin
 * words; but between letters of one word it gives a space next to nothing. Measured on the sample pages (3,558 gaps, 662
 * of them spaces): likeliest answer only, 87 spaces lost; above 0.05, 2 lost and 4 invented.
 */
const SPACE_THRESHOLD = 0.05;

/** `probabilities` has the shape [steps, dictionary.length]. */
export function decodeCtc(probabilities: Float32Array, steps: number, dictionary: Dictionary): ReadText {
  const columns = dictionary.length;
  const space = columns - 1;
  let text = '';
  let sum = 0;
  let count = 0;
  let previous = 0;
  // The highest probability of a space since the last character began.
  let spaceSeen = 0;
  for (let step = 0; step < steps; step++) {
    const best = indexOfMax(probabilities, step * columns, columns);
    spaceSeen = Math.max(spaceSeen, probabilities[step * columns + space]!);
    if (best !== 0 && best !== previous && best !== space) {
      if (text !== '' && spaceSeen > SPACE_THRESHOLD) text += ' ';
      text += dictionary[best]!;
      sum += probabilities[step * columns + best]!;
      count++;
      spaceSeen = 0;
    }
    previous = best;
  }
  return { text, confidence: count === 0 ? 0 : sum / count };
}

function indexOfMax(values: Float32Array, start: number, count: number): number {
  let best = 0;
  for (let index = 1; index < count; index++) if (values[start + index]! > values[start + best]!) best = index;
  return best;
}
