/** Rectangles, regions and reading order of the demo's page reader, on shapes small enough to check by eye. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readingOrder } from '../../demo/ocr/layout.js';
import { corners, quarterTurned, scaled, smallestRectangle, turned, widened } from '../../demo/ocr/rectangle.js';
import type { Point, Rectangle } from '../../demo/ocr/rectangle.js';
import { findRegions } from '../../demo/ocr/regions.js';

function near(actual: number, expected: number, name: string): void {
  assert.ok(Math.abs(actual - expected) < 1e-6, `${name}: ${actual}, wanted ${expected}`);
}

function rectangle(x: number, y: number, width: number, height: number, degrees = 0): Rectangle {
  const angle = (degrees * Math.PI) / 180;
  return { center: { x, y }, right: { x: Math.cos(angle), y: Math.sin(angle) }, width, height };
}

for (const degrees of [-40, -3, 0, 12, 44]) {
  test(`smallestRectangle: a box turned by ${degrees} degrees comes back with its direction`, () => {
    const box = rectangle(50, 30, 40, 10, degrees);
    const inside: Point[] = [{ x: 50, y: 30 }, { x: 51, y: 30.5 }];
    const found = smallestRectangle([...corners(box), ...inside]);
    near(found.center.x, 50, 'x');
    near(found.center.y, 30, 'y');
    near(found.width, 40, 'width');
    near(found.height, 10, 'height');
    near(found.right.y, box.right.y, 'direction');
  });
}

test('smallestRectangle: a single point and a straight line have no area', () => {
  assert.equal(smallestRectangle([{ x: 3, y: 4 }]).width, 0);
  const line = smallestRectangle([{ x: 0, y: 0 }, { x: 5, y: 0 }, { x: 10, y: 0 }]);
  near(line.width, 10, 'width');
  near(line.height, 0, 'height');
});

test('turned, quarterTurned, widened: corners go where the name says', () => {
  const box = rectangle(10, 10, 8, 4);
  assert.deepEqual(corners(box)[0], { x: 6, y: 8 });
  near(corners(turned(box))[0].x, 14, 'top left of the turned box is its old bottom right');
  near(corners(turned(box))[0].y, 12, 'top left of the turned box is its old bottom right');
  near(corners(quarterTurned(box))[0].x, 14, 'reading downwards begins at the old top right');
  near(corners(quarterTurned(box))[0].y, 8, 'reading downwards begins at the old top right');
  assert.deepEqual(corners(widened(box, 1))[0], { x: 5, y: 7 });
});

test('scaled: a picture that was shrunk to a half', () => {
  const box = scaled(rectangle(10, 20, 8, 4), 2, 2);
  assert.deepEqual([box.center.x, box.center.y, box.width, box.height], [20, 40, 16, 8]);
});

test('findRegions: corners touch, the threshold is exclusive, the count is bounded', () => {
  const picture = ['#..o.', '.#...', '....#', '...##'];
  const data = Float32Array.from(picture.join(''), (pixel) => (pixel === '#' ? 0.9 : pixel === 'o' ? 0.3 : 0));
  const map = { width: 5, height: 4, data };
  const regions = findRegions(map, Math.fround(0.3), 10);
  assert.deepEqual(regions[0], [{ x: 0, y: 0 }, { x: 1, y: 1 }]);
  assert.deepEqual(regions[1], [{ x: 4, y: 2 }, { x: 3, y: 3 }, { x: 4, y: 3 }]);
  assert.equal(regions.length, 2);
  assert.equal(findRegions(map, 0.3, 1).length, 1);
});

/** A column of full lines. */
const prose = (x: number, count: number, top = 100): Rectangle[] =>
  Array.from({ length: count }, (_, line) => rectangle(x + (line % 3), top + line * 30, 400, 20));

test('readingOrder: two columns of prose, left before right, the title before both and the page number after', () => {
  const left = prose(250, 6);
  const right = prose(750, 5);
  const shuffled = [right[3]!, left[0]!, rectangle(500, 40, 300, 30), right[0]!, left[5]!, left[2]!, right[4]!, rectangle(500, 320, 20, 15), left[1]!, right[1]!, left[4]!, right[2]!, left[3]!];
  const order = readingOrder(shuffled).map((row) => row.map((index) => shuffled[index]!.center));
  const expected = [shuffled[2]!, ...left, ...right, shuffled[7]!].map(({ center }) => [center]);
  assert.deepEqual(order, expected);
});

test('readingOrder: a table is read row by row', () => {
  const cells = [0, 1, 2, 3, 4, 5].flatMap((row) => [rectangle(200, row * 40, 200, 20), rectangle(600, row * 40 + 3, 60, 20), rectangle(900, row * 40 - 3, 80, 20)]);
  assert.deepEqual(readingOrder(cells), [0, 1, 2, 3, 4, 5].map((row) => [row * 3, row * 3 + 1, row * 3 + 2]));
});

test('readingOrder: a skewed page keeps its rows, an upside-down page is read from its own top', () => {
  const straight = [rectangle(100, 100, 80, 20), rectangle(900, 100, 80, 20), rectangle(100, 130, 80, 20), rectangle(900, 130, 80, 20)];
  const around = (degrees: number): Rectangle[] => {
    const angle = (degrees * Math.PI) / 180;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    return straight.map(({ center, width, height }) => rectangle(center.x * cos - center.y * sin, center.x * sin + center.y * cos, width, height, degrees));
  };
  for (const degrees of [0, -3, 5, 90, 180]) assert.deepEqual(readingOrder(around(degrees)), [[0, 1], [2, 3]], `${degrees} degrees`);
});

test('readingOrder: nothing found is nothing to read', () => {
  assert.deepEqual(readingOrder([]).flat(), []);
});
