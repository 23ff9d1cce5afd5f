import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BEAT_BYTES_MAX, decodeBeat, encodeBeat, type Beat } from '../../src/protocol/beat.js';

const count = fc.maxSafeNat();
const ulid = fc.ulid();
const beats: fc.Arbitrary<Beat> = fc.record(
  { incarnation: ulid, sequence: count, load: count, stateVersion: count, storeSequence: count, draining: fc.constant(true), leaving: fc.constant(true) },
  { requiredKeys: ['incarnation', 'sequence', 'load', 'stateVersion', 'storeSequence'] },
);
const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const good = { incarnation: '01ARZ3NDEKTSV4RRFFQ69G5FAV', sequence: 1, load: 2, stateVersion: 3, storeSequence: 4 };

test('a beat comes back as it was sent, whatever it counts, and stays within its bytes', () => {
  fc.assert(fc.property(beats, (beat) => {
    const bytes = encodeBeat(beat);
    assert.ok(bytes.length <= BEAT_BYTES_MAX);
    assert.deepEqual(decodeBeat(bytes), { ...beat });
  }));
  const max = Number.MAX_SAFE_INTEGER;
  const largest = { incarnation: '7ZZZZZZZZZZZZZZZZZZZZZZZZZ', sequence: max, load: max, stateVersion: max, storeSequence: max, draining: true, leaving: true };
  assert.ok(encodeBeat(largest).length <= BEAT_BYTES_MAX);
  assert.deepEqual(decodeBeat(encodeBeat(largest)), largest);
});

test('what is no beat is undefined: field by field', () => {
  assert.deepEqual(decodeBeat(bytesOf(good)), good);
  for (const name of Object.keys(good)) {
    const { [name]: _, ...without } = good as Record<string, unknown>;
    assert.equal(decodeBeat(bytesOf(without)), undefined, `without ${name}`);
    for (const wrong of [null, -1, 1.5, '1', [], {}, 2 ** 53]) assert.equal(decodeBeat(bytesOf({ ...good, [name]: wrong })), undefined, `${name}: ${JSON.stringify(wrong)}`);
  }
  for (const flag of ['draining', 'leaving']) assert.equal(decodeBeat(bytesOf({ ...good, [flag]: 1 })), undefined);
  assert.equal(decodeBeat(bytesOf({ ...good, incarnation: good.incarnation.toLowerCase() })), undefined);
  for (const wrong of [null, 3, 'beat', [good]]) assert.equal(decodeBeat(bytesOf(wrong)), undefined);
});

test('bytes that are no JSON, no UTF-8 or too many are undefined, unknown fields are passed over', () => {
  assert.equal(decodeBeat(new Uint8Array()), undefined);
  assert.equal(decodeBeat(new Uint8Array([0xff, 0xfe])), undefined);
  assert.equal(decodeBeat(encodeBeat(good).slice(0, -1)), undefined);
  assert.deepEqual(decodeBeat(bytesOf({ ...good, later: 1 })), good);
  assert.equal(decodeBeat(bytesOf({ ...good, later: 'x'.repeat(BEAT_BYTES_MAX) })), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => { assert.equal(decodeBeat(bytes), undefined); }));
});
