import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { firstDifference } from '../../src/tensor/compare.js';
import { namedTensors } from '../../src/tensor/typed.js';
import type { TensorLike } from '../../src/tensor/typed.js';
import { misaligned, namedTensorList } from './arbitrary.js';

const difference = (actual: TensorLike, expected: TensorLike, tolerance = 1e-4): string | undefined =>
  firstDifference(namedTensors({ y: actual }), namedTensors({ y: expected }), tolerance);
const floats = (...data: number[]): TensorLike => ({ datatype: 'FP64', shape: [data.length], data });

test('compare: anything equals itself at tolerance 0, NaNs and misaligned bytes included', () => {
  fc.assert(fc.property(namedTensorList(), (tensors) => {
    assert.equal(firstDifference(tensors, tensors.map((tensor) => ({ ...tensor, data: misaligned(tensor.data) })).reverse(), 0), undefined);
  }));
});

test('compare: floats within tolerance * (1 + abs(expected))', () => {
  assert.equal(difference(floats(1.5), floats(1), 0.25), undefined);
  assert.equal(difference(floats(1.5000001), floats(1), 0.25), 'y[0]: 1.5000001, expected 1 (tolerance 0.25)');
  // Relative to the expected value, not to the actual one.
  assert.notEqual(difference(floats(1.375), floats(0), 0.5), undefined);
  assert.equal(difference(floats(0), floats(1), 0.5), undefined);
  assert.equal(difference(floats(0), floats(-0), 0), undefined);
});

test('compare: NaN equals only NaN, an infinity only itself', () => {
  assert.equal(difference(floats(NaN, Infinity), floats(NaN, Infinity)), undefined);
  for (const [a, b] of [[NaN, 1], [1, NaN], [Infinity, -Infinity], [1, Infinity], [Infinity, 1], [NaN, Infinity]] as const) {
    assert.match(difference(floats(7, a), floats(7, b), 1e9) ?? 'equal', /^y\[1\]: /, `${a} ${b}`);
  }
});

test('compare: FP16, BF16 and FP32 are judged as numbers', () => {
  for (const datatype of ['FP16', 'BF16', 'FP32'] as const) {
    assert.equal(difference({ datatype, shape: [1], data: [1] }, { datatype, shape: [1], data: [1.0078125] }, 0.01), undefined);
    assert.notEqual(difference({ datatype, shape: [1], data: [1] }, { datatype, shape: [1], data: [2] }, 0.01), undefined);
  }
});

test('compare: integers, booleans and BYTES are exact whatever the tolerance', () => {
  assert.equal(difference({ datatype: 'INT64', shape: [1], data: [2n ** 60n] }, { datatype: 'INT64', shape: [1], data: [2n ** 60n + 1n] }, 10),
    'y[0]: 1152921504606846976, expected 1152921504606846977');
  assert.equal(difference({ datatype: 'UINT8', shape: [2], data: [1, 2] }, { datatype: 'UINT8', shape: [2], data: [1, 3] }, 10), 'y[1]: 2, expected 3');
  assert.equal(difference({ datatype: 'BOOL', shape: [1], data: [true] }, { datatype: 'BOOL', shape: [1], data: [false] }, 10), 'y[0]: 1, expected 0');
  assert.equal(difference({ datatype: 'BYTES', shape: [1], data: ['a'] }, { datatype: 'BYTES', shape: [1], data: ['b'] }, 10), 'y[0]: "a", expected "b"');
});

test('compare: names, types, shapes', () => {
  const one = floats(1);
  assert.equal(firstDifference(namedTensors({ a: one }), namedTensors({ b: one }), 0), 'b is missing');
  assert.equal(firstDifference(namedTensors({ a: one, b: one }), namedTensors({ b: one }), 0), 'a was not expected');
  assert.equal(firstDifference([...namedTensors({ a: one }), ...namedTensors({ a: one })], namedTensors({ a: one }), 0), '2 tensors, expected 1');
  assert.equal(difference({ datatype: 'FP32', shape: [1], data: [1] }, one), 'y is FP32, expected FP64');
  assert.equal(difference({ datatype: 'FP64', shape: [1, 1], data: [1] }, one), 'y has shape [1, 1], expected [1]');
});
