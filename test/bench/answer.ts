/** An answer in one form for all paths, so that it can be compared with that of raw onnxruntime bit for bit. */
import type { TypedTensor } from '../../src/tensor/typed.js';

export interface Answer {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export function answerOf(outputs: Readonly<Record<string, TypedTensor>>): Answer[] {
  return Object.entries(outputs).map(([name, { datatype, shape, data }]) => ({ name, datatype, shape, bytes: bytesOf(data as ArrayBufferView) }));
}

export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** What differs, in words; undefined when nothing does. */
export function differenceOf(found: readonly Answer[], wanted: readonly Answer[]): string | undefined {
  if (found.length !== wanted.length) return `${found.length} outputs instead of ${wanted.length}`;
  for (const right of wanted) {
    const mine = found.find(({ name }) => name === right.name);
    if (!mine) return `no output "${right.name}"`;
    if (mine.datatype !== right.datatype || String(mine.shape) !== String(right.shape)) {
      return `${right.name} is ${mine.datatype} [${mine.shape}] instead of ${right.datatype} [${right.shape}]`;
    }
    if (Buffer.compare(mine.bytes, right.bytes) !== 0) return `${right.name} has other bytes`;
  }
  return undefined;
}
