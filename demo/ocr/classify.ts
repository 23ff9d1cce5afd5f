/**
 * Turns pieces of text that are upside down, through the actor `ocr-cls`.
 *
 * The model answers [upright, upside down] for pictures of one fixed size, so they are sent several at a time. Short
 * words look alike both ways ("closed" and "pasol"), so the pieces vote: a sheet is turned as a whole or not at all.
 * It deliberately serves no page that mixes both.
 */
import { cropForModel } from './crop.js';
import { floats, onlyOutput } from './inference.js';
import type { Infer } from './inference.js';
import type { Picture } from './picture.js';
import { turned } from './rectangle.js';
import type { Rectangle } from './rectangle.js';

const HEIGHT = 48;
const WIDTH = 192;
const ROWS_MAX = 8;
const TURN_THRESHOLD = 0.9;

/** The same rectangles in the same order, each with `right` pointing the way its text reads. */
export async function turnUpright(picture: Picture, found: readonly Rectangle[], infer: Infer): Promise<Rectangle[]> {
  const upsideDown: boolean[] = [];
  for (let start = 0; start < found.length; start += ROWS_MAX) {
    upsideDown.push(...(await classify(picture, found.slice(start, start + ROWS_MAX), infer)));
  }
  return voteTogether(found, upsideDown);
}

async function classify(picture: Picture, rows: readonly Rectangle[], infer: Infer): Promise<boolean[]> {
  const size = 3 * HEIGHT * WIDTH;
  const data = new Float32Array(rows.length * size);
  rows.forEach((rectangle, row) => {
    const width = Math.max(1, Math.min(WIDTH, Math.ceil((HEIGHT * rectangle.width) / rectangle.height)));
    data.set(cropForModel(picture, rectangle, width, HEIGHT, WIDTH), row * size);
  });
  const { outputs } = await infer('ocr-cls', { x: floats([rows.length, 3, HEIGHT, WIDTH], data) });
  const scores = onlyOutput('ocr-cls', outputs).data;
  return rows.map((_, row) => scores[row * 2 + 1]! > TURN_THRESHOLD);
}

/** Long pieces are seldom mistaken, so each votes with its length; text set sideways votes apart from the rest. */
function voteTogether(found: readonly Rectangle[], upsideDown: readonly boolean[]): Rectangle[] {
  const votes = { level: 0, sideways: 0 };
  const axis = ({ right }: Rectangle): 'level' | 'sideways' => (Math.abs(right.x) >= Math.abs(right.y) ? 'level' : 'sideways');
  found.forEach((rectangle, index) => (votes[axis(rectangle)] += upsideDown[index] ? rectangle.width : -rectangle.width));
  return found.map((rectangle) => (votes[axis(rectangle)] > 0 ? turned(rectangle) : rectangle));
}
