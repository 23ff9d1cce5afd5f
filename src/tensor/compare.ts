/**
 * Whether an answer is the expected one: how golden proofs are judged.
 *
 * Floats: equal = abs(a - b) <= tolerance * (1 + abs(b)) with b the expected value; NaN equals NaN, an infinity only
 * itself. Integers, booleans and BYTES are exact. Says where the first difference is and stops there.
 */
import type { NamedTensor, Tensor } from './datatype.js';
import { checkShape, shapeText } from './shape.js';
import { numbers } from './typed.js';
import { decodeBytes } from './bytes.js';

/** Undefined when equal, else the first difference as text. Order does not matter, names do; none may miss or be extra. */
export function firstDifference(
  actual: readonly NamedTensor[], expected: readonly NamedTensor[], tolerance: number,
): string | undefined {
  const byName = new Map(actual.map((tensor) => [tensor.name, tensor]));
  for (const wanted of expected) {
    const got = byName.get(wanted.name);
    if (!got) return `${wanted.name} is missing`;
    const difference = tensorDifference(got, wanted, tolerance);
    if (difference !== undefined) return `${wanted.name}${difference}`;
    byName.delete(wanted.name);
  }
  for (const name of byName.keys()) return `${name} was not expected`;
  if (actual.length !== expected.length) return `${actual.length} tensors, expected ${expected.length}`;
  return undefined;
}

/** Undefined, or what follows the tensor's name: ` is FP32, expected FP64` or `[3]: 0.5, expected 0.25`. */
export function tensorDifference(actual: Tensor, expected: Tensor, tolerance: number): string | undefined {
  if (actual.datatype !== expected.datatype) return ` is ${actual.datatype}, expected ${expected.datatype}`;
  if (actual.shape.length !== expected.shape.length || actual.shape.some((size, axis) => size !== expected.shape[axis])) {
    return ` has shape ${shapeText(actual.shape)}, expected ${shapeText(expected.shape)}`;
  }
  if (expected.datatype === 'BYTES') return bytesDifference(actual, expected);
  const floats = expected.datatype.startsWith('FP') || expected.datatype === 'BF16';
  const a = numbers(actual);
  const b = numbers(expected);
  for (let index = 0; index < b.length; index++) {
    const equal = floats ? close(a[index] as number, b[index] as number, tolerance) : a[index] === b[index];
    if (!equal) return `[${index}]: ${a[index]}, expected ${b[index]}${floats ? ` (tolerance ${tolerance})` : ''}`;
  }
  return undefined;
}

function close(a: number, b: number, tolerance: number): boolean {
  if (a === b) return true;
  if (a !== a || b !== b) return a !== a && b !== b;
  // Without this an expected infinity would accept everything: its own tolerance is infinite.
  if (!Number.isFinite(b)) return false;
  return Math.abs(a - b) <= tolerance * (1 + Math.abs(b));
}

function bytesDifference(actual: Tensor, expected: Tensor): string | undefined {
  const count = checkShape(expected.shape);
  const a = decodeBytes(actual.data, count);
  const b = decodeBytes(expected.data, count);
  for (let index = 0; index < count; index++) {
    if (!equalBytes(a[index]!, b[index]!)) return `[${index}]: ${picture(a[index]!)}, expected ${picture(b[index]!)}`;
  }
  return undefined;
}

/** Bit equality. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false;
  for (let index = 0; index < a.byteLength; index++) if (a[index] !== b[index]) return false;
  return true;
}

const lenient = new TextDecoder();

function picture(element: Uint8Array): string {
  const shown = JSON.stringify(lenient.decode(element.subarray(0, 40)));
  return element.byteLength > 40 ? `${shown}… (${element.byteLength} bytes)` : shown;
}
