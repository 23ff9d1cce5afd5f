import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameLink } from '../../src/protocol/frame-link.js';
import { FrameQueue, FrameReader, frameBytesMax, joinMessage, ProtocolError } from '../../src/protocol/frames.js';
import type { Message, Priority } from '../../src/protocol/frames.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const message = (...parts: Uint8Array[]): Message => ({ parts, byteLength: parts.reduce((sum, part) => sum + part.byteLength, 0) });
const filled = (byteLength: number, value: number): Message => message(new Uint8Array(byteLength).fill(value));

function drain(queue: FrameQueue): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let frame; (frame = queue.next()) !== undefined;) pieces.push(...frame);
  return Buffer.concat(pieces);
}

/** A header as the writer makes it, for telling lies. */
function header(priority: number, flags: number, length: number): Buffer {
  const bytes = Buffer.from([0xa7, priority, flags, 0, 0, 0, 0, 0]);
  bytes.writeUInt32LE(length, 4);
  return bytes;
}

const arbitraryMessage = fc.record({
  priority: fc.constantFrom<Priority>(0, 1, 2),
  parts: fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 5 }),
  padding: fc.constantFrom(1, 1, 1, frameBytesMax - 1, frameBytesMax, frameBytesMax + 1, 2 * frameBytesMax + 3),
});

test('any messages, cut anywhere, come out whole, in order within their priority', () => {
  fc.assert(fc.property(fc.array(arbitraryMessage, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1 }), (plan, cuts) => {
    const queue = new FrameQueue();
    const sent: string[][] = [[], [], []];
    for (const { priority, parts, padding } of plan) {
      const whole = message(...parts, new Uint8Array(padding).fill(sent[priority]!.length));
      queue.push(whole, priority);
      sent[priority]!.push(hex(joinMessage(whole)));
    }
    const received: string[] = [];
    const reader = new FrameReader((bytes) => received.push(hex(bytes)));
    const stream = drain(queue);
    for (let offset = 0, cut = 0; offset < stream.byteLength; cut++) {
      const end = offset + cuts[cut % cuts.length]!;
      reader.push(stream.subarray(offset, end));
      offset = end;
    }
    assert.deepEqual(received, sent.flat());
    assert.equal(queue.byteLength, 0);
  }), { numRuns: 60 });
});

test('a message handed out lies in memory of its own and keeps no part of the stream', () => {
  const received: Uint8Array[] = [];
  const reader = new FrameReader((bytes) => received.push(bytes));
  const queue = new FrameQueue();
  queue.push(filled(5, 1), 2);
  queue.push(filled(5, 2), 2);
  const stream = drain(queue);
  reader.push(stream);
  stream.fill(0xff);
  for (const bytes of received) {
    assert.deepEqual([bytes.byteOffset, bytes.buffer.byteLength], [0, 5]);
  }
  assert.deepEqual(received.map(hex), ['0101010101', '0202020202']);
});

test('a ping passes between two frames of a large tensor', () => {
  const queue = new FrameQueue();
  const received: number[] = [];
  const reader = new FrameReader((bytes) => received.push(bytes[0]!));
  queue.push(filled(3 * frameBytesMax, 9), 2);
  for (const piece of queue.next()!) reader.push(piece);
  queue.push(filled(8, 1), 0);
  queue.push(filled(8, 5), 1);
  reader.push(drain(queue));
  assert.deepEqual(received, [1, 5, 9]);
});

test('large data is sent from where it lies: slices, no copies', () => {
  const data = new Uint8Array(frameBytesMax * 2);
  const queue = new FrameQueue();
  queue.push(message(new Uint8Array(8), data), 2);
  for (let frame; (frame = queue.next()) !== undefined;) {
    for (const piece of frame.slice(1)) if (piece.byteLength > 8) assert.equal(piece.buffer, data.buffer);
  }
});

for (const [what, bytes] of Object.entries({
  'wrong magic': Buffer.from('0000000000000000', 'hex'),
  'a priority that does not exist': header(3, 1, 8),
  'unknown flags': header(0, 2, 8),
  'more bytes than the bound': header(2, 1, 1025),
  'an empty message': header(2, 1, 0),
  'a continuation of nothing': header(2, 0, 8),
})) {
  test(`malformed: ${what}`, () => {
    const reader = new FrameReader(() => assert.fail('no message'), 1024);
    assert.throws(() => reader.push(bytes), ProtocolError);
  });
}

test('malformed: a second first frame, and a continuation of another length', () => {
  for (const [flags, length] of [[1, 8], [0, 7], [0, 9]] as const) {
    const reader = new FrameReader(() => assert.fail('no message'));
    reader.push(header(2, 1, frameBytesMax + 8));
    reader.push(new Uint8Array(frameBytesMax));
    assert.throws(() => reader.push(header(2, flags, length)), ProtocolError);
  }
});

test('malformed: any bytes either wait for more or throw ProtocolError, and claim no memory beyond the bound', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (noise, believable) => {
    const reader = new FrameReader((bytes) => assert.ok(bytes.byteLength <= 4096), 4096);
    try {
      reader.push(believable ? Buffer.concat([Buffer.from([0xa7]), noise]) : noise);
    } catch (error) {
      assert.ok(error instanceof ProtocolError);
    }
  }));
});

test('link: writes stop at a full stream, urgent messages go first after drain, nothing is lost', async () => {
  const written: Uint8Array[] = [];
  let drained = (): void => {};
  let room = false;
  const stream = {
    writable: true,
    write: (chunk: Uint8Array) => {
      written.push(Uint8Array.from(chunk));
      return room;
    },
    cork: () => {},
    uncork: () => {},
    on: (_event: 'drain', listener: () => void) => (drained = listener),
  };
  const received: number[] = [];
  const receiver = new FrameLink(stream, (bytes) => received.push(bytes[0]!));
  const link = new FrameLink(stream, () => {});
  link.send(filled(2 * frameBytesMax, 7), 2);
  assert.equal(Buffer.concat(written).byteLength, frameBytesMax + 8);
  link.send(filled(8, 1), 0);
  assert.equal(Buffer.concat(written).byteLength, frameBytesMax + 8);
  assert.equal(link.queuedBytes, frameBytesMax + 8);
  const flushed = link.flushed();
  room = true;
  drained();
  await flushed;
  receiver.receive(Buffer.concat(written));
  assert.deepEqual(received, [1, 7]);
});
