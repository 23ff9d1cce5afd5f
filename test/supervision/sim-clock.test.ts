import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from '../support/sim-clock.js';

test('deadlines fire in order of time, equal ones in the order they were set', () => {
  const clock = new SimClock();
  const fired: string[] = [];
  for (const [name, delayMs] of [['late', 20], ['first', 10], ['second', 10]] as const) {
    clock.setTimeout(() => fired.push(`${name}@${clock.now()}`), delayMs);
  }
  clock.advanceSync(30);
  assert.deepEqual([fired, clock.now(), clock.pending], [['first@10', 'second@10', 'late@20'], 30, 0]);
});

test('a timer set by a timer within the span fires at its own time within the span', () => {
  const clock = new SimClock();
  const fired: number[] = [];
  const again = (): void => { fired.push(clock.now()); if (fired.length < 3) clock.setTimeout(again, 7); };
  clock.setTimeout(again, 7);
  clock.advanceSync(20);
  assert.deepEqual(fired, [7, 14]);
  assert.equal(clock.nextInMs, 1);
});

test('a cleared timer does not fire', () => {
  const clock = new SimClock();
  clock.clearTimeout(clock.setTimeout(() => assert.fail(), 1));
  clock.advanceSync(5);
  assert.deepEqual([clock.pending, clock.nextInMs, clock.stepSync()], [0, undefined, false]);
});

test('advance lets promises settle between deadlines', async () => {
  const clock = new SimClock();
  const order: string[] = [];
  clock.setTimeout(() => { void Promise.resolve().then(() => order.push('promise of 1')); }, 1);
  clock.setTimeout(() => order.push('timer 2'), 2);
  await clock.advance(5);
  assert.deepEqual(order, ['promise of 1', 'timer 2']);
});
