/**
 * A module actor that reads a page: picture in, lines of text out.
 *
 * It runs no model itself. It asks three actors (`ocr-det`: where is text, `ocr-cls`: is it upside down, `ocr-rec`: what
 * does it say) and does the geometry between them, so each model is supervised, replaced and scaled on its own. When one
 * of them dies in the middle of a page, regrow replays that one question; this file has no retry, deliberately.
 */
import { turnUpright } from './classify.js';
import type { ReadText } from './ctc.js';
import { detectText } from './detect.js';
import { loadDictionary } from './dictionary.js';
import type { Dictionary } from './dictionary.js';
import { inOrder } from './in-order.js';
import { floats, invalidArgument, strings } from './inference.js';
import type { Infer, ModuleContext, ReceivedTensors, Tensors } from './inference.js';
import { pageDirection, readingOrder } from './layout.js';
import { decodePicture } from './picture.js';
import { recogniseText } from './recognise.js';
import { around, corners } from './rectangle.js';
import type { Rectangle } from './rectangle.js';
import { Stopwatch } from './stopwatch.js';

/** Enough to keep two replicas of `ocr-rec` busy with one request waiting at each. */
const RECOGNITIONS_AT_ONCE = 4;
/** PP-OCR's own limit: below it, what was read is mostly a smudge or a ruled line. */
const CONFIDENCE_MIN = 0.5;

export const metadata = {
  inputs: [{ name: 'image', datatype: 'BYTES', shape: [1] }],
  outputs: [
    /** One line of text each, UTF-8, in reading order. */
    { name: 'text', datatype: 'BYTES', shape: [-1] },
    /** 0 to 1 for each line. */
    { name: 'confidence', datatype: 'FP32', shape: [-1] },
    /** Corners of each line in pixels of the upright picture: top left, top right, bottom right, bottom left. */
    { name: 'boxes', datatype: 'FP32', shape: [-1, 4, 2] },
    /** Names of the stages, the last is `total`. */
    { name: 'stages', datatype: 'BYTES', shape: [-1] },
    { name: 'stage_ms', datatype: 'FP32', shape: [-1] },
  ],
} as const;

export interface PageReader {
  readonly dictionary: Dictionary;
}

interface Line extends ReadText {
  readonly box: Rectangle;
}

export async function load(_spec: unknown, _context: unknown): Promise<PageReader> {
  return { dictionary: await loadDictionary() };
}

/** Rejects with the code INVALID_ARGUMENT when the input is not a PNG or JPEG picture of a bearable size. */
export async function run(state: PageReader, inputs: ReceivedTensors, context: ModuleContext): Promise<Tensors> {
  const { signal } = context;
  const watch = new Stopwatch();
  const infer: Infer = (actor, tensors) => context.infer(actor, tensors, { signal });

  const picture = await decodePicture(imageBytes(inputs));
  watch.lap('decode');
  const found = await detectText(picture, infer);
  watch.lap('detect');
  const pieces = await turnUpright(picture, found, infer);
  const order = readingOrder(pieces);
  watch.lap('classify');
  const texts = await inOrder(pieces, RECOGNITIONS_AT_ONCE, (piece) => recogniseText(picture, piece, state.dictionary, infer));
  watch.lap('recognise');

  const lines = order.flatMap((indices) => joined(indices, pieces, texts));
  const stages = watch.stages();
  return {
    text: strings(lines.map(({ text }) => text)),
    confidence: floats([lines.length], Float32Array.from(lines, ({ confidence }) => confidence)),
    boxes: floats([lines.length, 4, 2], Float32Array.from(lines.flatMap(({ box }) => corners(box).flatMap(({ x, y }) => [x, y])))),
    stages: strings(stages.map(({ name }) => name)),
    stage_ms: floats([stages.length], Float32Array.from(stages, ({ ms }) => ms)),
  };
}

function imageBytes(inputs: ReceivedTensors): Uint8Array {
  const data = inputs['image']?.data;
  const bytes: unknown = Array.isArray(data) ? data[0] : undefined;
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) throw invalidArgument('image: empty; wanted the bytes of a PNG or JPEG file');
  return bytes;
}

/** The readable pieces of one row as one line, or nothing when none of them could be read. */
function joined(indices: readonly number[], pieces: readonly Rectangle[], texts: readonly ReadText[]): Line[] {
  const readable = indices.filter((index) => texts[index]!.confidence >= CONFIDENCE_MIN && texts[index]!.text.trim() !== '');
  if (readable.length === 0) return [];
  const parts = readable.map((index) => texts[index]!);
  const boxes = readable.map((index) => pieces[index]!);
  const characters = parts.reduce((sum, { text }) => sum + text.length, 0);
  return [
    {
      text: parts.map(({ text }) => text.trim()).join(' '),
      confidence: parts.reduce((sum, { text, confidence }) => sum + confidence * text.length, 0) / characters,
      box: around(boxes.flatMap((box) => corners(box)), pageDirection(boxes)),
    },
  ];
}
