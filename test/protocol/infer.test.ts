import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isServeError } from '../../src/errors.js';
import { decodeRequest, decodeResponse, encodedBytes, encodeRequest, encodeResponse, joinEncoded } from '../../src/protocol/infer.js';
import type { Encoded, InferRequest } from '../../src/protocol/infer.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { elementCount } from '../../src/tensor/datatype.js';
import { fromTyped, namedTensors, numbers } from '../../src/tensor/typed.js';
import { namedTensorList } from '../tensor/arbitrary.js';

const utf8 = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const json = (encoded: Encoded): { outputs: Record<string, unknown>[] } & Record<string, unknown> =>
  JSON.parse(new TextDecoder().decode(encoded.head)) as never;

/** What JSON keeps: values, not the payloads of NaNs. */
function values(tensors: readonly NamedTensor[]): unknown[] {
  return tensors.map(({ name, datatype, shape, data }) =>
    [name, datatype, shape, datatype === 'BYTES' ? [...data] : [...(numbers({ datatype, shape, data }) as ArrayLike<number> & Iterable<number>)]]);
}

test('request, binary: every bit of every datatype and shape comes back, as views into the message', () => {
  fc.assert(fc.property(namedTensorList(), fc.option(fc.string(), { nil: undefined }), (inputs, id) => {
    const encoded = encodeRequest(inputs, { ...(id !== undefined && { id }) });
    const bytes = joinEncoded(encoded);
    assert.equal(bytes.byteLength, encodedBytes(encoded));
    const request = decodeRequest(bytes, encoded.jsonLength);
    assert.deepEqual(request.inputs, inputs);
    assert.equal(request.id, id);
    assert.equal(request.binaryOutputDefault, true);
    for (const { data } of request.inputs) assert.equal(data.buffer, bytes.buffer);
  }), { numRuns: 300 });
});

test('request, JSON: every value of every datatype comes back, 64-bit integers, NaN, infinities and -0 included', () => {
  fc.assert(fc.property(namedTensorList(true), (inputs) => {
    const encoded = encodeRequest(inputs, { binary: false });
    assert.equal(encoded.jsonLength, undefined);
    const request = decodeRequest(joinEncoded(encoded));
    assert.deepEqual(values(request.inputs), values(inputs));
    assert.equal(request.binaryOutputDefault, undefined);
  }), { numRuns: 300 });
});

test('answer: outputs binary, JSON or mixed, as the request asked for each', () => {
  fc.assert(fc.property(namedTensorList(true), fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 5, maxLength: 5 }), fc.option(fc.boolean(), { nil: undefined }), (outputs, choices, byDefault) => {
    const request: Pick<InferRequest, 'outputs' | 'binaryOutputDefault'> = {
      outputs: outputs.map(({ name }, index) => ({ name, ...(choices[index] !== undefined && { binary: choices[index]! }) })),
      ...(byDefault !== undefined && { binaryOutputDefault: byDefault }),
    };
    const encoded = encodeResponse({ modelName: 'm', modelVersion: '1', id: 'i', outputs }, request);
    const binary = outputs.filter((_, index) => choices[index] ?? byDefault ?? false);
    assert.equal(encoded.chunks.length, binary.length);
    assert.equal(encoded.jsonLength !== undefined, binary.length > 0);
    const response = decodeResponse(joinEncoded(encoded), encoded.jsonLength);
    assert.deepEqual({ ...response, outputs: values(response.outputs) }, { modelName: 'm', modelVersion: '1', id: 'i', outputs: values(outputs) });
    for (const { name, data } of binary) assert.deepEqual(response.outputs.find((output) => output.name === name)!.data, data);
  }), { numRuns: 300 });
});

test('the first binary tensor begins on a multiple of 8', () => {
  for (let length = 1; length < 12; length++) {
    const { jsonLength } = encodeRequest(namedTensors({ ['x'.repeat(length)]: { datatype: 'INT8', shape: [1], data: [1] } }));
    assert.equal(jsonLength! % 8, 0);
  }
});

test('request: an example as the binary extension prints it', () => {
  const head = utf8({
    model_name: 'mymodel',
    inputs: [
      { name: 'input0', shape: [2, 2], datatype: 'UINT32', parameters: { binary_data_size: 16 } },
      { name: 'input1', shape: [3], datatype: 'BOOL', parameters: { binary_data_size: 3 } },
    ],
    outputs: [{ name: 'output0', parameters: { binary_data: true } }],
  });
  const body = new Uint8Array([...head, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1]);
  const request = decodeRequest(body, head.byteLength);
  assert.deepEqual(request.inputs.map((input) => [input.name, [...(numbers(input) as Uint32Array)]]), [['input0', [1, 2, 3, 4]], ['input1', [1, 0, 1]]]);
  assert.deepEqual(request.outputs, [{ name: 'output0', binary: true }]);
});

test('request: flat and nested data are the same tensor, a scalar needs no array', () => {
  const decode = (input: object): NamedTensor => decodeRequest(utf8({ inputs: [{ name: 'x', ...input }] })).inputs[0]!;
  const flat = decode({ datatype: 'FP32', shape: [2, 1, 2], data: [1, 2, 3, 4] });
  assert.deepEqual(decode({ datatype: 'FP32', shape: [2, 1, 2], data: [[[1, 2]], [[3, 4]]] }), flat);
  assert.deepEqual(decode({ datatype: 'INT8', shape: [], data: 5 }), decode({ datatype: 'INT8', shape: [], data: [5] }));
  assert.deepEqual(decode({ datatype: 'INT8', shape: [2, 0], data: [[], []] }), decode({ datatype: 'INT8', shape: [2, 0], data: [] }));
  assert.deepEqual([...decode({ datatype: 'BYTES', shape: [1, 2], data: [['a', 'é']] }).data], [1, 0, 0, 0, 97, 2, 0, 0, 0, 0xc3, 0xa9]);
});

test('request: parameters and id are kept, JSON and binary inputs may be mixed', () => {
  const head = utf8({
    id: '42', parameters: { priority: 3, binary_data_output: true },
    inputs: [{ name: 'a', datatype: 'UINT8', shape: [2], parameters: { binary_data_size: 2 } }, { name: 'b', datatype: 'UINT8', shape: [1], data: [9] }],
  });
  const request = decodeRequest(new Uint8Array([...head, 7, 8]), head.byteLength);
  assert.deepEqual(request, {
    id: '42', parameters: { priority: 3, binary_data_output: true }, binaryOutputDefault: true,
    inputs: [{ name: 'a', datatype: 'UINT8', shape: [2], data: new Uint8Array([7, 8]) }, { name: 'b', datatype: 'UINT8', shape: [1], data: new Uint8Array([9]) }],
  });
});

test('64-bit integers in JSON: digits beyond 2^53 are exact, as numbers and as strings, between values that are not', () => {
  const request = decodeRequest(utf8(`{"id":"12345678901234567890","inputs":[
    {"name":"i","datatype":"INT64","shape":[4],"data":[9223372036854775807,-9223372036854775808,"9007199254740993",1]},
    {"name":"u","datatype":"UINT64","shape":[1,1],"data":[[18446744073709551615]]},
    {"name":"f","datatype":"FP64","shape":[2],"data":[9007199254740993,1.2345678901234567]},
    {"name":"s","datatype":"BYTES","shape":[1],"data":["[9223372036854775807, \\"1]"]}]}`));
  const [i, u, f, s] = request.inputs;
  assert.deepEqual(numbers(i!), new BigInt64Array([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 1n]));
  assert.deepEqual(numbers(u!), new BigUint64Array([2n ** 64n - 1n]));
  assert.deepEqual(numbers(f!), new Float64Array([2 ** 53, 1.2345678901234567]));
  assert.equal(new TextDecoder().decode(s!.data.subarray(4)), '[9223372036854775807, "1]');
  assert.equal(request.id, '12345678901234567890');
  const out = encodeResponse({ outputs: request.inputs.slice(0, 2) }, {});
  assert.match(new TextDecoder().decode(out.head), /"data":\[9223372036854775807,-9223372036854775808,9007199254740993,1\]/);
});

test('non-finite floats in JSON: bare tokens out, tokens or strings in, also inside strings left alone', () => {
  const inputs = namedTensors({ x: { datatype: 'FP32', shape: [4], data: [NaN, Infinity, -Infinity, -0] }, s: { datatype: 'BYTES', shape: [1], data: ['NaN, "Infinity"'] } });
  const { head } = encodeRequest(inputs, { binary: false });
  assert.match(new TextDecoder().decode(head), /"data":\[NaN,Infinity,-Infinity,-0\]/);
  assert.deepEqual(decodeRequest(head).inputs, inputs);
  const strings = decodeRequest(utf8({ inputs: [{ name: 'x', datatype: 'FP64', shape: [3], data: ['NaN', 'Infinity', '-Infinity'] }] }));
  assert.deepEqual([...(numbers(strings.inputs[0]!) as Float64Array)], [NaN, Infinity, -Infinity]);
});

test('answer: requested outputs only, in the requested order; a missing one is the server\'s fault', () => {
  const outputs = namedTensors({ a: { datatype: 'UINT8', shape: [1], data: [1] }, b: { datatype: 'UINT8', shape: [1], data: [2] } });
  assert.deepEqual(json(encodeResponse({ outputs }, { outputs: [{ name: 'b' }] })).outputs, [{ name: 'b', datatype: 'UINT8', shape: [1], data: [2] }]);
  assert.deepEqual(json(encodeResponse({ outputs }, { outputs: [] })).outputs.length, 2);
  assert.deepEqual(json(encodeResponse({ outputs }, { outputs: [{ name: 'b' }, { name: 'a' }], id: 'x' })).outputs.map(({ name }) => name), ['b', 'a']);
  assert.throws(() => encodeResponse({ outputs }, { outputs: [{ name: 'c' }] }), (error) => isServeError(error) && error.code === 'INTERNAL');
});

test('answer: BYTES that are not UTF-8 cannot be JSON and say so, binary carries them', () => {
  const outputs = namedTensors({ s: { datatype: 'BYTES', shape: [1], data: [new Uint8Array([0xff])] } });
  assert.throws(() => encodeResponse({ outputs }, {}), (error) => isServeError(error) && error.code === 'INVALID_ARGUMENT' && /^s: BYTES element 0 is not UTF-8, JSON cannot carry it; use binary data$/.test(error.message));
  const encoded = encodeResponse({ outputs }, { binaryOutputDefault: true });
  assert.deepEqual(decodeResponse(joinEncoded(encoded), encoded.jsonLength).outputs, outputs);
});

test('answer: more elements than JSON can carry is PAYLOAD_TOO_LARGE, binary is not', () => {
  const outputs = [{ name: 'y', ...fromTyped({ datatype: 'UINT8', shape: [16 * 1024 * 1024 + 1], data: new Uint8Array(16 * 1024 * 1024 + 1) }) }];
  assert.throws(() => encodeResponse({ outputs }, {}), (error) => isServeError(error) && error.code === 'PAYLOAD_TOO_LARGE');
  assert.equal(elementCount(outputs[0]!.shape), encodeResponse({ outputs }, { binaryOutputDefault: true }).chunks[0]!.byteLength);
});

test('answer: malformed ones are INTERNAL, never the caller\'s fault', () => {
  for (const bytes of [utf8('nonsense'), utf8({ outputs: [{}] }), new Uint8Array(0)]) {
    assert.throws(() => decodeResponse(bytes), (error) => isServeError(error) && error.code === 'INTERNAL' && error.message.startsWith('malformed answer: '));
  }
});
