/**
 * Small binary values one after the other: the part of a lane's message that is not tensor bytes.
 *
 * Numbers are float64 (every count, id and dimension regrow has is a safe integer or a duration), text is UTF-8 with a
 * length. Writing reuses one scratch buffer per thread and reading checks every bound; neither knows what it carries.
 */
import { ProtocolError } from './frames.js';

const scratchBytes = 16 * 1024;

export class ByteWriter {
  #buffer = Buffer.allocUnsafeSlow(scratchBytes);
  #offset = 0;

  reset(): void {
    this.#offset = 0;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#offset++] = value;
  }

  number(value: number): void {
    this.#reserve(8);
    this.#offset = this.#buffer.writeDoubleLE(value, this.#offset);
  }

  count(value: number): void {
    this.#reserve(4);
    this.#offset = this.#buffer.writeUInt32LE(value, this.#offset);
  }

  text(value: string): void {
    this.#reserve(4 + value.length * 3);
    const written = this.#buffer.write(value, this.#offset + 4, 'utf8');
    this.#buffer.writeUInt32LE(written, this.#offset);
    this.#offset += 4 + written;
  }

  /** A copy of what was written since `reset`, with zeros up to a multiple of 8. */
  takeAligned(): Uint8Array {
    this.#reserve(8);
    const end = alignedTo8(this.#offset);
    this.#buffer.fill(0, this.#offset, end);
    const copy = Buffer.allocUnsafe(end);
    this.#buffer.copy(copy, 0, 0, end);
    return copy;
  }

  #reserve(byteLength: number): void {
    const needed = this.#offset + byteLength;
    if (needed <= this.#buffer.byteLength) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.byteLength * 2));
    this.#buffer.copy(larger, 0, 0, this.#offset);
    this.#buffer = larger;
  }
}

/** @throws ProtocolError from every method, when the bytes end too early or claim too much. */
export class ByteReader {
  readonly #buffer: Buffer;
  offset = 0;

  constructor(readonly bytes: Uint8Array) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#buffer[this.#advance(1)]!;
  }

  number(): number {
    return this.#buffer.readDoubleLE(this.#advance(8));
  }

  /** A number of things that take at least `eachBytes` each, so that a false claim allocates nothing. */
  count(eachBytes: number): number {
    const count = this.#buffer.readUInt32LE(this.#advance(4));
    if (count * eachBytes > this.#buffer.byteLength - this.offset) throw new ProtocolError(`${count} items claimed, the message is too short`);
    return count;
  }

  text(): string {
    const byteLength = this.count(1);
    const start = this.#advance(byteLength);
    return this.#buffer.toString('utf8', start, start + byteLength);
  }

  #advance(byteLength: number): number {
    const start = this.offset;
    if (start + byteLength > this.#buffer.byteLength) throw new ProtocolError('the message ends too early');
    this.offset = start + byteLength;
    return start;
  }
}

export function alignedTo8(offset: number): number {
  return Math.ceil(offset / 8) * 8;
}
