/**
 * The elements of fixed-size tensors: which typed array holds them, and which values fit.
 *
 * Values that would be wrapped, truncated or turned into infinity are refused with a reason; the caller knows where the
 * value came from and puts the place before it. Plain values from programs and from JSON come through here alike.
 */
import type { Datatype } from './datatype.js';
import { brainFrom, halfFrom } from './fp16.js';
import { describe } from './shape.js';

export type FixedArray =
  | Uint8Array | Uint16Array | Uint32Array | BigUint64Array | Int8Array | Int16Array | Int32Array | BigInt64Array
  | Float32Array | Float64Array;

interface FixedArrayConstructor {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (length: number): FixedArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): FixedArray;
}

/** The platform's array of each datatype; FP16 and BF16 as raw 16-bit patterns. */
export const arrays: Readonly<Record<Exclude<Datatype, 'BYTES'>, FixedArrayConstructor>> = {
  BOOL: Uint8Array,
  UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  FP16: Uint16Array, FP32: Float32Array, FP64: Float64Array, BF16: Uint16Array,
};

const integerBounds: Readonly<Partial<Record<Datatype, readonly [number, number]>>> = {
  UINT8: [0, 0xff], UINT16: [0, 0xffff], UINT32: [0, 0xffff_ffff],
  INT8: [-0x80, 0x7f], INT16: [-0x8000, 0x7fff], INT32: [-0x8000_0000, 0x7fff_ffff],
};
const bigBounds: Readonly<Partial<Record<Datatype, readonly [bigint, bigint]>>> = {
  UINT64: [0n, 2n ** 64n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/**
 * Fills a fixed-size tensor value by value.
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
