/** Large JSON is handled in a thread, with the same result, and the host's loop stays free meanwhile. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createJsonCodec } from '../../src/adapters/codec-thread.js';
import { isServeError } from '../../src/errors.js';
import { decodeRequest, encodeRequest, encodeResponse, joinEncoded } from '../../src/protocol/infer.js';
import { namedTensors } from '../../src/tensor/typed.js';

const codec = createJsonCodec();
after(() => codec.close());

const data = Float32Array.from({ length: 200_000 }, (_, i) => Math.fround(i / 7));
const tensors = namedTensors({ x: { datatype: 'FP32', shape: [200_000], data }, name: { datatype: 'BYTES', shape: [1], data: ['ü'] } });

test('decodes as the loop would', async () => {
  const bytes = joinEncoded(encodeRequest(tensors, { binary: false }));
  assert.deepEqual(await codec.decodeRequest(bytes, undefined), decodeRequest(bytes));
});

test('encodes as the loop would, JSON and binary mixed, and leaves the tensors with the caller', async () => {
  const request = { inputs: [], parameters: {}, outputs: [{ name: 'name', binary: true }, { name: 'x' }] };
  const response = { modelName: 'm', modelVersion: '1', outputs: tensors };
  const encoded = await codec.encodeResponse(response, request);
  const expected = encodeResponse(response, request);
  assert.deepEqual(Buffer.from(joinEncoded(encoded)), Buffer.from(joinEncoded(expected)));
  assert.equal(encoded.jsonLength, expected.jsonLength);
  assert.equal(tensors[0]!.data.byteLength, 800_000);
});

test('a malformed message is refused with the same words', async () => {
  const bytes = new TextEncoder().encode(`{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1]}]}${' '.repeat(100_000)}`);
  let expected = '';
  try {
    decodeRequest(bytes);
  } catch (error) {
    expected = (error as Error).message;
  }
  await assert.rejects(codec.decodeRequest(bytes, undefined), (error) => isServeError(error) && error.code === 'INVALID_ARGUMENT' && error.message === expected);
});

test('the loop goes on turning while a large answer is written', async () => {
  let turns = 0;
  let running = true;
  const turn = (): void => {
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  await codec.encodeResponse({ outputs: tensors }, { inputs: [], parameters: {} }).finally(() => (running = false));
  assert.ok(turns > 10, `${turns} turns`);
});
