/** The cluster of cluster.test.ts with rules broken on purpose, one at a time; each must be caught by an invariant of its own. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { clusterMutants, huntCluster } from './mutants.js';

describe('a rule of the cluster broken on purpose is caught', () => {
  for (const target of clusterMutants) {
    test(target.name, { timeout: 300_000 }, async (context) => {
      const caught = await huntCluster(target);
      assert.ok(caught, `${target.seedsMax} seeds did not betray it`);
      context.diagnostic(`seed ${caught.seed}, by ${caught.by.join(', ')}: ${caught.detail}`);
    });
  }
});
