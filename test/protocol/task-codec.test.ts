import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { errorCodes } from '../../src/errors.js';
import { joinMessage, ProtocolError } from '../../src/protocol/frames.js';
import {
  decodeJson, decodeNestedCall, decodeNestedReply, decodeNumber, decodeRun, decodeRunReply, encodeJson, encodeNestedCall,
  encodeNestedReply, encodeNumber, encodeRun, encodeRunReply, messageType, priorityOf, typeOf,
} from '../../src/protocol/task-codec.js';
import type { NestedCall, NestedReply, RunReply, RunTask } from '../../src/protocol/task.js';
import { elementBytes } from '../../src/tensor/datatype.js';
import type { Datatype } from '../../src/tensor/datatype.js';

const plainRecord = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(model, { noNullPrototype: true });
const name = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }));
const tensor = plainRecord({
  name,
  datatype: fc.constantFrom(...(Object.keys(elementBytes) as Datatype[])),
  shape: fc.array(fc.oneof(fc.nat(), fc.constant(2 ** 40)), { maxLength: 5 }),
  // The codec carries bytes and believes shapes: whether they agree is checked elsewhere.
  data: fc.uint8Array({ maxLength: 70 }),
});
const tensors = fc.array(tensor, { maxLength: 4 });
const ms = fc.oneof(fc.nat(), fc.constant(0.125), fc.constant(Infinity));
const optional = <T>(key: string, value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined }).map((v) => (v === undefined ? {} : { [key]: v }));

const runTask = fc.tuple(
  plainRecord({ id: fc.maxSafeNat(), requestId: name, inputs: tensors, budgetMs: ms, path: fc.array(name, { maxLength: 3 }) }),
  optional('outputs', fc.array(name, { maxLength: 3 })),
  optional('epoch', fc.maxSafeNat()),
).map((parts) => Object.assign({}, ...parts) as RunTask);

const failure = fc.tuple(
  plainRecord({ ok: fc.constant(false as const), code: fc.constantFrom(...(Object.keys(errorCodes) as (keyof typeof errorCodes)[])), message: name }),
  optional('outcome', fc.constant('unknown' as const)),
).map((parts) => Object.assign({}, ...parts) as Extract<NestedReply, { ok: false }>);

/** Through one piece of memory, as over a socket; undefined fields are absent ones. */
function roundTrip<T>(encoded: ReturnType<typeof encodeRun>, decode: (bytes: Uint8Array) => T): T {
  assert.equal(encoded.byteLength, encoded.parts.reduce((sum, part) => sum + part.byteLength, 0));
  return decode(joinMessage(encoded));
}

test('run: any task comes back', () => {
  fc.assert(fc.property(runTask, (task) => assert.deepEqual(roundTrip(encodeRun(task), decodeRun), task)));
});

test('run reply: any answer and any failure comes back', () => {
  const reply = fc.oneof(
    plainRecord({ ok: fc.constant(true as const), outputs: tensors, runMs: ms }),
    fc.tuple(failure, optional('retryable', fc.boolean()), optional('deviceFatal', fc.constant(true))).map((parts) => Object.assign({}, ...parts) as RunReply),
  );
  fc.assert(fc.property(fc.maxSafeNat(), reply, (id, answer) => {
    assert.deepEqual(roundTrip(encodeRunReply(id, answer), decodeRunReply), { id, reply: answer });
  }));
});

test('nested call and reply: any comes back', () => {
  const call = fc.tuple(
    plainRecord({ runId: fc.maxSafeNat(), callId: fc.maxSafeNat(), actor: name, inputs: tensors }),
    optional('outputs', fc.array(name, { maxLength: 3 })),
    optional('timeoutMs', fc.nat()),
  ).map((parts) => Object.assign({}, ...parts) as NestedCall);
  const reply = fc.oneof(plainRecord({ ok: fc.constant(true as const), outputs: tensors }), failure);
  fc.assert(fc.property(call, reply, (asked, answered) => {
    assert.deepEqual(roundTrip(encodeNestedCall(asked), decodeNestedCall), asked);
    assert.deepEqual(roundTrip(encodeNestedReply(asked.callId, answered), decodeNestedReply), { callId: asked.callId, reply: answered });
  }));
});

test('tensor data begins at multiples of 8, is not copied by encoding and is a view after decoding', () => {
  fc.assert(fc.property(runTask, (task) => {
    const encoded = encodeRun(task);
    for (const { data } of task.inputs) assert.ok(encoded.parts.includes(data));
    const bytes = joinMessage(encoded);
    for (const { data } of decodeRun(bytes).inputs) {
      assert.equal(data.buffer, bytes.buffer);
      assert.equal(data.byteOffset % 8, 0);
    }
  }));
});

test('a message cut short or overwritten is a ProtocolError, never another error and never a huge allocation', () => {
  const task: RunTask = { id: 1, requestId: 'r', budgetMs: 1, path: ['a'], outputs: ['y'], inputs: [{ name: 'x', datatype: 'FP32', shape: [2], data: new Uint8Array(8) }] };
  fc.assert(fc.property(fc.nat(120), fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 4 }), (length, changes) => {
    const bytes = joinMessage(encodeRun(task)).slice(0, length);
    for (const [offset, value] of changes) if (offset < bytes.byteLength) bytes[offset] = value;
    try {
      decodeRun(bytes);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  }), { numRuns: 2000 });
});

test('small messages: numbers, JSON, types and what overtakes what', () => {
  assert.equal(decodeNumber(joinMessage(encodeNumber('cancel', 7))), 7);
  const json = joinMessage(encodeJson('log', { level: 'warn', message: 'ü', fields: { a: [1] } }));
  assert.deepEqual(decodeJson('log', json), { level: 'warn', message: 'ü', fields: { a: [1] } });
  assert.throws(() => decodeJson('load', json), ProtocolError);
  assert.equal(typeOf(json), messageType.log);
  const { cancel, ping, nestedReply, run, runReply, unload, ended } = messageType;
  assert.deepEqual([cancel, ping, nestedReply, run, runReply, unload, ended].map(priorityOf), [0, 0, 1, 2, 2, 2, 2]);
});
