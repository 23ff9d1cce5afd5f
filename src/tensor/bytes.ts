/**
 * BYTES tensors: every element is a 4-byte little-endian length and then its bytes, as in the OIP binary extension.
 *
 * Lengths are claims from outside; each is compared with the bytes that are there before it is believed. Elements are
 * arbitrary bytes here: only `decodeText` decides that they are UTF-8.
 */
import { TensorError } from './shape.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Strings become UTF-8; a lone surrogate becomes U+FFFD, as everywhere in the platform. */
export function encodeBytes(elements: readonly (string | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = new Array(elements.length);
  let total = 0;
  for (let index = 0; index < elements.length; index++) {
    const element: unknown = elements[index];
    const part = typeof element === 'string' ? encoder.encode(element) : element;
    if (!(part instanceof Uint8Array)) throw new TensorError(`data[${index}]: a BYTES element is a string or a Uint8Array`);
    if (part.byteLength > 0xffff_ffff) throw new TensorError(`data[${index}]: ${part.byteLength} bytes do not fit one BYTES element`);
    parts[index] = part;
    total += 4 + part.byteLength;
  }
  const data = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    writeLength(data, at, part.byteLength);
    data.set(part, at + 4);
    at += 4 + part.byteLength;
  }
  return data;
}

/** Views into `data`, one per element. @throws TensorError unless `data` is exactly `count` well-formed elements. */
export function decodeBytes(data: Uint8Array, count: number): Uint8Array[] {
  checkBytes(data, count);
  const elements: Uint8Array[] = new Array(count);
  let at = 0;
  for (let index = 0; index < count; index++) {
    const end = at + 4 + readLength(data, at);
    elements[index] = data.subarray(at + 4, end);
    at = end;
  }
  return elements;
}

/** Walks the lengths without allocating. @throws TensorError unless `data` is exactly `count` well-formed elements. */
export function checkBytes(data: Uint8Array, count: number): void {
  // Also keeps a huge claimed count from being walked: every element needs its four bytes of length.
  if (count * 4 > data.byteLength) {
    throw new TensorError(`${count} BYTES elements need at least ${count * 4} bytes of lengths, got ${data.byteLength}`);
  }
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + 4 > data.byteLength) throw new TensorError(`BYTES element ${index}: its length is cut off at byte ${at}`);
    const length = readLength(data, at);
    if (length > data.byteLength - at - 4) {
      throw new TensorError(`BYTES element ${index}: claims ${length} bytes, ${data.byteLength - at - 4} are left`);
    }
    at += 4 + length;
  }
  if (at !== data.byteLength) throw new TensorError(`${data.byteLength - at} bytes follow the last of ${count} BYTES elements`);
}

/** One BYTES element as UTF-8. @throws TensorError when it is not. */
export function decodeText(element: Uint8Array, index: number): string {
  try {
    return decoder.decode(element);
  } catch {
    throw new TensorError(`BYTES element ${index} is not UTF-8`);
  }
}

function readLength(data: Uint8Array, at: number): number {
  return (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
}

function writeLength(data: Uint8Array, at: number, length: number): void {
  data[at] = length;
  data[at + 1] = length >>> 8;
  data[at + 2] = length >>> 16;
  data[at + 3] = length >>> 24;
}
