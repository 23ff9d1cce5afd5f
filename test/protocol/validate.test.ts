import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isServeError } from '../../src/errors.js';
import type { ErrorCode } from '../../src/errors.js';
import { nearestName } from '../../src/protocol/nearest.js';
import { rawRequest, selectOutputs, validateInputs, validateOutputs } from '../../src/protocol/validate.js';
import type { Datatype, ModelMetadata, NamedTensor } from '../../src/tensor/datatype.js';
import { elementBytes, elementCount } from '../../src/tensor/datatype.js';
import { decodeBytes } from '../../src/tensor/bytes.js';

const metadata: ModelMetadata = {
  inputs: [{ name: 'image', datatype: 'FP32', shape: [-1, 3, -1] }, { name: 'scale', datatype: 'FP64', shape: [] }],
  outputs: [{ name: 'probabilities', datatype: 'FP32', shape: [-1, 10] }, { name: 'label', datatype: 'INT64', shape: [-1] }],
};
const tensor = (name: string, datatype: Datatype, shape: number[], bytes = elementCount(shape) * elementBytes[datatype]): NamedTensor =>
  ({ name, datatype, shape, data: new Uint8Array(bytes) });
const image = tensor('image', 'FP32', [1, 3, 4]);
const scale = tensor('scale', 'FP64', []);

function refuses(work: () => unknown, message: string | RegExp, code: ErrorCode = 'INVALID_ARGUMENT'): void {
  assert.throws(work, (error) => {
    assert.ok(isServeError(error), String(error));
    assert.equal(error.code, code);
    if (typeof message === 'string') assert.equal(error.message, message);
    else assert.match(error.message, message);
    return true;
  });
}

test('inputs that fit: any order, any size of a free dimension, also 0', () => {
  validateInputs([image, scale], metadata);
  validateInputs([scale, tensor('image', 'FP32', [0, 3, 7])], metadata);
});

const wrong: [string, NamedTensor[], string | RegExp][] = [
  ['unknown name, near', [tensor('imgae', 'FP32', [1, 3, 4]), scale], 'unknown input "imgae", did you mean "image"? (known: "image", "scale")'],
  ['unknown name, far', [image, scale, tensor('temperature', 'FP32', [1])], 'unknown input "temperature" (known: "image", "scale")'],
  ['missing', [image], 'missing input "scale"'],
  ['all missing', [], 'missing inputs "image", "scale"'],
  ['twice', [image, image, scale], 'input "image" comes twice'],
  ['datatype', [tensor('image', 'FP64', [1, 3, 4]), scale], 'input "image" is FP32, got FP64'],
  ['rank', [tensor('image', 'FP32', [3, 4]), scale], 'input "image" has the shape [-1, 3, -1] (-1 = any), got [3, 4]'],
  ['fixed dimension', [tensor('image', 'FP32', [1, 4, 4]), scale], 'input "image" has the shape [-1, 3, -1] (-1 = any), got [1, 4, 4]'],
  ['fixed dimension, smaller', [tensor('image', 'FP32', [1, 2, 4]), scale], 'input "image" has the shape [-1, 3, -1] (-1 = any), got [1, 2, 4]'],
  ['rank of a scalar', [image, tensor('scale', 'FP64', [1])], 'input "scale" has the shape [], got [1]'],
  ['byte length', [tensor('image', 'FP32', [1, 3, 4], 47), scale], 'input "image": FP32 [1, 3, 4] takes 48 bytes, got 47'],
  ['impossible shape', [tensor('image', 'FP32', [-5, 3, 4], 0), scale], 'input "image": shape[0]: -5 is not an integer >= 0'],
];
for (const [cell, inputs, message] of wrong) test(`inputs that do not fit: ${cell}`, () => refuses(() => validateInputs(inputs, metadata), message));

test('without metadata: anything well-formed, nothing else', () => {
  validateInputs([tensor('anything', 'BYTES', [0])], undefined);
  refuses(() => validateInputs([image, image], undefined), 'input "image" comes twice');
  refuses(() => validateInputs([tensor('x', 'FP32', [2], 7)], undefined), 'input "x": FP32 [2] takes 8 bytes, got 7');
  refuses(() => validateInputs([tensor('x', 'BYTES', [2], 7)], undefined), /^input "x": 2 BYTES elements need at least 8 bytes/);
});

test('element limit: named with size, limit and cure', () => {
  validateInputs([image, scale], metadata, { elementsMax: 12 });
  refuses(() => validateInputs([image, scale], metadata, { elementsMax: 11 }), 'input "image" has 12 elements, at most 11 are taken; send it in parts', 'PAYLOAD_TOO_LARGE');
});

test('outputs: all when none or an empty list is named, else those, in the caller\'s order', () => {
  assert.equal(selectOutputs(undefined, metadata), undefined);
  assert.equal(selectOutputs([], metadata), undefined);
  assert.deepEqual(selectOutputs([{ name: 'label' }, { name: 'probabilities' }], metadata), ['label', 'probabilities']);
  assert.deepEqual(selectOutputs([{ name: 'anything' }], undefined), ['anything']);
  refuses(() => selectOutputs([{ name: 'labels' }], metadata), 'unknown output "labels", did you mean "label"? (known: "probabilities", "label")');
  refuses(() => validateOutputs(['label', 'label'], metadata), 'output "label" is requested twice');
});

const only = (datatype: Datatype, shape: number[]): ModelMetadata => ({ inputs: [{ name: 'x', datatype, shape }], outputs: [] });

test('raw binary request: the shape is deduced from the length', () => {
  for (const [shape, bytes, wanted] of [[[2, 2], 16, [2, 2]], [[-1, 2], 24, [3, 2]], [[-1, -1], 12, [1, 3]], [[-1, 3, -1], 24, [1, 3, 2]], [[-1], 0, [0]], [[], 4, []]] as const) {
    const request = rawRequest(new Uint8Array(bytes), only('FP32', [...shape]));
    assert.deepEqual(request.inputs[0]!.shape, wanted);
    assert.equal(request.binaryOutputDefault, true);
  }
  const text = rawRequest(new Uint8Array([104, 105]), only('BYTES', [-1, 1])).inputs[0]!;
  assert.deepEqual([text.shape, decodeBytes(text.data, 1)], [[1, 1], [new Uint8Array([104, 105])]]);
});

test('raw binary request: refused when it cannot be deduced', () => {
  refuses(() => rawRequest(new Uint8Array(4), undefined), /needs an actor that declares its input/);
  refuses(() => rawRequest(new Uint8Array(4), metadata), 'a raw binary request needs an actor with one input, this one has "image", "scale"');
  refuses(() => rawRequest(new Uint8Array(4), only('FP32', [1, -1, -1])), /more than one free dimension/);
  refuses(() => rawRequest(new Uint8Array(4), only('FP32', [-1, -1, -1])), /more than one free dimension/);
  refuses(() => rawRequest(new Uint8Array(7), only('FP32', [-1])), 'input "x": FP32 [1] takes 4 bytes, got 7');
  refuses(() => rawRequest(new Uint8Array(8), only('FP32', [1])), 'input "x": FP32 [1] takes 4 bytes, got 8');
  refuses(() => rawRequest(new Uint8Array(8), only('FP32', [-1, 0])), /takes 0 bytes, got 8/);
  refuses(() => rawRequest(new Uint8Array(8), only('BYTES', [2])), 'input "x" has the shape [2]: a raw request carries exactly one BYTES element');
});

test('nearest name: typing errors are found, strangers are not, long names cost no more than short ones', () => {
  const known = ['input_ids', 'attention_mask', 'x'];
  assert.equal(nearestName('inputs_id', known), 'input_ids');
  assert.equal(nearestName('Attention_Mask', known), 'attention_mask');
  assert.equal(nearestName('y', known), 'x');
  assert.equal(nearestName('pixel_values', known), undefined);
  assert.equal(nearestName('q'.repeat(1_000_000), known), undefined);
  assert.equal(nearestName('a', []), undefined);
});
