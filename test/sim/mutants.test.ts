/** The host of host-sim.test.ts with rules broken on purpose, one at a time; each must be caught by an invariant. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hunt, mutants } from './mutants.js';

describe('a rule broken on purpose is caught', () => {
  for (const target of mutants) {
    test(target.name, { timeout: 120_000 }, async (context) => {
      const caught = await hunt(target);
      assert.ok(caught, `${target.seedsMax} seeds did not betray it`);
      context.diagnostic(`seed ${caught.seed}, by ${caught.by.join(', ')}: ${caught.detail}`);
    });
  }
});
