/**
 * Takes a rectangle at any angle out of a picture, in the size and form a model wants it.
 *
 * One pass from the original pixels: rotation, cutting and resizing together, so nothing is blurred twice. It
 * deliberately does no perspective: see rectangle.ts.
 */
import type { Picture } from './picture.js';
import { corners, down } from './rectangle.js';
import type { Rectangle } from './rectangle.js';

/**
 * Three planes (blue, green, red) of `height` x `paddedWidth` values from -1 to 1. The rectangle fills the first
 * `width` columns; the rest stays 0, which is how PP-OCR pads what it trains on.
 */
export function cropForModel(picture: Picture, rectangle: Rectangle, width: number, height: number, paddedWidth: number): Float32Array {
  const planes = new Float32Array(3 * height * paddedWidth);
  const [topLeft] = corners(rectangle);
  const { right } = rectangle;
  const below = down(rectangle);
  const stepX = rectangle.width / width;
  const stepY = rectangle.height / height;
  // A target pixel wider than a source pixel is the mean of several samples, or thin strokes would fall between them.
  const samplesX = Math.max(1, Math.round(stepX));
  const samplesY = Math.max(1, Math.round(stepY));
  const scale = 1 / (127.5 * samplesX * samplesY);
  const sum = new Float64Array(3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      sum.fill(0);
      for (let sampleY = 0; sampleY < samplesY; sampleY++) {
        const along = (row + (sampleY + 0.5) / samplesY) * stepY;
        for (let sampleX = 0; sampleX < samplesX; sampleX++) {
          const across = (column + (sampleX + 0.5) / samplesX) * stepX;
          addSample(picture, topLeft.x + right.x * across + below.x * along, topLeft.y + right.y * across + below.y * along, sum);
        }
      }
      for (let channel = 0; channel < 3; channel++) {
        planes[(channel * height + row) * paddedWidth + column] = sum[2 - channel]! * scale - 1;
      }
    }
  }
  return planes;
}

/** Bilinear, at a point where (0, 0) is the corner of the first pixel; outside, the nearest edge counts. Adds red, green, blue. */
function addSample({ data, width, height }: Picture, x: number, y: number, sum: Float64Array): void {
  const clampedX = Math.min(Math.max(x - 0.5, 0), width - 1);
  const clampedY = Math.min(Math.max(y - 0.5, 0), height - 1);
  const left = Math.floor(clampedX);
  const top = Math.floor(clampedY);
  const restX = clampedX - left;
  const restY = clampedY - top;
  const nextX = left + 1 < width ? 3 : 0;
  const nextY = top + 1 < height ? width * 3 : 0;
  const at = (top * width + left) * 3;
  for (let channel = 0; channel < 3; channel++) {
    const index = at + channel;
    const upper = data[index]! * (1 - restX) + data[index + nextX]! * restX;
    const lower = data[index + nextY]! * (1 - restX) + data[index + nextY + nextX]! * restX;
    sum[channel]! += upper * (1 - restY) + lower * restY;
  }
}
