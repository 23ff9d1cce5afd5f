/**
 * Puts pieces of text into reading order and joins those of one row to a line.
 *
 * Rows are read from left to right, top to bottom; where two columns of prose stand side by side, the left one is read
 * first. A table is not prose: its rows stay together. The page may lie askew or upside down: everything is measured
 * along the direction most of its text reads. It deliberately looks at rectangles only, never at what they say.
 */
import { corners } from './rectangle.js';
import type { Point, Rectangle } from './rectangle.js';

/** A rectangle seen from the page's own upright axes. */
interface Box {
  readonly index: number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly middle: number;
}

/** Fewer lines than this on a side of a gutter are not a column. */
const COLUMN_LINES_MIN = 4;
/** Of the page's text: a narrower strip is a column of a table. */
const COLUMN_WIDTH_MIN = 0.25;
/** Lines of prose mostly fill their column, cells of a table do not. Median line width over column width. */
const PROSE_FILL_MIN = 0.6;

/** Lines in reading order, each a list of indices into `pieces`, from left to right. */
export function readingOrder(pieces: readonly Rectangle[]): number[][] {
  const direction = pageDirection(pieces);
  const boxes = pieces.map((piece, index) => toBox(piece, index, direction));
  return inBands(boxes, extent(boxes)).flatMap(rows).map((row) => row.map(({ index }) => index));
}

/** The unit vector most of the text reads along; long pieces know it best. */
export function pageDirection(pieces: readonly Rectangle[]): Point {
  let [x, y] = [0, 0];
  for (const { right, width } of pieces) {
    x += right.x * width;
    y += right.y * width;
  }
  const length = Math.hypot(x, y);
  return length === 0 ? { x: 1, y: 0 } : { x: x / length, y: y / length };
}

function toBox(piece: Rectangle, index: number, direction: Point): Box {
  const across = corners(piece).map(({ x, y }) => x * direction.x + y * direction.y);
  const along = corners(piece).map(({ x, y }) => y * direction.x - x * direction.y);
  const [top, bottom] = [Math.min(...along), Math.max(...along)];
  return { index, left: Math.min(...across), right: Math.max(...across), top, bottom, middle: (top + bottom) / 2 };
}

const extent = (boxes: readonly Box[]): number => Math.max(...boxes.map((box) => box.right)) - Math.min(...boxes.map((box) => box.left));

/** Cuts the boxes into groups to be read one after the other, each row by row. */
function inBands(boxes: readonly Box[], pageWidth: number): Box[][] {
  const gutter = bestGutter(boxes, pageWidth);
  if (gutter === undefined) return [[...boxes]];
  return bandsAt(boxes, gutter).flatMap((band) => {
    const left = band.filter((box) => box.right <= gutter);
    const right = band.filter((box) => box.left >= gutter);
    return isProse(left, pageWidth) && isProse(right, pageWidth) ? [...inBands(left, pageWidth), ...inBands(right, pageWidth)] : [band];
  });
}

/** The x that leaves the most lines in columns of prose; undefined when there are no two columns anywhere. */
function bestGutter(boxes: readonly Box[], pageWidth: number): number | undefined {
  let best: number | undefined;
  let bestCount = 0;
  for (const { right: x } of boxes) {
    let count = 0;
    for (const band of bandsAt(boxes, x)) {
      const left = band.filter((box) => box.right <= x);
      const right = band.filter((box) => box.left >= x);
      if (isProse(left, pageWidth) && isProse(right, pageWidth)) count += band.length;
    }
    if (count > bestCount) [best, bestCount] = [x, count];
  }
  return best;
}

/** From top to bottom, runs of boxes that keep clear of the vertical line at `x`, and between them the ones that cross it. */
function bandsAt(boxes: readonly Box[], x: number): Box[][] {
  const bands: Box[][] = [];
  let clear: boolean | undefined;
  for (const box of [...boxes].sort((a, b) => a.middle - b.middle)) {
    const isClear = box.right <= x || box.left >= x;
    if (isClear === clear) bands[bands.length - 1]!.push(box);
    else bands.push([box]);
    clear = isClear;
  }
  return bands;
}

function isProse(column: readonly Box[], pageWidth: number): boolean {
  if (column.length < COLUMN_LINES_MIN) return false;
  const width = extent(column);
  const widths = column.map((box) => box.right - box.left).sort((a, b) => a - b);
  return width >= pageWidth * COLUMN_WIDTH_MIN && widths[widths.length >> 1]! >= width * PROSE_FILL_MIN;
}

/** Boxes whose middles lie within half a line height of each other share a row. */
function rows(boxes: readonly Box[]): Box[][] {
  const found: Box[][] = [];
  for (const box of [...boxes].sort((a, b) => a.middle - b.middle)) {
    const row = found[found.length - 1];
    const first = row?.[0];
    const near = first !== undefined && box.middle - first.middle < Math.min(box.bottom - box.top, first.bottom - first.top) / 2;
    if (near) row!.push(box);
    else found.push([box]);
  }
  return found.map((row) => row.sort((a, b) => a.left - b.left));
}
