/**
 * Messages on a stream: cut into frames on one side, put together again on the other. Pure; frame-link.ts joins it to a
 * socket.
 *
 * A frame is an 8-byte header and at most `frameBytesMax` bytes. The first frame of a message carries the total length,
 * so the receiver allocates once and copies each byte once. There is one unfinished message per priority: a ping passes
 * between two frames of a large tensor. Assumes the stream keeps order; it does not know what a message says.
 */

/** Bytes of one frame without its header; the longest a message of higher priority waits. */
export const frameBytesMax = 256 * 1024;
/** Default bound on a message a peer may claim. */
export const messageBytesMax = 1024 * 1024 * 1024;

const headerBytes = 8;
const magic = 0xa7;
const firstFlag = 1;

/** Smaller goes first: control, nested calls and logs, runs with their tensors. */
export type Priority = 0 | 1 | 2;
const priorities = 3;

/** A message not yet joined, so that large tensors go to the socket from where they lie. */
export interface Message {
  readonly parts: readonly Uint8Array[];
  readonly byteLength: number;
}

/** The peer broke the protocol: nothing after this can be trusted, the lane must end. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** One piece of memory of its own, fit to be transferred to a thread. */
export function joinMessage(message: Message): Uint8Array<ArrayBuffer> {
  const joined = ownBytes(message.byteLength);
  let offset = 0;
  for (const part of message.parts) {
    joined.set(part, offset);
    offset += part.byteLength;
  }
  return joined;
}

/** Uninitialised memory outside Buffer's shared pool: a transfer of it takes nobody else's bytes along. */
export function ownBytes(byteLength: number): Uint8Array<ArrayBuffer> {
  const slow = Buffer.allocUnsafeSlow(byteLength);
  return new Uint8Array(slow.buffer as ArrayBuffer, 0, byteLength);
}

/** What waits to be sent. `next` gives one frame after the other, the most urgent first. */
export class FrameQueue {
  readonly #waiting: Outgoing[][] = Array.from({ length: priorities }, () => []);
  /** Bytes queued and not yet cut into frames. */
  byteLength = 0;

  push(message: Message, priority: Priority): void {
    this.#waiting[priority]!.push(new Outgoing(message, priority));
    this.byteLength += message.byteLength;
  }

  /** Header and slices of the next frame; undefined when nothing waits. */
  next(): Uint8Array[] | undefined {
    for (const queue of this.#waiting) {
      const outgoing = queue[0];
      if (outgoing === undefined) continue;
      const before = outgoing.left;
      const frame = outgoing.cut();
      this.byteLength -= before - outgoing.left;
      if (outgoing.left === 0) queue.shift();
      return frame;
    }
    return undefined;
  }
}

class Outgoing {
  left: number;
  #first = true;
  #part = 0;
  #offset = 0;

  constructor(readonly message: Message, readonly priority: Priority) {
    this.left = message.byteLength;
  }

  cut(): Uint8Array[] {
    let room = Math.min(this.left, frameBytesMax);
    const frame = [header(this.priority, this.#first, this.#first ? this.message.byteLength : room)];
    this.#first = false;
    this.left -= room;
    while (room > 0) {
      const part = this.message.parts[this.#part]!;
      const rest = part.byteLength - this.#offset;
      const taken = Math.min(rest, room);
      if (taken > 0) frame.push(taken === part.byteLength ? part : part.subarray(this.#offset, this.#offset + taken));
      room -= taken;
      this.#offset += taken;
      if (taken === rest) {
        this.#part++;
        this.#offset = 0;
      }
    }
    return frame;
  }
}

function header(priority: Priority, first: boolean, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(headerBytes);
  bytes[0] = magic;
  bytes[1] = priority;
  bytes[2] = first ? firstFlag : 0;
  bytes[3] = 0;
  bytes.writeUInt32LE(length, 4);
  return bytes;
}

interface Incoming {
  readonly bytes: Uint8Array<ArrayBuffer>;
  filled: number;
}

/** Puts messages together again. Each one handed out lies in memory of its own, starting at offset 0. */
export class FrameReader {
  readonly #onMessage: (bytes: Uint8Array<ArrayBuffer>) => void;
  readonly #bytesMax: number;
  readonly #unfinished: (Incoming | undefined)[] = Array.from({ length: priorities }, () => undefined);
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #current = 0;
  /** Bytes of the frame being read that are still to come. */
  #frameLeft = 0;

  constructor(onMessage: (bytes: Uint8Array<ArrayBuffer>) => void, bytesMax = messageBytesMax) {
    this.#onMessage = onMessage;
    this.#bytesMax = bytesMax;
  }

  /** Takes what the stream gave, cut anywhere; keeps no reference to it. @throws ProtocolError */
  push(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.byteLength) {
      offset += this.#frameLeft > 0 ? this.#fill(chunk, offset) : this.#readHeader(chunk, offset);
    }
  }

  #readHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(headerBytes - this.#headerFilled, chunk.byteLength - offset);
    this.#header.set(chunk.subarray(offset, offset + taken), this.#headerFilled);
    this.#headerFilled += taken;
    if (this.#headerFilled === headerBytes) {
      this.#headerFilled = 0;
      this.#openFrame();
    }
    return taken;
  }

  #openFrame(): void {
    const [mark, priority, flags, zero] = this.#header as unknown as [number, number, number, number];
    const length = this.#header.readUInt32LE(4);
    if (mark !== magic || zero !== 0 || flags > firstFlag || priority >= priorities) {
      throw new ProtocolError(`malformed frame header ${this.#header.toString('hex')}`);
    }
    const unfinished = this.#unfinished[priority];
    this.#current = priority;
    if (flags === firstFlag) {
      if (unfinished) throw new ProtocolError('a message began before the last one of its priority had ended');
      if (length > this.#bytesMax) throw new ProtocolError(`message of ${length} bytes, the bound is ${this.#bytesMax}`);
      if (length === 0) throw new ProtocolError('empty message');
      this.#unfinished[priority] = { bytes: ownBytes(length), filled: 0 };
      this.#frameLeft = Math.min(length, frameBytesMax);
      return;
    }
    const wanted = unfinished && Math.min(unfinished.bytes.byteLength - unfinished.filled, frameBytesMax);
    if (length !== wanted) throw new ProtocolError(`frame of ${length} bytes, expected ${wanted ?? 'none'}`);
    this.#frameLeft = length;
  }

  #fill(chunk: Uint8Array, offset: number): number {
    const message = this.#unfinished[this.#current]!;
    const taken = Math.min(this.#frameLeft, chunk.byteLength - offset);
    const whole = offset === 0 && taken === chunk.byteLength;
    message.bytes.set(whole ? chunk : chunk.subarray(offset, offset + taken), message.filled);
    message.filled += taken;
    this.#frameLeft -= taken;
    if (message.filled === message.bytes.byteLength) {
      this.#unfinished[this.#current] = undefined;
      this.#onMessage(message.bytes);
    }
    return taken;
  }
}
