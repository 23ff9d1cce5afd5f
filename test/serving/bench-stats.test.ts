/** The arithmetic under every number of `npm run bench`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { generateLoad } from '../bench/load.js';
import { parseOptions } from '../bench/options.js';
import { paired, quantile, spreadOf, verdict } from '../bench/stats.js';

test('quantile: between neighbours, the ends at 0 and 1, NaN of nothing', () => {
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([4, 1, 2, 3], 0.5), 2.5);
  assert.equal(quantile([10, 9], 0), 9);
  assert.equal(quantile([10, 9], 1), 10);
  assert.equal(quantile([7], 0.99), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test('quantile: any order of the values gives the same, and a larger fraction never less', () => {
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });
  fc.assert(fc.property(fc.array(finite, { minLength: 1 }), finite, finite, (values, a, b) => {
    const [low, high] = [Math.min(Math.abs(a), Math.abs(b)) / 1e6, Math.max(Math.abs(a), Math.abs(b)) / 1e6];
    assert.equal(quantile(values, low), quantile([...values].reverse(), low));
    // Interpolating between two equal doubles may lose the last bit.
    assert.ok(quantile(values, low) <= quantile(values, high) + 1e-9);
  }));
});

test('spread: one stalled round moves neither median nor quartiles much', () => {
  assert.deepEqual(spreadOf([1, 2, 3, 4, 5]), { median: 3, low: 2, high: 4 });
  assert.deepEqual(spreadOf([1, 2, 3, 4, 5000]), { median: 3, low: 2, high: 4 });
});

test('paired: round by round, and a round one side lacks is left out', () => {
  assert.deepEqual(paired([4, undefined, 9, 8], [2, 5, 3], (a, b) => a / b), [2, 3]);
  assert.deepEqual(paired([], [1], (a, b) => a - b), []);
});

for (const [wanted, below, above] of [['at most', 'met', 'missed'], ['at least', 'missed', 'met']] as const) {
  test(`verdict: ${wanted}: the middle half on one side decides, across the limit it is noise`, () => {
    assert.equal(verdict({ low: 1, median: 2, high: 2.9 }, 3, wanted), below);
    assert.equal(verdict({ low: 3.1, median: 4, high: 5 }, 3, wanted), above);
    assert.equal(verdict({ low: 2, median: 3.1, high: 4 }, 3, wanted), 'within noise');
  });
}

test('load: never more callers than ordered, and every answer is counted', async () => {
  let waiting = 0;
  let most = 0;
  let asked = 0;
  const result = await generateLoad({ concurrency: 4, durationMs: 20 }, async () => {
    asked++;
    most = Math.max(most, ++waiting);
    await new Promise((resolve) => setImmediate(resolve));
    waiting--;
  });
  assert.equal(most, 4);
  assert.equal(result.requests, asked);
  assert.ok(asked >= 8);
  assert.ok(result.latenciesMs.length > 0 && result.latenciesMs.length <= asked);
  assert.ok(result.perSecond > 0);
});

test('load: one request that fails fails the slice', async () => {
  await assert.rejects(generateLoad({ concurrency: 2, durationMs: 10_000 }, () => Promise.reject(new Error('no answer'))), /no answer/);
});

test('options: a chosen row brings its baselines, an unknown one is refused by name', () => {
  const { plans } = parseOptions(['--quick', '--only', 'rec x2 nats'], 2);
  assert.deepEqual(plans.map(({ model, replicas, paths }) => ({ model, replicas, paths })), [{ model: 'ocr-rec', replicas: 2, paths: ['raw', 'nats', 'echo'] }]);
  assert.equal(plans[0]!.intraOpThreads, 1);
  assert.throws(() => parseOptions(['--only', 'no-such-row'], 2), /no-such-row/);
  assert.throws(() => parseOptions(['--rounds', 'x'], 2), /--rounds x/);
  assert.throws(() => parseOptions(['--fast'], 2), /--fast/);
});
