/**
 * Reads one piece of text, through the actor `ocr-rec`.
 *
 * The model takes pictures 48 pixels high and of any width. Each piece is a request of its own: pictures of different
 * width would have to be padded to share one, and padding changes what the model reads.
 */
import { cropForModel } from './crop.js';
import { decodeCtc } from './ctc.js';
import type { ReadText } from './ctc.js';
import type { Dictionary } from './dictionary.js';
import { floats, onlyOutput } from './inference.js';
import type { Infer } from './inference.js';
import type { Picture } from './picture.js';
import type { Rectangle } from './rectangle.js';

const HEIGHT = 48;
/** The width the model was trained on; shorter pieces are padded to it, as they were in training. */
const WIDTH_MIN = 320;
/** Widths are rounded up to few values, because a session plans its memory anew for each shape it has not seen. */
const WIDTH_STEP = 32;
/** Longer pieces are squeezed: a line of 250 characters still has ten columns each. */
const WIDTH_MAX = 2560;

export async function recogniseText(picture: Picture, rectangle: Rectangle, dictionary: Dictionary, infer: Infer): Promise<ReadText> {
  const width = Math.min(WIDTH_MAX, Math.max(1, Math.ceil((HEIGHT * rectangle.width) / rectangle.height)));
  const paddedWidth = Math.max(WIDTH_MIN, Math.ceil(width / WIDTH_STEP) * WIDTH_STEP);
  const data = cropForModel(picture, rectangle, width, HEIGHT, paddedWidth);
  const { outputs } = await infer('ocr-rec', { x: floats([1, 3, HEIGHT, paddedWidth], data) });
  const { shape, data: probabilities } = onlyOutput('ocr-rec', outputs);
  if (shape[2] !== dictionary.length) throw new Error(`ocr-rec knows ${shape[2]} characters, the dictionary ${dictionary.length}`);
  return decodeCtc(probabilities, shape[1] ?? 0, dictionary);
}
