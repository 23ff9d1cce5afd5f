import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { freshMemory, recycleEveryMs, tooLarge, withSample } from '../../src/policy/memory.js';

const MiB = 1024 * 1024;

/** One look a second. @returns the second of the first finding and what it says */
function watch(mbAt: (second: number) => number, seconds: number, bytesMax = Infinity): { at: number; why: string } | undefined {
  let record = freshMemory(0);
  for (let second = 1; second <= seconds; second++) {
    const bytes = mbAt(second) * MiB;
    record = withSample(record, bytes, bytesMax, second * 1000);
    const why = tooLarge(record, bytes, bytesMax);
    if (why !== undefined) return { at: second, why };
  }
  return undefined;
}

test('bound: three looks in a row above it, and a single dip starts anew', () => {
  assert.deepEqual(watch((second) => (second < 10 ? 100 : 101), 60, 100 * MiB), { at: 12, why: 'memory: 101 MiB resident, bytesMax is 100 MiB' });
  assert.equal(watch((second) => (second % 3 === 0 ? 100 : 500), 600, 100 * MiB), undefined);
});

test('bound: exactly at it is within it, and unknown memory is no finding', () => {
  assert.equal(watch(() => 100, 600, 100 * MiB), undefined);
  assert.equal(watch(() => 0, 600, 1), undefined);
});

const hour = 3600;
const tame: Record<string, (second: number) => number> = {
  flat: () => 300,
  'a cache that fills up within the warm-up': (second) => Math.min(2000, 100 + 40 * second),
  'a cache that fills up slowly and stops below twofold': (second) => Math.min(550, 300 + second / 2),
  'garbage like saw teeth': (second) => 300 + 20 * (second % 25),
  'fast growth, given back every three minutes': (second) => 200 + 5 * (second % 180),
  'a leak too small to matter': (second) => 20 + second / 60,
  'one jump': (second) => (second < 600 ? 300 : 3000),
};
for (const [what, mbAt] of Object.entries(tame)) {
  test(`growth: ${what} is no finding in an hour`, () => assert.equal(watch(mbAt, hour), undefined));
}

const leaks: Record<string, [(second: number) => number, number]> = {
  'a fast leak': [(second) => 100 + 5 * second, 400],
  'a fast leak under saw teeth': [(second) => 100 + 5 * second + 40 * (second % 20), 400],
  'a slow leak': [(second) => 200 + second / 10, hour],
};
for (const [what, [mbAt, withinS]] of Object.entries(leaks)) {
  test(`growth: ${what} is found, not before it doubled`, () => {
    const found = watch(mbAt, withinS);
    assert.ok(found, 'not found');
    assert.match(found.why, /^memory: grows steadily, from \d+ MiB after the warm-up to \d+ MiB$/);
    assert.ok(mbAt(found.at) >= 2 * mbAt(90), `at ${found.at} s`);
  });
}

test('growth: memory that ever returns near its baseline within eight windows is never found', () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 100, max: 5000 }), { minLength: 20, maxLength: 20 }), fc.integer({ min: 0, max: 6 }), (peaks, phase) => {
    // Every seventh window touches the floor.
    assert.equal(watch((second) => ((Math.floor(second / 30) + phase) % 7 === 0 ? 100 : peaks[Math.floor(second / 30) % 20]!), 1800), undefined);
  }), { numRuns: 50, seed: 7 });
});

test('recycling: 10 s apart, doubling to 15 min while the new ones are too large when young', () => {
  assert.deepEqual([0, 1, 2, 3, 6, 7, 50].map(recycleEveryMs), [10_000, 20_000, 40_000, 80_000, 640_000, 900_000, 900_000]);
});
