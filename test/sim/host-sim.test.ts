/**
 * One host in a few hundred simulated worlds, with faults from a seed, held against its invariants. `npm run sim -- --seed N`
 * replays a failing seed in full. That the invariants would notice is shown in mutants.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { check } from './invariants.js';
import { History } from './history.js';
import { faultKinds } from './plan.js';
import { lineOf } from './record.js';
import { simulate, type SimRun } from './world.js';

const SEEDS = 300;
/** Over all seeds every kind of fault bites at least so often. */
const BITES_MIN = 10;

describe('one host, simulated', () => {
  test(`${SEEDS} seeds: no invariant is broken, every kind of fault bites ${BITES_MIN} times`, { timeout: 600_000 }, async () => {
    const bites = new Map<string, number>(faultKinds.map((kind) => [kind, 0]));
    let refusedByBudget = 0;
    let unhurt = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await simulate(seed);
      const violations = check(run);
      assert.deepEqual(violations.slice(0, 5), [], `seed ${seed}: replay it with  npm run sim -- --seed ${seed}`);
      const bitten = run.entries.filter((entry) => entry.type === 'fault' && entry.bit);
      for (const entry of bitten) if (entry.type === 'fault') bites.set(entry.kind, bites.get(entry.kind)! + 1);
      if (bitten.length === 0) unhurt++;
      refusedByBudget += endedByReplayBudget(run);
    }
    assert.deepEqual([...bites].filter(([, times]) => times < BITES_MIN), [], 'kinds of faults that hardly ever bit');
    assert.ok(refusedByBudget >= BITES_MIN, `the host's replay budget ended ${refusedByBudget} requests`);
    assert.ok(unhurt * 20 <= SEEDS, `in ${unhurt} of ${SEEDS} runs no fault bit`);
  });

  test('the same seed is the same run, event by event', async () => {
    for (const seed of [3, 17]) {
      const [one, two] = [await simulate(seed), await simulate(seed)];
      assert.deepEqual(one.entries.map(lineOf), two.entries.map(lineOf), `seed ${seed}`);
    }
  });
});

/** Requests that had executions left when their lane was lost, and were not run again. */
function endedByReplayBudget(run: SimRun): number {
  return [...new History(run).requests.values()].filter(({ submitted, ends, runs }) => ends[0]?.message?.includes('replay budget') && runs.length < submitted.executionsMax).length;
}
