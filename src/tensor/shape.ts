/**
 * Shapes, and the one error of this folder.
 *
 * A shape comes from outside and is a claim: it is checked here before anything is allocated or multiplied by it.
 * This file does not look at bytes; `checkTensor` in typed.ts compares the claim with what is there.
 */

/** What is wrong with a tensor, in words for the person who sent it. Callers at a border turn it into INVALID_ARGUMENT. */
export class TensorError extends Error {
  override readonly name = 'TensorError';
}

/** More dimensions than numpy's own limit are a mistake or an attack. */
export const rankMax = 64;

/** Of several tensors, for what is learned per shape of a request. Names and datatypes do not count. */
export function shapesKey(tensors: readonly { readonly shape: readonly number[] }[]): string {
  let key = '';
  for (const { shape } of tensors) key += shape.join('x') + ';';
  return key;
}

/**
 * Number of elements of an untrusted shape; 1 for `[]`.
 * @throws TensorError naming the dimension that is not a non-negative integer, or the size that cannot exist.
 */
export function checkShape(shape: readonly number[]): number {
  if (!Array.isArray(shape)) throw new TensorError(`shape must be an array of integers, got ${describe(shape)}`);
  if (shape.length > rankMax) throw new TensorError(`shape has ${shape.length} dimensions, at most ${rankMax} are allowed`);
  let count = 1;
  let empty = false;
  for (let axis = 0; axis < shape.length; axis++) {
    const dimension: unknown = shape[axis];
    if (typeof dimension !== 'number' || !Number.isSafeInteger(dimension) || dimension < 0) {
      throw new TensorError(`shape[${axis}]: ${describe(dimension)} is not an integer >= 0`);
    }
    if (dimension === 0) empty = true;
    // Kept below 2^53 at every step, so that a later `* elementBytes` cannot quietly round.
    else if (count <= Number.MAX_SAFE_INTEGER) count *= dimension;
  }
  if (empty) return 0;
  if (count > Number.MAX_SAFE_INTEGER / 8) throw new TensorError(`shape ${shapeText(shape)} has more elements than can exist`);
  return count;
}

export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** A short, safe picture of an untrusted value for an error text. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string': return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
    case 'number': case 'boolean': case 'undefined': return Object.is(value, -0) ? '-0' : String(value);
    case 'bigint': return `${value}`.slice(0, 40);
    case 'function': case 'symbol': return `a ${typeof value}`;
    default:
      if (value === null) return 'null';
      if (Array.isArray(value)) return `an array of ${value.length}`;
      if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
      return 'an object';
  }
}
