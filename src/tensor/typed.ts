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
import { brainFrom, brainToNumber, halfFrom, halfToNumber } from './fp16.js';
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
    | NodeJS.TypedArray
    | readonly number[]
    | readonly bigint[]
    | readonly boolean[]
    | readonly string[]
    | readonly Uint8Array[];
}

type FixedArray =
  | Uint8Array | Uint16Array | Uint32Array | BigUint64Array | Int8Array | Int16Array | Int32Array | BigInt64Array
  | Float32Array | Float64Array;

interface FixedArrayConstructor {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (length: number): FixedArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): FixedArray;
}

const arrays: Readonly<Record<Exclude<Datatype, 'BYTES'>, FixedArrayConstructor>> = {
  BOOL: Uint8Array,
  UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  FP16: Uint16Array, FP32: Float32Array, FP64: Float64Array, BF16: Uint16Array,
};

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

/** The strings of a BYTES tensor. @throws TensorError when it is another type or not UTF-8. */
export function text(tensor: Tensor): string[] {
  if (tensor.datatype !== 'BYTES') throw new TensorError(`text wants a BYTES tensor, got ${tensor.datatype}`);
  return decodeBytes(tensor.data, checkShape(tensor.shape)).map(decodeText);
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

const integerBounds: Readonly<Partial<Record<Datatype, readonly [number, number]>>> = {
  UINT8: [0, 0xff], UINT16: [0, 0xffff], UINT32: [0, 0xffff_ffff],
  INT8: [-0x80, 0x7f], INT16: [-0x8000, 0x7fff], INT32: [-0x8000_0000, 0x7fff_ffff],
};
const bigBounds: Readonly<Partial<Record<Datatype, readonly [bigint, bigint]>>> = {
  UINT64: [0n, 2n ** 64n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/**
 * Fills a fixed-size tensor value by value and refuses what would not fit. Lives here because JSON decoding fills
 * tensors the same way, from nested arrays.
 */
export class ElementWriter {
  readonly bytes: Uint8Array;
  readonly #array: FixedArray;
  readonly #put: (index: number, value: unknown) => string | undefined;

  /** The caller has compared `count` with values that really exist: this allocates. */
  constructor(readonly datatype: Exclude<Datatype, 'BYTES'>, count: number) {
    this.#array = new arrays[datatype](count);
    this.bytes = new Uint8Array(this.#array.buffer);
    this.#put = this.#writerOf(datatype);
  }

  /** Undefined, or why the value was refused. */
  put(index: number, value: unknown): string | undefined {
    return this.#put(index, value);
  }

  #writerOf(datatype: Exclude<Datatype, 'BYTES'>): (index: number, value: unknown) => string | undefined {
    if (datatype === 'BOOL') return this.#putBoolean;
    if (datatype === 'FP64' || datatype === 'FP32') return this.#putFloat;
    if (datatype === 'FP16' || datatype === 'BF16') return this.#putShortFloat;
    return bigBounds[datatype] ? this.#putBig : this.#putInteger;
  }

  #putBoolean(index: number, value: unknown): string | undefined {
    if (value !== true && value !== false && value !== 0 && value !== 1) return `${describe(value)} is no BOOL (true or false)`;
    this.#array[index] = value ? 1 : 0;
    return undefined;
  }

  #putInteger(index: number, value: unknown): string | undefined {
    const [low, high] = integerBounds[this.datatype]!;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isInteger(number)) return `${describe(value)} is no integer, ${this.datatype} wants one`;
    if (number < low || number > high) return `${describe(value)} does not fit ${this.datatype}`;
    this.#array[index] = number;
    return undefined;
  }

  #putBig(index: number, value: unknown): string | undefined {
    const [low, high] = bigBounds[this.datatype]!;
    if (typeof value === 'number') {
      if (!Number.isInteger(value)) return `${describe(value)} is no integer, ${this.datatype} wants one`;
      if (!Number.isSafeInteger(value)) return `${describe(value)} is beyond 2^53 and not exact as a number, use a bigint or bytes`;
      value = BigInt(value);
    }
    if (typeof value !== 'bigint') return `${describe(value)} is no integer, ${this.datatype} wants one`;
    if (value < low || value > high) return `${describe(value)} does not fit ${this.datatype}`;
    this.#array[index] = value;
    return undefined;
  }

  #putFloat(index: number, value: unknown): string | undefined {
    if (typeof value !== 'number') return `${describe(value)} is no number, ${this.datatype} wants one`;
    this.#array[index] = value;
    if (!Number.isFinite(this.#array[index] as number) && Number.isFinite(value)) return `${value} does not fit ${this.datatype}`;
    return undefined;
  }

  #putShortFloat(index: number, value: unknown): string | undefined {
    if (typeof value !== 'number') return `${describe(value)} is no number, ${this.datatype} wants one`;
    const bits = this.datatype === 'FP16' ? halfFrom(value) : brainFrom(value);
    const infinity = this.datatype === 'FP16' ? 0x7c00 : 0x7f80;
    if ((bits & 0x7fff) === infinity && Number.isFinite(value)) return `${value} does not fit ${this.datatype}`;
    this.#array[index] = bits;
    return undefined;
  }
}
