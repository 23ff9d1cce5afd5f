/**
 * Finds the connected regions of a probability map: each is the core of one piece of text.
 *
 * Assumes row-major values. Neighbours touch by side or corner. It deliberately returns outlines and no pixels: the
 * leftmost and rightmost pixel of each row have the same convex hull as the whole region.
 */
import type { Point } from './rectangle.js';

export interface ProbabilityMap {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/** The outline of every region of values above `threshold`; at most `countMax`, from top to bottom. */
export function findRegions(map: ProbabilityMap, threshold: number, countMax: number): Point[][] {
  const { width, height, data } = map;
  const open = new Uint8Array(width * height);
  for (let index = 0; index < open.length; index++) open[index] = data[index]! > threshold ? 1 : 0;
  const regions: Point[][] = [];
  for (let start = open.indexOf(1); start !== -1 && regions.length < countMax; start = open.indexOf(1, start + 1)) {
    regions.push(outline(fill(open, width, height, start), width));
  }
  return regions;
}

/** Takes the region that holds `start` out of `open` and returns its pixels. */
function fill(open: Uint8Array, width: number, height: number, start: number): number[] {
  const pixels = [start];
  open[start] = 0;
  for (let next = 0; next < pixels.length; next++) {
    const x = pixels[next]! % width;
    const y = (pixels[next]! - x) / width;
    for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++) {
      for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
        const index = row * width + column;
        if (open[index] === 0) continue;
        open[index] = 0;
        pixels.push(index);
      }
    }
  }
  return pixels;
}

function outline(pixels: readonly number[], width: number): Point[] {
  const rows = new Map<number, { left: number; right: number }>();
  for (const pixel of pixels) {
    const x = pixel % width;
    const y = (pixel - x) / width;
    const row = rows.get(y);
    if (row === undefined) rows.set(y, { left: x, right: x });
    else if (x < row.left) row.left = x;
    else if (x > row.right) row.right = x;
  }
  return [...rows].flatMap(([y, { left, right }]) => (left === right ? [{ x: left, y }] : [{ x: left, y }, { x: right, y }]));
}
