import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { afterFailure, grantOf, lateAfterMs, pauseMs, type AfterFailure, type FailedAttempt } from '../../src/policy/retry.js';

const answered: FailedAttempt = { bus: undefined, retryable: true, attempts: 1, granted: 2, direct: false, repeats: true };

const table: readonly [string, Partial<FailedAttempt>, AfterFailure, number][] = [
  ['nobody in the queue group', { bus: 'NO_RESPONDERS' }, 'after-pause', 0],
  ['nobody on a host\'s own subject', { bus: 'NO_RESPONDERS', direct: true }, 'at-once', 0],
  ['hosts may not be asked directly', { bus: 'PERMISSION', direct: true }, 'at-once', 0],
  ['nobody may be asked', { bus: 'PERMISSION' }, 'give-up', 0],
  ['too large', { bus: 'PAYLOAD_TOO_LARGE' }, 'give-up', 0],
  ['the connection went', { bus: 'DISCONNECTED' }, 'when-up', 2],
  ['the connection went, not idempotent', { bus: 'DISCONNECTED', repeats: false }, 'unknown', 2],
  ['closed', { bus: 'CLOSED' }, 'give-up', 2],
  ['closed, not idempotent', { bus: 'CLOSED', repeats: false }, 'unknown', 2],
  ['silent until the deadline', { bus: 'TIMEOUT' }, 'give-up', 2],
  ['refused unrun', { attempts: 0 }, 'after-pause', 0],
  ['refused unrun, not idempotent', { attempts: 0, repeats: false }, 'after-pause', 0],
  ['ran once and failed', {}, 'after-pause', 1],
  ['ran once and failed, not idempotent', { repeats: false }, 'give-up', 1],
  ['failed, and nobody says how often it ran', { attempts: undefined }, 'after-pause', 2],
  ['an error that stays', { retryable: false }, 'give-up', 1],
];

for (const [name, failed, next, used] of table) {
  test(`after a failure: ${name}`, () => assert.deepEqual(afterFailure({ ...answered, ...failed }), { next, used }));
}

test('an attempt is granted all but one of the free executions, and never none', () => {
  assert.deepEqual([1, 2, 3, 5].map((free) => grantOf(free, true)), [1, 1, 2, 4]);
  assert.deepEqual([1, 3].map((free) => grantOf(free, false)), [1, 3]);
});

test('late is 8 times the p99, between 250 ms and a third of the budget', () => {
  assert.equal(lateAfterMs(undefined, 3000), 1000);
  assert.equal(lateAfterMs(1, 3000), 250);
  assert.equal(lateAfterMs(50, 3000), 400);
  assert.equal(lateAfterMs(900, 3000), 1000);
  assert.equal(lateAfterMs(1, 300), 100);
});

test('pauses double up to half a second, chance takes half at most, Retry-After counts up to the same bound', () => {
  assert.deepEqual([0, 1, 2, 10].map((pauses) => pauseMs(pauses, 1)), [20, 40, 80, 500]);
  assert.equal(pauseMs(0, 0), 10);
  assert.deepEqual([pauseMs(0, 0, 100), pauseMs(0, 0, 60_000)], [100, 500]);
  fc.assert(fc.property(fc.nat(2000), fc.double({ min: 0, max: 0.999, noNaN: true }), (pauses, chance) => pauseMs(pauses, chance) >= 10 && pauseMs(pauses, chance) <= 500));
});
