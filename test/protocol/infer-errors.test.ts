/**
 * Everything malformed is INVALID_ARGUMENT with the path of what is wrong, and costs no more than reading it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isServeError } from '../../src/errors.js';
import type { ErrorCode } from '../../src/errors.js';
import { decodeRequest, encodeRequest, joinEncoded } from '../../src/protocol/infer.js';
import type { DecodeLimits } from '../../src/protocol/infer.js';
import { elementBytes } from '../../src/tensor/datatype.js';
import { namedTensors } from '../../src/tensor/typed.js';

const utf8 = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

function refuses(bytes: Uint8Array, message: RegExp | string, options: { jsonLength?: number; limits?: DecodeLimits; code?: ErrorCode } = {}): void {
  assert.throws(() => decodeRequest(bytes, options.jsonLength, options.limits), (error) => {
    assert.ok(isServeError(error), String(error));
    assert.equal(error.code, options.code ?? 'INVALID_ARGUMENT');
    if (typeof message === 'string') assert.equal(error.message, message);
    else assert.match(error.message, message);
    return true;
  });
}

const input = { name: 'x', datatype: 'UINT8', shape: [2], data: [1, 2] };
const without = (key: string): object => Object.fromEntries(Object.entries(input).filter(([name]) => name !== key));
const binary = (fields: object): object => ({ name: 'x', datatype: 'UINT8', shape: [2], parameters: { binary_data_size: 2 }, ...fields });

const wholes: [string, unknown, string | RegExp][] = [
  ['empty', '', 'the message is empty, wanted JSON'],
  ['no JSON', 'inputs', /^not JSON: /],
  ['cut JSON', '{"inputs":[', /^not JSON: /],
  ['NaN in broken JSON', '{"inputs": NaN', /^not JSON: /],
  ['two documents', '{}{}', /^not JSON: /],
  ['null', 'null', 'the JSON: null is no object'],
  ['array', '[]', 'the JSON: an array of 0 is no object'],
  ['no inputs', {}, 'inputs is missing'],
  ['inputs no array', { inputs: { x: input } }, 'inputs: an object is no array'],
  ['input no object', { inputs: [input, 3] }, 'inputs[1]: 3 is no object'],
  ['twice', { inputs: [input, input] }, 'inputs[1].name: "x" comes twice'],
  ['id', { id: 7, inputs: [input] }, 'id: 7 is no string'],
  ['parameters', { parameters: [], inputs: [input] }, 'parameters: an array of 0 is no object'],
  ['binary_data_output', { parameters: { binary_data_output: 1 }, inputs: [input] }, 'parameters.binary_data_output: 1 is neither true nor false'],
  ['outputs no array', { inputs: [input], outputs: 'y' }, 'outputs: "y" is no array'],
  ['output no object', { inputs: [input], outputs: ['y'] }, 'outputs[0]: "y" is no object'],
  ['output without name', { inputs: [input], outputs: [{}] }, 'outputs[0].name is missing'],
  ['output twice', { inputs: [input], outputs: [{ name: 'y' }, { name: 'y' }] }, 'outputs[1].name: "y" comes twice'],
  ['binary_data', { inputs: [input], outputs: [{ name: 'y', parameters: { binary_data: 'yes' } }] }, 'outputs[0].parameters.binary_data: "yes" is neither true nor false'],
  ['classification', { inputs: [input], outputs: [{ name: 'y', parameters: { classification: 3 } }] }, 'outputs[0].parameters.classification is not supported'],
];
for (const [cell, body, message] of wholes) test(`malformed message: ${cell}`, () => refuses(utf8(body), message));

const inputs: [string, object, string | RegExp][] = [
  ['no name', without('name'), 'inputs[0].name is missing'],
  ['empty name', { ...input, name: '' }, 'inputs[0].name: "" is no name'],
  ['name no string', { ...input, name: 5 }, 'inputs[0].name: 5 is no name'],
  ['no datatype', without('datatype'), 'inputs[0].datatype is missing'],
  ['unknown datatype', { ...input, datatype: 'FLOAT' }, 'inputs[0].datatype: unknown datatype "FLOAT"'],
  ['datatype from the prototype', { ...input, datatype: 'constructor' }, 'inputs[0].datatype: unknown datatype "constructor"'],
  ['no shape', without('shape'), 'inputs[0].shape is missing'],
  ['shape no array', { ...input, shape: 2 }, /^inputs\[0\]: shape must be an array/],
  ['shape null', { ...input, shape: null }, /^inputs\[0\]: shape must be an array/],
  ['negative dimension', { ...input, shape: [2, -1] }, 'inputs[0].shape[1]: -1 is not an integer >= 0'],
  ['fraction', { ...input, shape: [1.5] }, 'inputs[0].shape[0]: 1.5 is not an integer >= 0'],
  ['dimension as text', { ...input, shape: ['2'] }, 'inputs[0].shape[0]: "2" is not an integer >= 0'],
  ['dimension null', { ...input, shape: [null] }, 'inputs[0].shape[0]: null is not an integer >= 0'],
  ['dimension beyond 2^53', { ...input, shape: [1e300] }, 'inputs[0].shape[0]: 1e+300 is not an integer >= 0'],
  ['product overflow', { ...input, shape: [2 ** 40, 2 ** 40] }, /^inputs\[0\]: shape .* has more elements than can exist$/],
  ['rank', { ...input, shape: new Array(100).fill(1) }, /^inputs\[0\]: shape has 100 dimensions, at most 64 are allowed$/],
  ['no data', without('data'), 'inputs[0]: neither data nor parameters.binary_data_size is given'],
  ['data null', { ...input, data: null }, 'inputs[0].data: null is no array'],
  ['data no array', { ...input, data: 'AQI=' }, 'inputs[0].data: "AQI=" is no array'],
  ['too few', { ...input, data: [1] }, 'inputs[0].data: shape [2] takes 2 elements, got 1'],
  ['too many', { ...input, data: [1, 2, 3] }, 'inputs[0].data: shape [2] takes 2 elements, got 3'],
  ['huge claim, few values', { ...input, shape: [1e9], data: [1, 2, 3] }, 'inputs[0].data: shape [1000000000] takes 1000000000 elements, got 3'],
  ['out of range', { ...input, data: [1, 300] }, 'inputs[0].data[1]: 300 does not fit UINT8'],
  ['negative', { ...input, data: [1, -1] }, 'inputs[0].data[1]: -1 does not fit UINT8'],
  ['fraction for integer', { ...input, data: [1, 0.5] }, 'inputs[0].data[1]: 0.5 is no integer, UINT8 wants one'],
  ['null for integer', { ...input, data: [null, 1] }, 'inputs[0].data[0]: null is no integer, UINT8 wants one'],
  ['string for integer', { ...input, data: ['1', '2'] }, 'inputs[0].data[0]: "1" is no integer, UINT8 wants one'],
  ['string for float', { ...input, datatype: 'FP32', data: ['1', '2'] }, 'inputs[0].data[0]: "1" is no number, FP32 wants one'],
  ['boolean for float', { ...input, datatype: 'FP64', data: [true, 1] }, 'inputs[0].data[0]: true is no number, FP64 wants one'],
  ['beyond FP32', { ...input, datatype: 'FP32', data: [0, 1e39] }, 'inputs[0].data[1]: 1e+39 does not fit FP32'],
  ['beyond FP16', { ...input, datatype: 'FP16', data: [0, 1e5] }, 'inputs[0].data[1]: 100000 does not fit FP16'],
  ['string for BOOL', { ...input, datatype: 'BOOL', data: ['true', true] }, 'inputs[0].data[0]: "true" is no BOOL (true or false)'],
  ['number for BYTES', { ...input, datatype: 'BYTES', data: ['a', 1] }, 'inputs[0].data[1]: 1 is no string, BYTES in JSON wants one'],
  ['word for INT64', { ...input, datatype: 'INT64', data: ['12a', 1] }, 'inputs[0].data[0]: "12a" is no integer, INT64 wants one'],
  ['string beyond INT64', { ...input, datatype: 'INT64', data: ['9223372036854775808', 1] }, 'inputs[0].data[0]: 9223372036854775808 does not fit INT64'],
  ['nested, ragged', { ...input, shape: [2, 2], data: [[1, 2], [3]] }, 'inputs[0].data[1]: an array of 1, shape [2, 2] wants 2 here'],
  ['nested, mixed', { ...input, shape: [2, 2], data: [[1, 2], 3] }, 'inputs[0].data[1]: 3, shape [2, 2] wants an array of 2 here'],
  ['nested, transposed', { ...input, shape: [1, 2], data: [[1], [2]] }, 'inputs[0].data: an array of 2, shape [1, 2] wants 1 here'],
  ['nested, bad value', { ...input, shape: [2, 2], data: [[1, 2], [3, 256]] }, 'inputs[0].data[1][1]: 256 does not fit UINT8'],
  ['nested, too deep', { ...input, data: [[1], [2]] }, 'inputs[0].data[0]: an array of 1 is no integer, UINT8 wants one'],
  ['nested, huge claim', { ...input, shape: [2, 1e9], data: [[1], [2]] }, 'inputs[0].data[0]: an array of 1, shape [2, 1000000000] wants 1000000000 here'],
  ['parameters no object', { ...input, parameters: 3 }, 'inputs[0].parameters: 3 is no object'],
  ['shared memory', { ...without('data'), parameters: { shared_memory_region: 'r' } }, 'inputs[0].parameters.shared_memory_region: shared memory is not supported'],
];
for (const [cell, body, message] of inputs) test(`malformed input: ${cell}`, () => refuses(utf8({ inputs: [body] }), message));

test('malformed input: numbers beyond the double', () => {
  refuses(utf8('{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1e999]}]}'), 'inputs[0].data[0]: the number does not fit FP64');
  refuses(utf8('{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[9223372036854775808]}]}'), 'inputs[0].data[0]: 9223372036854775808 does not fit INT64');
  refuses(utf8('{"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[1e17]}]}'), 'inputs[0].data[0]: 100000000000000000 is beyond 2^53: write all its digits, or send binary data');
});

const binaries: [string, object, number[], string | RegExp][] = [
  ['size negative', binary({ parameters: { binary_data_size: -1 } }), [1, 2], 'inputs[0].parameters.binary_data_size: -1 is not a number of bytes'],
  ['size fraction', binary({ parameters: { binary_data_size: 1.5 } }), [1, 2], 'inputs[0].parameters.binary_data_size: 1.5 is not a number of bytes'],
  ['size text', binary({ parameters: { binary_data_size: '2' } }), [1, 2], 'inputs[0].parameters.binary_data_size: "2" is not a number of bytes'],
  ['size past the end', binary({}), [1], /^inputs\[0\]\.parameters\.binary_data_size: 2 bytes claimed, 1 are left/],
  ['size huge', binary({ parameters: { binary_data_size: 2 ** 52 } }), [1], /4503599627370496 bytes claimed, 1 are left/],
  ['size is not the shape\'s', binary({ shape: [3] }), [1, 2], 'inputs[0]: UINT8 [3] takes 3 bytes, got 2'],
  ['size is not the type\'s', binary({ datatype: 'FP32' }), [1, 2], 'inputs[0]: FP32 [2] takes 8 bytes, got 2'],
  ['trailing bytes', binary({}), [1, 2, 3], '1 bytes follow the last tensor'],
  ['both', binary({ data: [1, 2] }), [1, 2], 'inputs[0]: both data and parameters.binary_data_size are given'],
  ['BOOL of 2', binary({ datatype: 'BOOL' }), [1, 2], 'inputs[0]: BOOL element 1: 2 is neither 0 nor 1'],
  ['BYTES cut in a length', binary({ datatype: 'BYTES', shape: [1] }), [1, 0], /^inputs\[0\]: 1 BYTES elements need at least 4 bytes/],
  ['BYTES past the end', binary({ datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 6 } }), [255, 255, 255, 255, 1, 2], 'inputs[0]: BYTES element 0: claims 4294967295 bytes, 2 are left'],
  ['BYTES with a rest', binary({ datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 6 } }), [1, 0, 0, 0, 1, 2], 'inputs[0]: 1 bytes follow the last of 1 BYTES elements'],
  ['BYTES, huge claim', binary({ datatype: 'BYTES', shape: [2 ** 40] }), [1, 2], /need at least/],
];
for (const [cell, body, data, message] of binaries) {
  test(`malformed binary: ${cell}`, () => {
    const head = utf8({ inputs: [body] });
    refuses(new Uint8Array([...head, ...data]), message, { jsonLength: head.byteLength });
  });
}

test('malformed length: beyond the message, negative, fractional, raw', () => {
  const body = utf8({ inputs: [input] });
  for (const jsonLength of [body.byteLength + 1, -1, 1.5, NaN, Infinity]) {
    refuses(body, /^Inference-Header-Content-Length: .* is not between 1 and the message's \d+ bytes$/, { jsonLength });
  }
  refuses(body, /raw binary request/, { jsonLength: 0 });
  refuses(body, /^not JSON/, { jsonLength: body.byteLength - 1 });
  refuses(utf8({ inputs: [binary({})] }), /is Inference-Header-Content-Length set\?/);
});

test('malformed UTF-8: overlong, cut, surrogate, lone continuation', () => {
  for (const bytes of [[0xc0, 0x80], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0x80], [0xff]]) {
    refuses(new Uint8Array([...utf8('{"inputs":[],"id":"'), ...bytes, ...utf8('"}')]), 'the JSON is not UTF-8');
  }
});

test('limits: elements over all tensors, and tensors, claimed or real', () => {
  const two = { inputs: [input, { ...input, name: 'y' }] };
  assert.equal(decodeRequest(utf8(two), undefined, { elementsMax: 4 }).inputs.length, 2);
  refuses(utf8(two), /^inputs\[1\]: 2 elements, 1 of 3 are left for this request/, { limits: { elementsMax: 3 }, code: 'PAYLOAD_TOO_LARGE' });
  refuses(utf8({ inputs: [{ ...input, shape: [1e12] }] }), /1000000000000 elements/, { limits: { elementsMax: 1e6 }, code: 'PAYLOAD_TOO_LARGE' });
  refuses(utf8(two), 'inputs: 2 entries, at most 1 are taken', { limits: { tensorsMax: 1 } });
  refuses(utf8({ inputs: new Array(1025).fill(0) }), 'inputs: 1025 entries, at most 1024 are taken');
});

test('hostile: a million brackets deep, open or closed, as data, as parameters, as everything', () => {
  const deep = 1_000_000;
  const nest = '['.repeat(deep) + ']'.repeat(deep);
  refuses(utf8('['.repeat(deep)), /^not JSON/);
  refuses(utf8(nest), /./);
  refuses(utf8(`{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":${nest}}]}`), /./);
  refuses(utf8(`{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,1,1,1],"data":${nest}}]}`), /./);
  refuses(utf8('{"parameters":'.repeat(deep / 10)), /^not JSON/);
});

test('hostile: a long word in every field gives a short answer', () => {
  const long = 'x'.repeat(1_000_000);
  for (const body of [{ inputs: [{ ...input, datatype: long }] }, { inputs: [{ ...input, data: [long, 1] }] }, { inputs: long }, { inputs: [{ ...input, name: long }, { ...input, name: long }] }, long]) {
    assert.throws(() => decodeRequest(utf8(body)), (error) => isServeError(error) && error.message.length < 400);
  }
});

test('hostile: random mutations of a good message decode to well-formed tensors or are refused, never anything else', () => {
  const encoded = encodeRequest(namedTensors({
    a: { datatype: 'FP32', shape: [2, 2], data: [1, 2, 3, 4] }, s: { datatype: 'BYTES', shape: [2], data: ['x', 'yz'] }, b: { datatype: 'BOOL', shape: [1], data: [true] },
  }), { id: 'i', outputs: ['y'] });
  const good = joinEncoded(encoded);
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.integer({ min: -3, max: 3 }), (changes, shift) => {
    const bytes = new Uint8Array(good);
    for (const [at, value] of changes) bytes[at] = value;
    try {
      for (const { datatype, shape, data } of decodeRequest(bytes, encoded.jsonLength! + shift).inputs) {
        if (datatype !== 'BYTES') assert.equal(data.byteLength, shape.reduce((a, b) => a * b, 1) * elementBytes[datatype]);
      }
    } catch (error) {
      assert.ok(isServeError(error) && error.code === 'INVALID_ARGUMENT', String(error));
    }
  }), { numRuns: 3000 });
});
