import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeBytes } from '../../src/tensor/bytes.js';
import type { Datatype } from '../../src/tensor/datatype.js';
import { checkTensor, fromTyped, namedTensors, TensorError, text, toTyped, typedRecord } from '../../src/tensor/typed.js';
import type { TensorLike } from '../../src/tensor/typed.js';
import { datatypes, misaligned, tensors } from './arbitrary.js';

const refuses = (value: unknown, message: RegExp): void => {
  assert.throws(() => fromTyped(value as TensorLike), (error) => error instanceof TensorError && message.test(error.message) || assert.fail(String(error)));
};

test('round trip: toTyped then fromTyped keeps every bit of every datatype and shape, aligned or not', () => {
  fc.assert(fc.property(tensors(), fc.boolean(), (tensor, moved) => {
    const data = moved ? misaligned(tensor.data) : tensor.data;
    const back = fromTyped(toTyped({ ...tensor, data }));
    assert.deepEqual(back, tensor);
  }), { numRuns: 500 });
});

test('toTyped: a view of the same memory when aligned, a copy when not', () => {
  const data = new Uint8Array(new Float32Array([1, 2, 3]).buffer);
  const view = toTyped({ datatype: 'FP32', shape: [3], data });
  assert.equal(view.data instanceof Float32Array && view.data.buffer, data.buffer);
  const copy = toTyped({ datatype: 'FP32', shape: [3], data: misaligned(data) });
  assert.deepEqual(copy.data, new Float32Array([1, 2, 3]));
});

test('fromTyped: the right typed array is not copied', () => {
  const arrays: [Datatype, NodeJS.TypedArray][] = [
    ['BOOL', new Uint8Array(2)], ['UINT8', new Uint8Array(2)], ['UINT16', new Uint16Array(2)], ['UINT32', new Uint32Array(2)],
    ['UINT64', new BigUint64Array(2)], ['INT8', new Int8Array(2)], ['INT16', new Int16Array(2)], ['INT32', new Int32Array(2)],
    ['INT64', new BigInt64Array(2)], ['FP16', new Uint16Array(2)], ['FP32', new Float32Array(2)], ['FP64', new Float64Array(2)],
    ['BF16', new Uint16Array(2)],
  ];
  assert.equal(arrays.length, datatypes.length - 1);
  for (const [datatype, data] of arrays) {
    assert.equal(fromTyped({ datatype, shape: [2], data }).data.buffer, data.buffer, datatype);
    assert.equal(toTyped(fromTyped({ datatype, shape: [2], data })).data.constructor, data.constructor, datatype);
  }
});

test('fromTyped: plain values', () => {
  const cases: [TensorLike, number[]][] = [
    [{ datatype: 'BOOL', shape: [3], data: [true, false, true] }, [1, 0, 1]],
    [{ datatype: 'INT16', shape: [2], data: [-1, 256] }, [255, 255, 0, 1]],
    [{ datatype: 'INT64', shape: [1], data: [-(2n ** 63n)] }, [0, 0, 0, 0, 0, 0, 0, 128]],
    [{ datatype: 'UINT64', shape: [], data: [7] }, [7, 0, 0, 0, 0, 0, 0, 0]],
    [{ datatype: 'FP16', shape: [2], data: [1, -2] }, [0, 0x3c, 0, 0xc0]],
    [{ datatype: 'FP16', shape: [1], data: new Float32Array([1]) }, [0, 0x3c]],
    [{ datatype: 'BF16', shape: [1], data: [1] }, [0x80, 0x3f]],
    [{ datatype: 'BYTES', shape: [2], data: ['é', ''] }, [2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0]],
    [{ datatype: 'BYTES', shape: [1], data: [new Uint8Array([255])] }, [1, 0, 0, 0, 255]],
    [{ datatype: 'FP32', shape: [0, 5], data: [] }, []],
  ];
  for (const [value, bytes] of cases) assert.deepEqual([...fromTyped(value).data], bytes, JSON.stringify(value.shape) + value.datatype);
});

test('fromTyped: bounds of every integer type are taken, one more is refused', () => {
  for (const [datatype, low, high] of [
    ['UINT8', 0n, 255n], ['UINT16', 0n, 65535n], ['UINT32', 0n, 2n ** 32n - 1n], ['UINT64', 0n, 2n ** 64n - 1n],
    ['INT8', -128n, 127n], ['INT16', -32768n, 32767n], ['INT32', -(2n ** 31n), 2n ** 31n - 1n], ['INT64', -(2n ** 63n), 2n ** 63n - 1n],
  ] as const) {
    const typed = toTyped(fromTyped({ datatype, shape: [2], data: [low, high] }));
    assert.deepEqual(Array.from(typed.data as unknown as ArrayLike<number | bigint>, BigInt), [low, high]);
    refuses({ datatype, shape: [1], data: [low - 1n] }, new RegExp(`^data\\[0\\]: ${low - 1n} does not fit ${datatype}$`));
    refuses({ datatype, shape: [2], data: [low, high + 1n] }, new RegExp(`^data\\[1\\]: ${high + 1n} does not fit ${datatype}$`));
  }
});

test('fromTyped: what is wrong is named', () => {
  refuses({ datatype: 'FP31', shape: [1], data: [1] }, /^unknown datatype "FP31"$/);
  refuses({ datatype: 'toString', shape: [1], data: [1] }, /^unknown datatype/);
  refuses({ datatype: 'UINT8', shape: [1], data: [300] }, /^data\[0\]: 300 does not fit UINT8$/);
  refuses({ datatype: 'UINT8', shape: [1], data: [1.5] }, /^data\[0\]: 1.5 is no integer, UINT8 wants one$/);
  refuses({ datatype: 'INT64', shape: [1], data: [2 ** 53] }, /beyond 2\^53/);
  refuses({ datatype: 'FP32', shape: [1], data: [1e39] }, /^data\[0\]: 1e\+39 does not fit FP32$/);
  refuses({ datatype: 'FP16', shape: [1], data: [65520] }, /^data\[0\]: 65520 does not fit FP16$/);
  refuses({ datatype: 'FP32', shape: [1], data: ['1'] }, /^data\[0\]: "1" is no number/);
  refuses({ datatype: 'BOOL', shape: [1], data: [2] }, /^data\[0\]: 2 is no BOOL/);
  refuses({ datatype: 'BOOL', shape: [1], data: new Uint8Array([2]) }, /^BOOL element 0: 2 is neither 0 nor 1$/);
  refuses({ datatype: 'BYTES', shape: [1], data: [1] }, /^data\[0\]: a BYTES element is a string or a Uint8Array$/);
  refuses({ datatype: 'FP32', shape: [1], data: new Float64Array(1) }, /^data: FP32 wants a Float32Array, got a Float64Array$/);
  refuses({ datatype: 'FP32', shape: [1], data: new DataView(new ArrayBuffer(4)) }, /got a DataView$/);
  refuses({ datatype: 'BYTES', shape: [1], data: new Float32Array(1) }, /^data: BYTES wants an array, got a Float32Array$/);
  refuses({ datatype: 'FP32', shape: [2], data: new Float32Array(1) }, /^FP32 \[2\] takes 8 bytes, got 4$/);
  refuses({ datatype: 'FP32', shape: [2], data: [1] }, /^data: shape \[2\] takes 2 elements, got 1$/);
  refuses({ datatype: 'FP32', shape: [1], data: 7 }, /^data: FP32 wants an array, got 7$/);
  refuses({ datatype: 'FP32', shape: 3, data: [] }, /^shape must be an array/);
  refuses({ datatype: 'FP32', shape: [2, -1], data: [] }, /^shape\[1\]: -1 is not an integer >= 0$/);
  refuses({ datatype: 'FP32', shape: [1.5], data: [] }, /^shape\[0\]: 1.5/);
  refuses({ datatype: 'FP32', shape: ['2'], data: [] }, /^shape\[0\]: "2"/);
  refuses({ datatype: 'FP32', shape: [2 ** 30, 2 ** 30], data: [] }, /more elements than can exist/);
  refuses({ datatype: 'FP32', shape: new Array(65).fill(1), data: [1] }, /65 dimensions/);
});

test('shape: a zero dimension makes everything empty, whatever the others claim', () => {
  assert.equal(checkTensor({ datatype: 'FP64', shape: [2 ** 52, 2 ** 52, 0], data: new Uint8Array(0) }), 0);
});

test('namedTensors and typedRecord: by name, errors begin with the name', () => {
  const named = namedTensors({ x: { datatype: 'INT8', shape: [2], data: [1, -1] }, s: { datatype: 'BYTES', shape: [1], data: ['ü'] } });
  assert.deepEqual(named.map(({ name }) => name), ['x', 's']);
  const typed = typedRecord(named);
  assert.deepEqual(typed['x']!.data, new Int8Array([1, -1]));
  assert.deepEqual(text(named[1]!), ['ü']);
  assert.throws(() => namedTensors({ x: { datatype: 'INT8', shape: [1], data: [128] } }), /^TensorError: x: data\[0\]: 128 does not fit INT8$/);
});

test('text: only BYTES, only UTF-8', () => {
  assert.throws(() => text({ datatype: 'UINT8', shape: [1], data: new Uint8Array(1) }), /text wants a BYTES tensor, got UINT8/);
  assert.throws(() => text({ datatype: 'BYTES', shape: [1], data: encodeBytes([new Uint8Array([0xff])]) }), /BYTES element 0 is not UTF-8/);
});
