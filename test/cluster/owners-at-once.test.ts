/** The checker behind `chaos -- cluster`: what answers of a singleton prove. One that cannot find two owners proves nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lostChanges, ownersAtOnce, type Told } from '../chaos/cluster/owners.js';

/** Asked 5 ms before it ran, answered 2 ms after. */
const told = (ranMs: number, owner: string, epoch: number, count: number, more: Partial<Told> = {}): Told => ({ sentMs: ranMs - 5, ranMs, doneMs: ranMs + 2, owner, epoch, count, ...more });

test('owners one after the other are one at a time', () => {
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1), told(200, 'a', 1, 2), told(5000, 'b', 2, 3), told(9000, 'a', 3, 4)]), 1);
});

test('an answer under an older epoch that ran after one under a newer is a second owner', () => {
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1), told(200, 'b', 2, 2), told(300, 'a', 1, 3)]), 2);
});

test('an answer under an older epoch that ran in time but left long after the new owner began is a second owner', () => {
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1, { doneMs: 9000 }), told(5000, 'b', 2, 2)]), 2);
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1, { doneMs: 130 }), told(110, 'b', 2, 2)]), 1, 'on its way while the next one began');
});

test('two hosts under one epoch are two owners', () => {
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1), told(200, 'b', 1, 2)]), 2);
});

test('every stale owner counts', () => {
  assert.equal(ownersAtOnce([told(100, 'a', 1, 1), told(200, 'b', 2, 2), told(300, 'c', 3, 3), told(400, 'a', 1, 4), told(500, 'b', 2, 5)]), 3);
});

test('a count that was known before it was asked for is a lost change', () => {
  const fine = [told(100, 'a', 1, 1), told(200, 'a', 1, 2), told(300, 'b', 2, 3)];
  assert.deepEqual(lostChanges(fine), []);
  const again = told(400, 'b', 2, 3);
  assert.deepEqual(lostChanges([...fine, again]), [again]);
  const behind = told(400, 'b', 2, 1);
  assert.deepEqual(lostChanges([behind, ...fine]), [behind]);
});

test('answers under way at the same time may count in any order', () => {
  assert.deepEqual(lostChanges([told(100, 'a', 1, 2, { sentMs: 90 }), told(99, 'a', 1, 1, { sentMs: 91, doneMs: 120 })]), []);
});
