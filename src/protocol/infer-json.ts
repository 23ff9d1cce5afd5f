/**
 * Tensor data as JSON, both ways.
 *
 * Exact for every datatype: integers beyond 2^53 are written and read digit by digit (64-bit integers may also come as
 * strings of digits), floats in the shortest form that gives the same double, -0 with its sign. Non-finite floats have no
 * JSON; they are written as the bare tokens NaN, Infinity, -Infinity as Triton and Python do, so that a strict parser
 * refuses the answer instead of taking null for 0 (ask for binary output to avoid that), and are read as tokens or strings.
 * FP16 and BF16 are written as numbers and rounded to nearest even when read. BYTES are UTF-8 strings here, nothing else.
 */
import { encodeBytes } from '../tensor/bytes.js';
import type { Datatype, Tensor } from '../tensor/datatype.js';
import { ElementWriter } from '../tensor/elements.js';
import { describe, shapeText, TensorError } from '../tensor/shape.js';
import { numbers, text } from '../tensor/typed.js';

/** A 64-bit integer came as a number that JSON.parse may have rounded: read it again from the exact document. */
export class InexactInteger extends TensorError {}

/**
 * The bytes of `data`, flat or nested exactly as `shape` says (a bare value for a scalar). `count` is the number of
 * elements of `shape`; nothing is allocated before as many values are known to be there.
 * @throws TensorError whose text begins with the path of the value
 */
export function bytesFromJson(data: unknown, datatype: Datatype, shape: readonly number[], count: number, path: string): Uint8Array {
  const leaves = leavesOf(data, shape, path);
  if (leaves.length !== count) {
    throw new TensorError(`${path}: shape ${shapeText(shape)} takes ${count} elements, got ${leaves.length}`);
  }
  const pathOf = (index: number): string => (leaves === data ? `${path}[${index}]` : nestedPath(path, index, shape));
  if (datatype === 'BYTES') {
    const wrong = leaves.findIndex((leaf) => typeof leaf !== 'string');
    if (wrong >= 0) throw new TensorError(`${pathOf(wrong)}: ${describe(leaves[wrong])} is no string, BYTES in JSON wants one`);
    return encodeBytes(leaves as string[]);
  }
  const elements = new ElementWriter(datatype, count);
  for (let index = 0; index < count; index++) {
    let leaf = leaves[index];
    if (typeof leaf === 'string') leaf = fromString(leaf, datatype);
    else if (typeof leaf === 'number') checkExact(leaf, datatype, pathOf, index);
    const problem = elements.put(index, leaf);
    if (problem !== undefined) throw new TensorError(`${pathOf(index)}: ${problem}`);
  }
  return elements.bytes;
}

function checkExact(value: number, datatype: Datatype, pathOf: (index: number) => string, index: number): void {
  if (Number.isSafeInteger(value)) return;
  // The only way to a non-finite number through JSON.parse is a literal beyond the largest double.
  if (!Number.isFinite(value)) throw new TensorError(`${pathOf(index)}: the number does not fit ${datatype}`);
  if ((datatype === 'INT64' || datatype === 'UINT64') && Number.isInteger(value)) {
    throw new InexactInteger(`${pathOf(index)}: ${value} is beyond 2^53: write all its digits, or send binary data`);
  }
}

/** Strings that stand for numbers; everything else is left for the writer to refuse. */
function fromString(value: string, datatype: Datatype): unknown {
  if (datatype === 'INT64' || datatype === 'UINT64') return /^-?\d{1,40}$/.test(value) ? BigInt(value) : value;
  if (!datatype.startsWith('FP') && datatype !== 'BF16') return value;
  return value === 'NaN' ? NaN : value === 'Infinity' ? Infinity : value === '-Infinity' ? -Infinity : value;
}

function leavesOf(data: unknown, shape: readonly number[], path: string): readonly unknown[] {
  if (!Array.isArray(data)) {
    if (shape.length > 0 || data === undefined) throw new TensorError(`${path}: ${describe(data)} is no array`);
    return [data];
  }
  if (shape.length < 2 || !Array.isArray(data[0])) return data;
  const leaves: unknown[] = [];
  collect(data, shape, 0, path, leaves);
  return leaves;
}

/** Depth is bounded by the shape's rank, work by the values that are there. */
function collect(level: unknown, shape: readonly number[], axis: number, path: string, leaves: unknown[]): void {
  if (!Array.isArray(level)) throw new TensorError(`${path}: ${describe(level)}, shape ${shapeText(shape)} wants an array of ${shape[axis]} here`);
  if (level.length !== shape[axis]) {
    throw new TensorError(`${path}: an array of ${level.length}, shape ${shapeText(shape)} wants ${shape[axis]} here`);
  }
  if (axis === shape.length - 1) {
    for (const leaf of level) leaves.push(leaf);
  } else {
    for (let index = 0; index < level.length; index++) collect(level[index], shape, axis + 1, `${path}[${index}]`, leaves);
  }
}

function nestedPath(path: string, index: number, shape: readonly number[]): string {
  let suffix = '';
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    suffix = `[${index % shape[axis]!}]${suffix}`;
    index = Math.floor(index / shape[axis]!);
  }
  return path + suffix;
}

/** The flat JSON array of a tensor. @throws TensorError when a BYTES element is not UTF-8 */
export function jsonFromTensor(tensor: Tensor): string {
  if (tensor.datatype === 'BYTES') return JSON.stringify(text(tensor));
  const values = numbers(tensor);
  if (tensor.datatype === 'BOOL') return `[${Array.from(values as ArrayLike<number>, (value) => value !== 0).join(',')}]`;
  if (values instanceof Float32Array || values instanceof Float64Array) return floatsText(values);
  return `[${Array.prototype.join.call(values, ',')}]`;
}

function floatsText(values: Float32Array | Float64Array): string {
  // Twice as fast as join, but it would write null for the non-finite and 0 for -0.
  if (allPlain(values)) return JSON.stringify(Array.from(values));
  return `[${Array.from(values, (value) => (Object.is(value, -0) ? '-0' : String(value))).join(',')}]`;
}

function allPlain(values: Float32Array | Float64Array): boolean {
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    // `value - value` is 0 for the finite, NaN for all others.
    if (value - value !== 0 || (value === 0 && 1 / value < 0)) return false;
  }
  return true;
}
