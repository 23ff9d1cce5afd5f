import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ExitReason } from '../../src/errors.js';
import type { AutoShutdown, RestartType, RestartWindow, Strategy } from '../../src/policy/restart.js';
import {
  autoShutdownDue, chargeRestart, decideExit, emptyWindow, firstSpecFault, restartGroup, specFault,
} from '../../src/policy/restart.js';

const clean: ExitReason[] = ['normal', 'shutdown'];
const unclean: ExitReason[] = ['crashed', 'killed', 'hung', 'load-failed', 'unproven'];

test('exit table: every restart type x every reason', () => {
  for (const reason of [...clean, ...unclean]) {
    assert.equal(decideExit('permanent', reason), 'restart', reason);
    assert.equal(decideExit('transient', reason), clean.includes(reason) ? 'keep' : 'restart', reason);
    assert.equal(decideExit('temporary', reason), 'remove', reason);
  }
});

test('restart group: every strategy x every position', () => {
  const ids = ['a', 'b', 'c'];
  const groups: Record<Strategy, string[][]> = {
    one_for_one: [['a'], ['b'], ['c']],
    rest_for_one: [['a', 'b', 'c'], ['b', 'c'], ['c']],
    one_for_all: [ids, ids, ids],
  };
  for (const strategy of Object.keys(groups) as Strategy[]) {
    ids.forEach((id, position) => assert.deepEqual(restartGroup(strategy, ids, id), groups[strategy][position]));
    assert.deepEqual(restartGroup(strategy, ids, 'unknown'), []);
  }
});

test('auto shutdown: every rule x significance x what else is up', () => {
  const significant = { significant: true };
  const plain = { significant: false };
  const due = (rule: AutoShutdown, ended: typeof plain, others: (typeof plain)[]): boolean => autoShutdownDue(rule, ended, others);
  for (const others of [[], [plain], [significant], [plain, significant]]) {
    assert.equal(due('never', significant, others), false);
    assert.equal(due('any_significant', significant, others), true);
    assert.equal(due('all_significant', significant, others), !others.includes(significant));
    for (const rule of ['never', 'any_significant', 'all_significant'] as const) assert.equal(due(rule, plain, others), false);
  }
});

test('spec faults: significance x restart type x auto shutdown, and duplicates in list order', () => {
  const child = (id: string, restart: RestartType, significant: boolean) =>
    ({ id, restart, significant, shutdown: 1000, type: 'worker' }) as const;
  for (const restart of ['permanent', 'transient', 'temporary'] as const) {
    for (const rule of ['never', 'any_significant', 'all_significant'] as const) {
      assert.equal(specFault(child('a', restart, false), rule), undefined);
      const bad = rule === 'never' || restart === 'permanent';
      assert.equal(specFault(child('a', restart, true), rule), bad ? 'bad_combination' : undefined);
    }
  }
  const a = child('a', 'permanent', false);
  const bad = child('b', 'permanent', true);
  assert.equal(firstSpecFault([a, a, bad], 'never'), 'duplicate_child');
  assert.equal(firstSpecFault([a, bad, a], 'never'), 'bad_combination');
  assert.equal(firstSpecFault([a, child('b', 'transient', false)], 'never'), undefined);
});

test('budget: intensity 2 tolerates two restarts, the third exceeds it', () => {
  let window: RestartWindow = emptyWindow;
  const limits = { intensity: 2, periodMs: 1000 };
  const seen = [0, 0, 0].map((now) => {
    const charge = chargeRestart(window, limits, now);
    window = charge.window;
    return [charge.inWindow, charge.exceeded];
  });
  assert.deepEqual(seen, [[1, false], [2, false], [3, true]]);
});

test('budget: intensity 0 gives up at the first, Infinity never and remembers nothing', () => {
  assert.equal(chargeRestart(emptyWindow, { intensity: 0, periodMs: 1 }, 0).exceeded, true);
  let window: RestartWindow = emptyWindow;
  for (let now = 0; now < 100; now += 1) {
    const charge = chargeRestart(window, { intensity: Infinity, periodMs: 1e9 }, now);
    assert.equal(charge.exceeded, false);
    window = charge.window;
  }
  assert.equal(window.authorisedAt.length, 0);
});

test('budget: a restart exactly periodMs old still counts, one a little older does not', () => {
  const limits = { intensity: 1, periodMs: 1000 };
  const { window } = chargeRestart(emptyWindow, limits, 500);
  assert.equal(chargeRestart(window, limits, 1500).exceeded, true);
  assert.equal(chargeRestart(window, limits, 1500.001).exceeded, false);
});

test('budget: coalesced exits count once, anchored at the counted one', () => {
  const limits = { intensity: 10, periodMs: 10_000 };
  let window: RestartWindow = emptyWindow;
  const counts = [0, 60, 100, 101, 200, 201, 202].map((now) => {
    const charge = chargeRestart(window, limits, now, 100);
    window = charge.window;
    return charge.inWindow;
  });
  assert.deepEqual(counts, [1, 1, 1, 2, 2, 2, 3]);
});

test('budget: in no window of the period are more than intensity restarts authorised', () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 50 }), fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 60 }),
    (intensity, periodMs, gaps) => {
      let window: RestartWindow = emptyWindow;
      let now = 0;
      const authorised: number[] = [];
      for (const gap of gaps) {
        now += gap;
        const charge = chargeRestart(window, { intensity, periodMs }, now);
        window = charge.window;
        if (charge.exceeded) {
          const within = authorised.filter((at) => at >= now - periodMs).length;
          assert.equal(within, intensity, 'gives up only when the window is full');
          return;
        }
        authorised.push(now);
        for (const end of authorised) {
          assert.ok(authorised.filter((at) => at >= end - periodMs && at <= end).length <= intensity);
        }
      }
    }));
});
