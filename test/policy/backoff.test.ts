import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { budgetReachable, delayCapMs, delayMs, failuresAt } from '../../src/policy/backoff.js';

const backoff = { minMs: 500, maxMs: 30_000, factor: 2, jitter: 0.2 };

test('delays without chance: 0, 0, then doubling from minMs to the cap', () => {
  const delays = Array.from({ length: 11 }, (_, failures) => delayMs(backoff, failures, 0));
  assert.deepEqual(delays, [0, 0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test('no backoff configured: never a delay', () => {
  for (let failures = 0; failures < 100; failures += 1) assert.equal(delayMs(undefined, failures, 0.5), 0);
});

test('jitter takes away at most its share and never adds', () => {
  fc.assert(fc.property(
    fc.record({
      minMs: fc.integer({ min: 0, max: 10_000 }), maxMs: fc.integer({ min: 0, max: 100_000 }),
      factor: fc.double({ min: 1, max: 100, noNaN: true }), jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.integer({ min: 0, max: 5000 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (any, failures, chance) => {
      const cap = delayCapMs(any, failures);
      const delay = delayMs(any, failures, chance);
      assert.ok(Number.isFinite(delay) && delay >= 0);
      assert.ok(cap <= any.maxMs && delay <= cap);
      assert.ok(delay >= cap * (1 - any.jitter) - 1e-6);
      assert.ok(delayCapMs(any, failures + 1) >= cap, 'caps never shrink');
    }));
});

test('failures are forgotten only after resetAfterMs of unbroken readiness', () => {
  assert.equal(failuresAt({ failures: 4, readySince: undefined }, 1e9, 1000), 4);
  assert.equal(failuresAt({ failures: 4, readySince: 100 }, 1099, 1000), 4);
  assert.equal(failuresAt({ failures: 4, readySince: 100 }, 1100, 1000), 0);
});

test('reachable: the defaults of a pool, whatever its size', () => {
  for (let replicas = 1; replicas <= 64; replicas += 1) {
    const limits = { intensity: Math.max(5, 3 * replicas), periodMs: 60_000, backoff };
    assert.deepEqual(budgetReachable(limits, replicas), { ok: true }, `${replicas} replicas`);
  }
});

test('reachable: the sum of the first intensity delays against the period, bound included', () => {
  const plain = { minMs: 100, maxMs: 100, factor: 1, jitter: 0 };
  // Three attempts: 0 + 100 + 100.
  assert.equal(budgetReachable({ intensity: 3, periodMs: 201, backoff: plain }).ok, true);
  assert.equal(budgetReachable({ intensity: 3, periodMs: 200, backoff: plain }).ok, false);
  const message = budgetReachable({ intensity: 9, periodMs: 60_000, backoff });
  assert.ok(!message.ok);
  assert.match(message.message, /^budget_unreachable: .* 9 .*61500 ms, periodMs is 60000/);
});

test('reachable: no backoff, intensity 0, intensity Infinity, and a huge intensity ends quickly', () => {
  assert.equal(budgetReachable({ intensity: 1e9, periodMs: 1 }).ok, true);
  assert.equal(budgetReachable({ intensity: 0, periodMs: 1, backoff }).ok, true);
  assert.equal(budgetReachable({ intensity: Infinity, periodMs: 1, backoff }).ok, true);
  assert.equal(budgetReachable({ intensity: 1e9, periodMs: 60_000, backoff }).ok, false);
});

test('reachable agrees with counting: a child that fails at once hits the budget or never does', () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 12 }), fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 3 }),
    (intensity, periodMs, minMs, factor) => {
      const own = { minMs, maxMs: 5000, factor, jitter: 0 };
      // Times of the failures when each attempt fails at once; the last of intensity + 1 in a row has to see the first.
      let now = 0;
      for (let k = 1; k <= intensity; k += 1) now += delayMs(own, k, 0);
      assert.equal(budgetReachable({ intensity, periodMs, backoff: own }).ok, now < periodMs);
    }));
});
