import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { batchKey, concat, joinInputs, rowsOf, split, splitOutputs } from '../../src/tensor/batch.js';
import type { NamedTensor, Tensor } from '../../src/tensor/datatype.js';
import { fromTyped, namedTensors } from '../../src/tensor/typed.js';
import { datatypeArbitrary, misaligned, tensorOf } from './arbitrary.js';

const parts = fc.tuple(datatypeArbitrary, fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 4 }), fc.nat(), fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 4 }))
  .chain(([datatype, shape, pick, rows]) => {
    const axis = pick % shape.length;
    return fc.tuple(fc.constant(axis), fc.constant(rows), fc.tuple(...rows.map((count) => tensorOf(datatype, shape.with(axis, count)))));
  });

test('concat then split: every bit comes back, any datatype, shape, axis and rows', () => {
  fc.assert(fc.property(parts, ([axis, rows, tensors]) => {
    const joined = concat(tensors.map((tensor) => ({ ...tensor, data: misaligned(tensor.data) })), axis);
    assert.deepEqual(split(joined, axis, rows), tensors);
  }), { numRuns: 1000 });
});

test('concat: along an inner axis the parts interleave', () => {
  const a = fromTyped({ datatype: 'UINT8', shape: [2, 1], data: [1, 2] });
  const b = fromTyped({ datatype: 'UINT8', shape: [2, 2], data: [3, 4, 5, 6] });
  assert.deepEqual(concat([a, b], 1), fromTyped({ datatype: 'UINT8', shape: [2, 3], data: [1, 3, 4, 2, 5, 6] }));
  const s = fromTyped({ datatype: 'BYTES', shape: [2, 1], data: ['a', 'bb'] });
  assert.deepEqual(concat([s, s], 1), fromTyped({ datatype: 'BYTES', shape: [2, 2], data: ['a', 'a', 'bb', 'bb'] }));
});

test('split: along the outermost axis the parts are views', () => {
  const tensor = fromTyped({ datatype: 'FP32', shape: [3, 2], data: new Float32Array(6) });
  for (const part of split(tensor, 0, [1, 2])) assert.equal(part.data.buffer, tensor.data.buffer);
});

test('concat refuses other types, ranks, dimensions, axes; split refuses rows that do not add up', () => {
  const tensor = (shape: number[], datatype: 'UINT8' | 'INT8' = 'UINT8'): Tensor => ({ datatype, shape, data: new Uint8Array(shape.reduce((a, b) => a * b, 1)) });
  for (const [a, b, axis] of [
    [tensor([2]), tensor([2], 'INT8'), 0], [tensor([2]), tensor([2, 1]), 0], [tensor([1, 2]), tensor([1, 3]), 0],
    [tensor([2]), tensor([2]), 1], [tensor([]), tensor([]), 0], [tensor([2]), tensor([2]), -1],
  ] as [Tensor, Tensor, number][]) assert.throws(() => concat([a, b], axis), /do not join along axis/);
  assert.throws(() => concat([], 0), /nothing to concatenate/);
  assert.throws(() => split(tensor([3]), 0, [1, 1]), /shape \[3\] does not have the batch's 2 rows along axis 0/);
});

const request = (rows: number, fill: number): NamedTensor[] => namedTensors({
  x: { datatype: 'UINT8', shape: [rows, 2], data: new Uint8Array(rows * 2).fill(fill) },
  t: { datatype: 'UINT8', shape: [3, rows], data: new Uint8Array(rows * 3).fill(fill) },
  mode: { datatype: 'FP32', shape: [], data: [0.5] },
});
const axes = { t: 1, mode: null };

test('joinInputs: an axis per tensor, null is shared', () => {
  const { inputs, rows } = joinInputs([request(1, 1), request(2, 2)], axes);
  assert.deepEqual(rows, [1, 2]);
  assert.deepEqual(inputs.map(({ shape }) => shape), [[3, 2], [3, 3], []]);
  assert.deepEqual([...inputs[1]!.data], [1, 2, 2, 1, 2, 2, 1, 2, 2]);
  assert.deepEqual(splitOutputs(inputs, axes, rows), [request(1, 1), request(2, 2)]);
});

test('joinInputs: a single request goes through untouched', () => {
  const only = request(2, 1);
  const { inputs, rows } = joinInputs([only], axes);
  assert.equal(inputs, only);
  assert.deepEqual(splitOutputs(only, axes, rows), [only]);
});

test('joinInputs refuses different shared bytes, names, and inputs that disagree on rows', () => {
  const other = request(1, 1).map((tensor) => (tensor.name === 'mode' ? { ...tensor, data: new Uint8Array(4) } : tensor));
  assert.throws(() => joinInputs([request(1, 1), other], axes), /different bytes for a shared input/);
  assert.throws(() => joinInputs([request(1, 1), request(1, 1).slice(1)], axes), /name different inputs/);
  assert.throws(() => joinInputs([request(1, 1), request(1, 1).slice(0, 2)], axes), /name different inputs/);
  assert.throws(() => rowsOf([...request(1, 1), ...request(2, 1)], axes), /x: 2 rows along axis 0, other inputs bring 1/);
  assert.throws(() => rowsOf(request(3, 1), {}), /mode: shape \[\] has no axis 0/);
  assert.throws(() => joinInputs([], axes), /at least one/);
});

test('batchKey: equal for equal shapes and shared bytes, else different', () => {
  const key = batchKey(request(1, 1), axes);
  assert.equal(batchKey(request(1, 9), axes), key);
  assert.notEqual(batchKey(request(2, 1), axes), key);
  assert.notEqual(batchKey(request(1, 1).map((tensor) => (tensor.name === 'mode' ? { ...tensor, data: new Uint8Array(4) } : tensor)), axes), key);
});

test('axes: names from Object.prototype are names like any other', () => {
  const inputs: NamedTensor[] = [{ name: 'constructor', datatype: 'UINT8', shape: [1], data: new Uint8Array(1) }];
  assert.deepEqual(joinInputs([inputs, inputs], {}).rows, [1, 1]);
});
