import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { fastHash, fingerprint } from '../../src/tensor/digest.js';
import { misaligned, namedTensorList } from './arbitrary.js';

test('fingerprint: the same for any order and any alignment', () => {
  fc.assert(fc.property(namedTensorList(), (tensors) => {
    const moved = tensors.map((tensor) => ({ ...tensor, data: misaligned(tensor.data) })).reverse();
    assert.match(fingerprint(tensors), /^[0-9a-f]{32}$/);
    assert.equal(fingerprint(moved), fingerprint(tensors));
  }));
});

test('fingerprint: every single bit of 100 bytes matters, 800 flips give 800 fingerprints', () => {
  const data = new Uint8Array(100);
  const seen = new Set<string>();
  for (let bit = 0; bit < 800; bit++) {
    data[bit >> 3]! ^= 1 << (bit & 7);
    seen.add(fingerprint([{ name: 'x', datatype: 'UINT8', shape: [100], data }]));
    data[bit >> 3]! ^= 1 << (bit & 7);
  }
  seen.add(fingerprint([{ name: 'x', datatype: 'UINT8', shape: [100], data }]));
  assert.equal(seen.size, 801);
});

test('fingerprint: names, datatypes, shapes and where one tensor ends are part of it', () => {
  const data = new Uint8Array(4);
  const sets: NamedTensor[][] = [
    [], [{ name: 'x', datatype: 'UINT8', shape: [4], data }], [{ name: 'y', datatype: 'UINT8', shape: [4], data }],
    [{ name: 'x', datatype: 'INT8', shape: [4], data }], [{ name: 'x', datatype: 'UINT8', shape: [2, 2], data }],
    [{ name: 'x', datatype: 'UINT8', shape: [0], data: data.subarray(4) }, { name: 'y', datatype: 'UINT8', shape: [4], data }],
    [{ name: 'x', datatype: 'UINT8', shape: [4], data }, { name: 'y', datatype: 'UINT8', shape: [0], data: data.subarray(4) }],
    ...[1, 2, 3, 15, 16, 17, 31, 32].map((length): NamedTensor[] => [{ name: 'z', datatype: 'UINT8', shape: [length], data: new Uint8Array(length) }]),
  ];
  assert.equal(new Set(sets.map((set) => fingerprint(set))).size, sets.length);
});

test('fingerprint: takes a cryptographic hash of the same sequence', () => {
  const sha256 = (chunks: readonly Uint8Array[]): string => {
    const hash = createHash('sha256');
    for (const chunk of chunks) hash.update(chunk);
    return hash.digest('hex');
  };
  const tensor: NamedTensor = { name: 'x', datatype: 'UINT8', shape: [3], data: new Uint8Array(3) };
  assert.match(fingerprint([tensor], sha256), /^[0-9a-f]{64}$/);
  assert.notEqual(fingerprint([tensor], sha256), fingerprint([{ ...tensor, name: 'xx' }], sha256));
});

test('fastHash: zeros of every length differ, and so do the same bytes cut into other chunks', () => {
  const hashes = Array.from({ length: 40 }, (_, length) => fastHash([new Uint8Array(length)]));
  const cuts = [[], [0], [0, 0], [20, 20], [10, 30]].map((lengths) => fastHash(lengths.map((length) => new Uint8Array(length))));
  assert.equal(new Set([...hashes, ...cuts]).size, hashes.length + cuts.length - 1, 'only one empty chunk is there twice');
});
