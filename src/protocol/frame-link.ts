/**
 * A frame queue and a frame reader around a duplex stream: messages in, messages out.
 *
 * Writes wait for the stream's `drain`, reads never wait for writes, so two ends that both send large tensors cannot
 * block each other. Frames that are ready together leave in one system call. It does not watch the stream's end: its
 * owner knows what that means.
 */
import { FrameQueue, FrameReader } from './frames.js';
import type { Message, Priority } from './frames.js';

/** The part of `net.Socket` used here. */
export interface FrameStream {
  readonly writable: boolean;
  write(chunk: Uint8Array): boolean;
  cork(): void;
  uncork(): void;
  on(event: 'drain', listener: () => void): unknown;
}

/** Below this a frame is copied into one buffer: cheaper than a vector of small pieces. */
const joinBytesMax = 16 * 1024;

export class FrameLink {
  readonly #stream: FrameStream;
  readonly #queue = new FrameQueue();
  readonly #reader: FrameReader;
  #blocked = false;
  readonly #flushed: (() => void)[] = [];

  constructor(stream: FrameStream, onMessage: (bytes: Uint8Array<ArrayBuffer>) => void, bytesMax?: number) {
    this.#stream = stream;
    this.#reader = new FrameReader(onMessage, bytesMax);
    stream.on('drain', () => {
      this.#blocked = false;
      this.#pump();
    });
  }

  /** Bytes waiting here, besides what the stream holds. */
  get queuedBytes(): number {
    return this.#queue.byteLength;
  }

  /** The parts must not change until they are sent. */
  send(message: Message, priority: Priority): void {
    this.#queue.push(message, priority);
    if (!this.#blocked) this.#pump();
  }

  /** Resolves when everything sent so far has been handed to the stream. */
  flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#flushed.push(resolve);
      if (!this.#blocked) this.#pump();
    });
  }

  /** Hands in what was read from the stream. @throws ProtocolError */
  receive(chunk: Uint8Array): void {
    this.#reader.push(chunk);
  }

  #pump(): void {
    const stream = this.#stream;
    if (!stream.writable) return;
    stream.cork();
    while (!this.#blocked) {
      const frame = this.#queue.next();
      if (frame === undefined) {
        for (const resolve of this.#flushed.splice(0)) resolve();
        break;
      }
      this.#blocked = !writeFrame(stream, frame);
    }
    stream.uncork();
  }
}

function writeFrame(stream: FrameStream, frame: readonly Uint8Array[]): boolean {
  let byteLength = 0;
  for (const piece of frame) byteLength += piece.byteLength;
  if (byteLength <= joinBytesMax) return stream.write(Buffer.concat(frame, byteLength));
  let room = true;
  for (const piece of frame) room = stream.write(piece);
  return room;
}
