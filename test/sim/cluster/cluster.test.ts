/**
 * Clusters of three to five hosts in simulated worlds, with faults from a seed, held against their invariants.
 * `npm run sim -- --cluster --seed N` replays a failing seed in full. That the invariants would notice is shown in
 * cluster-mutants.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkCluster } from './invariants.js';
import { clusterFaultKinds } from './plan.js';
import { lineOf } from './record.js';
import { simulateCluster } from './world.js';

const SEEDS = 200;
/** Over all seeds every kind of fault bites at least so often. */
const BITES_MIN = 2;

describe('a cluster, simulated', () => {
  test(`${SEEDS} seeds: no invariant is broken, every kind of fault bites ${BITES_MIN} times`, { timeout: 600_000 }, async () => {
    const bites = new Map<string, number>(clusterFaultKinds.map((kind) => [kind, 0]));
    let unhurt = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await simulateCluster(seed);
      assert.deepEqual(checkCluster(run).slice(0, 5), [], `seed ${seed}: replay it with  npm run sim -- --cluster --seed ${seed}`);
      const bitten = run.entries.flatMap((entry) => (entry.type === 'struck' && entry.bit ? [entry.kind] : []));
      for (const kind of bitten) bites.set(kind, bites.get(kind)! + 1);
      if (bitten.length === 0) unhurt++;
    }
    assert.deepEqual([...bites].filter(([, times]) => times < BITES_MIN), [], 'kinds of faults that hardly ever bit');
    assert.ok(unhurt * 20 <= SEEDS, `in ${unhurt} of ${SEEDS} runs no fault bit`);
  });

  test('the same seed is the same run, event by event', async () => {
    for (const seed of [5, 18]) {
      const [one, two] = [await simulateCluster(seed), await simulateCluster(seed)];
      assert.deepEqual(one.entries.map(lineOf), two.entries.map(lineOf), `seed ${seed}`);
    }
  });
});
