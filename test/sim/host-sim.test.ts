/**
 * One host in a few hundred simulated worlds, with faults from a seed, held against its invariants; and the same with
 * rules broken on purpose, each of which must be caught. `npm run sim -- --seed N` replays a failing seed in full.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { check } from './invariants.js';
import { hunt, mutants } from './mutants.js';
import { faultKinds } from './plan.js';
import { lineOf } from './record.js';
import { simulate } from './world.js';

const SEEDS = 120;

describe('one host, simulated', () => {
  test(`${SEEDS} seeds: no invariant is broken, every kind of fault bites`, { timeout: 120_000 }, async () => {
    const bites = new Set<string>();
    let unhurt = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await simulate(seed);
      const violations = check(run);
      assert.deepEqual(violations.slice(0, 5), [], `seed ${seed}: replay it with  npm run sim -- --seed ${seed}`);
      const bitten = run.entries.filter((entry) => entry.type === 'fault' && entry.bit);
      for (const entry of bitten) if (entry.type === 'fault') bites.add(entry.kind);
      if (bitten.length === 0) unhurt++;
    }
    assert.deepEqual(faultKinds.filter((kind) => !bites.has(kind)), [], 'kinds of faults that never bit');
    assert.ok(unhurt * 20 <= SEEDS, `in ${unhurt} of ${SEEDS} runs no fault bit`);
  });

  test('the same seed is the same run, event by event', async () => {
    for (const seed of [3, 17]) {
      const [one, two] = [await simulate(seed), await simulate(seed)];
      assert.deepEqual(one.entries.map(lineOf), two.entries.map(lineOf), `seed ${seed}`);
    }
  });
});

describe('a rule broken on purpose is caught', () => {
  for (const target of mutants) {
    test(target.name, { timeout: 120_000 }, async (context) => {
      const caught = await hunt(target);
      assert.ok(caught, `${target.seedsMax} seeds did not betray it`);
      context.diagnostic(`seed ${caught.seed}, by ${caught.by.join(', ')}: ${caught.detail}`);
    });
  }
});
