import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkBytes, decodeBytes, encodeBytes } from '../../src/tensor/bytes.js';

test('BYTES round trip: any bytes, any count', () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (elements) => {
    assert.deepEqual(decodeBytes(encodeBytes(elements), elements.length), elements);
  }));
});

test('BYTES elements are views into the tensor', () => {
  const data = encodeBytes(['abc']);
  assert.equal(decodeBytes(data, 1)[0]!.buffer, data.buffer);
});

test('BYTES: cut at any byte, or with bytes appended, is refused', () => {
  const data = encodeBytes(['abc', '', 'de']);
  for (let length = 0; length < data.length; length++) assert.throws(() => checkBytes(data.subarray(0, length), 3), /TensorError/, `cut at ${length}`);
  assert.throws(() => checkBytes(new Uint8Array([...data, 0]), 3), /1 bytes follow the last of 3 BYTES elements/);
  assert.throws(() => checkBytes(data, 2), /6 bytes follow the last of 2/);
});

test('BYTES: lengths past the end and counts without bytes are refused before anything is allocated', () => {
  assert.throws(() => decodeBytes(new Uint8Array([255, 255, 255, 255, 1]), 1), /claims 4294967295 bytes, 1 are left/);
  assert.throws(() => decodeBytes(new Uint8Array(8), 2 ** 40), /need at least/);
});
