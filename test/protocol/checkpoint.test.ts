/** `context.checkpoint` between a module's thread and its host: the bytes, and which answer belongs to which call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { errorCodes, type ErrorCode } from '../../src/errors.js';
import { joinMessage, ProtocolError, type Message } from '../../src/protocol/frames.js';
import { LaneCalls } from '../../src/protocol/lane-calls.js';
import { decodeCheckpointCall, decodeCheckpointReply, encodeCheckpointCall, encodeCheckpointReply, messageType, priorityOf } from '../../src/protocol/task-codec.js';
import type { CheckpointCall, CheckpointReply } from '../../src/protocol/task.js';
import { WorkerCalls } from '../../src/protocol/worker-calls.js';

const data = fc.uint8Array({ maxLength: 70 });

test('call and reply: any comes back, empty bytes are not the same as none', () => {
  const call: fc.Arbitrary<CheckpointCall> = fc.oneof(fc.constant({ op: 'load' as const }), data.map((bytes) => ({ op: 'save' as const, bytes })));
  const reply: fc.Arbitrary<CheckpointReply> = fc.oneof(
    fc.constant({ ok: true as const }),
    data.map((bytes) => ({ ok: true as const, bytes })),
    fc.tuple(fc.constantFrom(...(Object.keys(errorCodes) as ErrorCode[])), fc.string(), fc.boolean())
      .map(([code, message, unknown]) => ({ ok: false as const, code, message, ...(unknown && { outcome: 'unknown' as const }) })),
  );
  fc.assert(fc.property(fc.maxSafeNat(), call, reply, (callId, asked, answered) => {
    assert.deepEqual(decodeCheckpointCall(joinMessage(encodeCheckpointCall(callId, asked))), { callId, call: asked });
    assert.deepEqual(decodeCheckpointReply(joinMessage(encodeCheckpointReply(callId, answered))), { callId, reply: answered });
  }));
  assert.deepEqual([messageType.checkpointCall, messageType.checkpointReply].map(priorityOf), [1, 1]);
});

test('cut short: a ProtocolError', () => {
  const whole = joinMessage(encodeCheckpointCall(1, { op: 'save', bytes: new Uint8Array(20) }));
  for (let length = 1; length < whole.byteLength; length++) assert.throws(() => decodeCheckpointCall(whole.slice(0, length)), ProtocolError, `${length}`);
});

/** Both halves, each message through one piece of memory. */
function pair(checkpoint: ((call: CheckpointCall) => Promise<CheckpointReply>) | undefined): { calls: WorkerCalls; lane: LaneCalls } {
  const host = { nestedCall: () => assert.fail('nested'), log: () => {}, ...(checkpoint && { checkpoint }) };
  const lane: LaneCalls = new LaneCalls((message: Message) => calls.hear(joinMessage(message)), host);
  const calls: WorkerCalls = new WorkerCalls((message) => assert.equal(lane.receive(joinMessage(message)), true));
  return { calls, lane };
}

test('each answer finds its call, in whatever order', async () => {
  const answers: ((reply: CheckpointReply) => void)[] = [];
  const { calls } = pair(() => new Promise((resolve) => answers.push(resolve)));
  const [first, second] = [calls.host.checkpoint({ op: 'load' }), calls.host.checkpoint({ op: 'save', bytes: Uint8Array.of(1) })];
  answers[1]!({ ok: false, code: 'UNAVAILABLE', message: 'no' });
  answers[0]!({ ok: true, bytes: Uint8Array.of(7) });
  assert.deepEqual(await second, { ok: false, code: 'UNAVAILABLE', message: 'no' });
  assert.deepEqual(await first, { ok: true, bytes: Uint8Array.of(7) });
});

test('a host that keeps none, or whose keeper throws, still answers', async () => {
  assert.deepEqual(await pair(undefined).calls.host.checkpoint({ op: 'load' }), { ok: false, code: 'UNAVAILABLE', message: 'this host keeps no checkpoints' });
  assert.deepEqual(await pair(() => Promise.reject(new Error('broken'))).calls.host.checkpoint({ op: 'load' }), { ok: false, code: 'INTERNAL', message: 'Error: broken' });
});
