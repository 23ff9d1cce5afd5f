/**
 * Between raw tensors and the arrays people write: `toTyped` and `fromTyped`.
 *
 * Views wherever alignment allows, copies only where it does not. Typed arrays lie in memory in the machine's order;
 * every machine regrow supports is little-endian, as the wire is. A Uint8Array is always taken as the tensor's raw
 * bytes, so a Tensor is itself a TensorLike. Numbers are checked, never wrapped: 300 is no UINT8.
 */
import { elementBytes, isDatatype } from './datatype.js';
import type { Datatype, NamedTensor, Tensor } from './datatype.js';
import { checkBytes, decodeBytes, decodeText, encodeBytes } from './bytes.js';
import { arrays, ElementWriter } from './elements.js';
import type { FixedArray } from './elements.js';
import { brainToNumber, halfToNumber } from './fp16.js';
import { checkShape, describe, shapeText, TensorError } from './shape.js';

export { TensorError } from './shape.js';

/** FP16 and BF16 are raw 16-bit patterns, BOOL is 0 or 1, BYTES is one array per element. */
export interface TypedData {
  readonly BOOL: Uint8Array;
  readonly UINT8: Uint8Array;
  readonly UINT16: Uint16Array;
  readonly UINT32: Uint32Array;
  readonly UINT64: BigUint64Array;
  readonly INT8: Int8Array;
  readonly INT16: Int16Array;
  readonly INT32: Int32Array;
  readonly INT64: BigInt64Array;
  readonly FP16: Uint16Array;
  readonly FP32: Float32Array;
  readonly FP64: Float64Array;
  readonly BF16: Uint16Array;
  readonly BYTES: Uint8Array[];
}

/** A discriminated union: after `if (t.datatype === 'FP32')`, `t.data` is a Float32Array. */
export type TypedTensor = {
  [D in Datatype]: { readonly datatype: D; readonly shape: readonly number[]; readonly data: TypedData[D] };
}[Datatype];

/**
 * What `fromTyped` takes. `data` may be the raw bytes (Uint8Array), the typed array of the datatype (no copy), or plain
 * values: numbers, bigints (integer types), booleans (BOOL), strings or Uint8Arrays (BYTES). FP16 and BF16 also take a
 * Float32Array, which is rounded; a Uint16Array is their raw bits.
 */
export interface TensorLike {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data:
    | ArrayBufferView
    | readonly number[]
    | readonly bigint[]
    | readonly boolean[]
    | readonly string[]
    | readonly Uint8Array[];
}

/**
 * Compares a tensor's claims with its bytes: known datatype, possible shape, exact length, BOOL only 0 and 1, BYTES
 * lengths that add up. Returns the number of elements.
 * @throws TensorError
 */
export function checkTensor(tensor: Tensor): number {
  const { datatype, shape, data } = tensor;
  if (typeof datatype !== 'string' || !isDatatype(datatype)) throw new TensorError(`unknown datatype ${describe(datatype)}`);
  const count = checkShape(shape);
  if (datatype === 'BYTES') {
    checkBytes(data, count);
    return count;
  }
  const wanted = count * elementBytes[datatype];
  if (data.byteLength !== wanted) {
    throw new TensorError(`${datatype} ${shapeText(shape)} takes ${wanted} bytes, got ${data.byteLength}`);
  }
  if (datatype === 'BOOL') {
    for (let index = 0; index < count; index++) {
      if (data[index]! > 1) throw new TensorError(`BOOL element ${index}: ${data[index]} is neither 0 nor 1`);
    }
  }
  return count;
}

/** The elements as the platform's array: a view of the tensor's memory when it is aligned, else a copy. @throws TensorError */
export function toTyped(tensor: Tensor): TypedTensor {
  const count = checkTensor(tensor);
  const { datatype, shape, data } = tensor;
  const elements = datatype === 'BYTES' ? decodeBytes(data, count) : fixedView(datatype, data, count);
  return { datatype, shape, data: elements } as TypedTensor;
}

/** The tensor of a typed array (no copy) or of plain values (one allocation). @throws TensorError naming the element. */
export function fromTyped(value: TensorLike): Tensor {
  const { datatype, shape, data } = value;
  if (typeof datatype !== 'string' || !isDatatype(datatype)) throw new TensorError(`unknown datatype ${describe(datatype)}`);
  const count = checkShape(shape);
  const tensor: Tensor = { datatype, shape, data: rawBytes(datatype, shape, count, data) };
  checkTensor(tensor);
  return tensor;
}

/** A record of inputs as named tensors, in the record's order. @throws TensorError that begins with the tensor's name. */
export function namedTensors(record: Readonly<Record<string, TensorLike>>): NamedTensor[] {
  return Object.entries(record).map(([name, value]) => {
    try {
      return { name, ...fromTyped(value) };
    } catch (error) {
      throw error instanceof TensorError ? new TensorError(`${name}: ${error.message}`) : error;
    }
  });
}

/** The way back: outputs by name, as typed arrays. Of two with the same name the last one stays. */
export function typedRecord(tensors: readonly NamedTensor[]): Record<string, TypedTensor> {
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, toTyped(tensor)]));
}

/** The strings of a BYTES tensor, raw or typed. @throws TensorError when it is another type or not UTF-8. */
export function text(tensor: Tensor | TypedTensor): string[] {
  if (tensor.datatype !== 'BYTES') throw new TensorError(`text wants a BYTES tensor, got ${tensor.datatype}`);
  const { data } = tensor;
  return (Array.isArray(data) ? data : decodeBytes(data as Uint8Array, checkShape(tensor.shape))).map(decodeText);
}

/**
 * The elements as numbers (FP16 and BF16 widened), bigints for 64-bit integers. For comparing and printing; hot paths
 * use `toTyped`.
 * @throws TensorError for BYTES.
 */
export function numbers(tensor: Tensor): ArrayLike<number> | ArrayLike<bigint> {
  const typed = toTyped(tensor);
  if (typed.datatype === 'BYTES') throw new TensorError('a BYTES tensor has no numbers');
  if (typed.datatype === 'FP16') return Float32Array.from(typed.data, halfToNumber);
  if (typed.datatype === 'BF16') return Float32Array.from(typed.data, brainToNumber);
  return typed.data;
}

function fixedView(datatype: Exclude<Datatype, 'BYTES'>, data: Uint8Array, count: number): FixedArray {
  const array = arrays[datatype];
  if (data.byteOffset % array.BYTES_PER_ELEMENT === 0) return new array(data.buffer, data.byteOffset, count);
  const copy = new Uint8Array(data);
  return new array(copy.buffer, 0, count);
}

function rawBytes(datatype: Datatype, shape: readonly number[], count: number, data: unknown): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data) && datatype !== 'BYTES') {
    const name = data.constructor.name;
    // Float16Array (Node 24) has the bits of a Uint16Array; looked up by name because older runtimes lack it.
    if (name === arrays[datatype].name || (datatype === 'FP16' && name === 'Float16Array')) {
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    }
    const rounded = data instanceof Float32Array && (datatype === 'FP16' || datatype === 'BF16');
    if (!rounded) throw new TensorError(`data: ${datatype} wants a ${arrays[datatype].name}, got a ${name}`);
  } else if (!Array.isArray(data)) {
    throw new TensorError(`data: ${datatype} wants an array, got ${describe(data)}`);
  }
  const values = data as ArrayLike<unknown>;
  if (values.length !== count) {
    throw new TensorError(`data: shape ${shapeText(shape)} takes ${count} elements, got ${values.length}`);
  }
  if (datatype === 'BYTES') return encodeBytes(data as readonly (string | Uint8Array)[]);
  const elements = new ElementWriter(datatype, count);
  for (let index = 0; index < count; index++) {
    const problem = elements.put(index, values[index]);
    if (problem !== undefined) throw new TensorError(`data[${index}]: ${problem}`);
  }
  return elements.bytes;
}
