/**
 * Finds where text is: one rectangle per piece of text, through the actor `ocr-det`.
 *
 * The model is PP-OCR's differentiable-binarisation detector. It answers with the probability that a pixel belongs to
 * the core of a piece of text, drawn thinner than the text so that neighbouring lines do not touch; each core is
 * widened again by the amount it was shrunk by in training. It deliberately does not order what it finds.
 */
import { floats, onlyOutput } from './inference.js';
import type { Infer } from './inference.js';
import { resizePicture } from './picture.js';
import type { Picture } from './picture.js';
import { down, quarterTurned, scaled, smallestRectangle, widened } from './rectangle.js';
import type { Rectangle } from './rectangle.js';
import { findRegions } from './regions.js';
import type { ProbabilityMap } from './regions.js';

/** Longer side of what the model sees. PP-OCR's own default, 960, read the noisy sample page a little worse (0.978 against 0.985), 1280 takes longer. */
const SIDE_MAX = 1120;
/** The model halves the picture five times. */
const SIDE_STEP = 32;
/** ImageNet's, in the order PP-OCR applies them to its blue, green and red planes. */
const MEAN = [0.485, 0.456, 0.406] as const;
const DEVIATION = [0.229, 0.224, 0.225] as const;

const PIXEL_THRESHOLD = 0.3;
const REGION_THRESHOLD = 0.6;
/** Distance a core is widened by = area / perimeter x this. */
const UNCLIP_RATIO = 1.6;
/** In pixels of the resized picture; smaller is dirt. */
const SIDE_MIN = 3;
const REGIONS_MAX = 1000;

/** In pixels of the original picture, in no order. Each lies along its text, but may still be upside down. */
export async function detectText(picture: Picture, infer: Infer): Promise<Rectangle[]> {
  const factor = Math.min(1, SIDE_MAX / Math.max(picture.width, picture.height));
  const width = roundSide(picture.width * factor);
  const height = roundSide(picture.height * factor);
  const resized = await resizePicture(picture, width, height);
  const { outputs } = await infer('ocr-det', { x: floats([1, 3, height, width], normalise(resized)) });
  const { shape, data } = onlyOutput('ocr-det', outputs);
  const map = { width: shape[3] ?? 0, height: shape[2] ?? 0, data };
  const found = textOf(map).map((rectangle) => scaled(rectangle, picture.width / map.width, picture.height / map.height));
  return uprightOrSideways(found);
}

function roundSide(side: number): number {
  return Math.max(SIDE_STEP, Math.round(side / SIDE_STEP) * SIDE_STEP);
}

/** To three planes: blue, green, red. */
function normalise({ data, width, height }: Picture): Float32Array {
  const plane = width * height;
  const planes = new Float32Array(plane * 3);
  for (let channel = 0; channel < 3; channel++) {
    const mean = MEAN[channel]! * 255;
    const deviation = DEVIATION[channel]! * 255;
    for (let pixel = 0; pixel < plane; pixel++) planes[channel * plane + pixel] = (data[pixel * 3 + 2 - channel]! - mean) / deviation;
  }
  return planes;
}

function textOf(map: ProbabilityMap): Rectangle[] {
  const found: Rectangle[] = [];
  for (const outline of findRegions(map, PIXEL_THRESHOLD, REGIONS_MAX)) {
    const core = smallestRectangle(outline);
    if (Math.min(core.width, core.height) < SIDE_MIN) continue;
    if (meanInside(map, core) < REGION_THRESHOLD) continue;
    const distance = ((core.width * core.height) / (2 * (core.width + core.height))) * UNCLIP_RATIO;
    found.push(widened(core, distance));
  }
  return found;
}

/** Mean probability of the pixels whose centres lie in the rectangle. */
function meanInside(map: ProbabilityMap, rectangle: Rectangle): number {
  const { center, right, width, height } = rectangle;
  const below = down(rectangle);
  const reachX = (Math.abs(right.x) * width + Math.abs(below.x) * height) / 2;
  const reachY = (Math.abs(right.y) * width + Math.abs(below.y) * height) / 2;
  let sum = 0;
  let count = 0;
  for (let y = Math.max(0, Math.floor(center.y - reachY)); y <= Math.min(map.height - 1, Math.ceil(center.y + reachY)); y++) {
    for (let x = Math.max(0, Math.floor(center.x - reachX)); x <= Math.min(map.width - 1, Math.ceil(center.x + reachX)); x++) {
      const across = (x - center.x) * right.x + (y - center.y) * right.y;
      const along = (x - center.x) * below.x + (y - center.y) * below.y;
      if (Math.abs(across) > width / 2 + 0.5 || Math.abs(along) > height / 2 + 0.5) continue;
      sum += map.data[y * map.width + x]!;
      count++;
    }
  }
  return count === 0 ? 0 : sum / count;
}

/**
 * Which way a box reads cannot be seen from its shape alone: the 1 in a column of quantities is taller than wide. So the
 * long boxes decide for the sheet, and a box goes the other way only if it is much longer than the lines are high.
 */
function uprightOrSideways(found: readonly Rectangle[]): Rectangle[] {
  const sideways = found.reduce((sum, { width, height }) => sum + height - width, 0) > 0;
  const pieces = sideways ? found.map(quarterTurned) : found;
  const heights = pieces.map(({ width, height }) => Math.min(width, height)).sort((a, b) => a - b);
  const usual = heights[heights.length >> 1] ?? 0;
  return pieces.map((piece) => (piece.height >= piece.width * 1.5 && piece.height > usual * 1.8 ? quarterTurned(piece) : piece));
}
