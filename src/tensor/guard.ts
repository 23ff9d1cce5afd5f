/**
 * Checks an answer before it leaves: NaN the inputs do not explain, values outside a declared range. Says what is wrong
 * with it, not what to do about that.
 */
import type { NamedTensor, Tensor } from './datatype.js';
import { toTyped } from './typed.js';

export interface GuardRules {
  /** Refuse NaN in outputs when no input has any. */
  readonly finite: boolean;
  /** Per output: least and greatest value allowed. */
  readonly range?: Readonly<Record<string, { readonly min?: number | undefined; readonly max?: number | undefined }>> | undefined;
}

/** @returns what is wrong, for people; undefined when the answer may leave */
export function refusedAnswer(outputs: readonly NamedTensor[], inputs: readonly NamedTensor[], rules: GuardRules): string | undefined {
  for (const output of outputs) {
    if (rules.finite && hasNaN(output) && !inputs.some(hasNaN)) return `${output.name} has NaN where no input had any`;
    const range = rules.range?.[output.name];
    const outside = range && firstOutside(output, range.min ?? -Infinity, range.max ?? Infinity);
    if (outside !== undefined) return `${output.name} has ${outside}, allowed is ${range!.min ?? '-inf'} to ${range!.max ?? 'inf'}`;
  }
  return undefined;
}

/** Multiplying by zero keeps NaN (and turns infinities into it), so one sum without branches finds candidates fast. */
export function hasNaN(tensor: Tensor): boolean {
  const typed = toTyped(tensor);
  if (typed.datatype === 'FP32' || typed.datatype === 'FP64') {
    const values = typed.data;
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
    return sum !== sum && values.some((value) => value !== value);
  }
  // Half floats are looked at as bits: exponent all ones and a mantissa that is not zero.
  if (typed.datatype === 'FP16') return typed.data.some((bits) => (bits & 0x7c00) === 0x7c00 && (bits & 0x03ff) !== 0);
  if (typed.datatype === 'BF16') return typed.data.some((bits) => (bits & 0x7f80) === 0x7f80 && (bits & 0x007f) !== 0);
  return false;
}

function firstOutside(tensor: Tensor, min: number, max: number): number | bigint | undefined {
  const typed = toTyped(tensor);
  if (typed.datatype === 'BYTES' || typed.datatype === 'FP16' || typed.datatype === 'BF16') return undefined;
  const values = typed.data as ArrayLike<number | bigint>;
  for (let i = 0; i < values.length; i++) if (!(values[i]! >= min && values[i]! <= max) && values[i] === values[i]) return values[i];
  return undefined;
}
