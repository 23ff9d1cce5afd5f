/**
 * Rectangles at any angle: where a piece of text lies and which way it reads.
 *
 * x grows to the right and y downwards, in pixels. `right` is the unit vector of the reading direction; "down" of the
 * text is that vector turned clockwise by 90 degrees. It deliberately knows no other quadrilaterals: text on a flat
 * sheet is rectangular enough, and a rectangle can be widened without a polygon library.
 */

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Rectangle {
  readonly center: Point;
  /** Unit vector. */
  readonly right: Point;
  /** Along `right`. */
  readonly width: number;
  readonly height: number;
}

export const down = ({ right }: Rectangle): Point => ({ x: -right.y, y: right.x });

/** Top left, top right, bottom right, bottom left, as the text reads. */
export function corners(rectangle: Rectangle): readonly [Point, Point, Point, Point] {
  const { center, right, width, height } = rectangle;
  const below = down(rectangle);
  const corner = (across: number, along: number): Point => ({
    x: center.x + right.x * across * width + below.x * along * height,
    y: center.y + right.y * across * width + below.y * along * height,
  });
  return [corner(-0.5, -0.5), corner(0.5, -0.5), corner(0.5, 0.5), corner(-0.5, 0.5)];
}

/** The same place, read the other way up. */
export function turned(rectangle: Rectangle): Rectangle {
  return { ...rectangle, right: { x: -rectangle.right.x, y: -rectangle.right.y } };
}

/** The same place, read downwards: for text that was set or scanned sideways. */
export function quarterTurned(rectangle: Rectangle): Rectangle {
  return { center: rectangle.center, right: down(rectangle), width: rectangle.height, height: rectangle.width };
}

/** Moves each side outwards by `distance`. */
export function widened(rectangle: Rectangle, distance: number): Rectangle {
  return { ...rectangle, width: rectangle.width + 2 * distance, height: rectangle.height + 2 * distance };
}

/** From the coordinates of a resized picture to those of the original. Exact while both factors are nearly equal. */
export function scaled(rectangle: Rectangle, byX: number, byY: number): Rectangle {
  return smallestRectangle(corners(rectangle).map(({ x, y }) => ({ x: x * byX, y: y * byY })), rectangle.right);
}

/**
 * The rectangle of least area around the points. One of its sides lies along an edge of the convex hull. Of its four
 * directions the one nearest to `towards` becomes `right`.
 */
export function smallestRectangle(points: readonly Point[], towards: Point = { x: 1, y: 0 }): Rectangle {
  const hull = convexHull(points);
  let best = around(hull, towards);
  for (let index = 0; index < hull.length; index++) {
    const from = hull[index]!;
    const to = hull[(index + 1) % hull.length]!;
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    if (length === 0) continue;
    const rectangle = around(hull, { x: (to.x - from.x) / length, y: (to.y - from.y) / length });
    if (rectangle.width * rectangle.height < best.width * best.height) best = rectangle;
  }
  let nearest = best;
  for (let quarter = 0, candidate = best; quarter < 4; quarter++, candidate = quarterTurned(candidate)) {
    if (dot(candidate.right, towards) > dot(nearest.right, towards)) nearest = candidate;
  }
  return nearest;
}

const dot = (a: Point, b: Point): number => a.x * b.x + a.y * b.y;

/** The rectangle around the points whose sides are parallel to `right`, a unit vector. */
export function around(points: readonly Point[], right: Point): Rectangle {
  const below = { x: -right.y, y: right.x };
  let [left, end, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const point of points) {
    const across = dot(point, right);
    const along = dot(point, below);
    left = Math.min(left, across);
    end = Math.max(end, across);
    top = Math.min(top, along);
    bottom = Math.max(bottom, along);
  }
  const across = (left + end) / 2;
  const along = (top + bottom) / 2;
  const center = { x: right.x * across + below.x * along, y: right.y * across + below.y * along };
  return { center, right, width: end - left, height: bottom - top };
}

/** Andrew's monotone chain. */
function convexHull(points: readonly Point[]): Point[] {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  if (sorted.length < 3) return sorted;
  const half = (ordered: readonly Point[]): Point[] => {
    const chain: Point[] = [];
    for (const point of ordered) {
      while (chain.length >= 2 && turn(chain[chain.length - 2]!, chain[chain.length - 1]!, point) <= 0) chain.pop();
      chain.push(point);
    }
    chain.pop();
    return chain;
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

const turn = (a: Point, b: Point, c: Point): number => (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
