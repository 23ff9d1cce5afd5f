/** The cluster of cluster.test.ts with rules broken on purpose, one at a time; each must be caught by an invariant of its own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkCluster } from './invariants.js';
import { clusterMutants, huntCluster } from './mutants.js';
import { simulateCluster } from './world.js';

describe('a rule of the cluster broken on purpose is caught', () => {
  for (const target of clusterMutants) {
    test(target.name, { timeout: 300_000 }, async (context) => {
      const caught = await huntCluster(target);
      assert.ok(caught, `${target.seedsMax} seeds did not betray it`);
      const unbroken = checkCluster(await simulateCluster(caught.seed, { theme: target.theme }));
      assert.deepEqual(unbroken, [], `seed ${caught.seed}: the rule is whole, and it is caught all the same`);
      context.diagnostic(`seed ${caught.seed}, by ${caught.by.join(', ')}: ${caught.detail}`);
    });
  }
});
