/**
 * Half precision (FP16) and bfloat16 (BF16) as numbers.
 *
 * Node 20 has no Float16Array, so both travel as raw 16-bit patterns and become numbers only where people or JSON meet
 * them. Rounding is to nearest, ties to even, straight from the double: going through float32 would round twice.
 * NaN payloads are not kept.
 */

interface Format {
  readonly mantissaBits: number;
  readonly bias: number;
}

const half: Format = { mantissaBits: 10, bias: 15 };
const brain: Format = { mantissaBits: 7, bias: 127 };

const scratch = new Float64Array(1);
const scratchWords = new Uint32Array(scratch.buffer);

export const halfFrom = (value: number): number => narrow(value, half);
export const halfToNumber = (bits: number): number => widen(bits, half);
export const brainFrom = (value: number): number => narrow(value, brain);
export const brainToNumber = (bits: number): number => widen(bits, brain);

/** Beyond the largest finite value: infinity, as IEEE 754 rounds. */
function narrow(value: number, { mantissaBits, bias }: Format): number {
  scratch[0] = value;
  const high = scratchWords[1]!;
  const sign = (high >>> 16) & 0x8000;
  const infinity = (2 * bias + 1) << mantissaBits;
  if (value !== value) return infinity | (1 << (mantissaBits - 1));
  // Exponent of the double; double subnormals land far below either format's smallest value and round to zero.
  const exponent = Math.max(((high >>> 20) & 0x7ff) - 1023, 1 - bias);
  if (exponent > bias) return sign | infinity;
  const units = Math.abs(value) / 2 ** (exponent - mantissaBits);
  let rounded = Math.floor(units);
  const rest = units - rounded;
  if (rest > 0.5 || (rest === 0.5 && (rounded & 1) === 1)) rounded++;
  // `rounded` carries the implicit bit, so a carry out of the mantissa moves into the exponent by itself; for
  // subnormals the implicit bit is missing and the exponent field comes out as 0.
  return sign | (((exponent + bias - 1) << mantissaBits) + rounded);
}

function widen(bits: number, { mantissaBits, bias }: Format): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >>> mantissaBits;
  const mantissa = bits & ((1 << mantissaBits) - 1);
  if (exponent === 2 * bias + 1) return mantissa ? NaN : sign * Infinity;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (mantissa + (1 << mantissaBits)) * 2 ** (exponent - bias - mantissaBits);
}
