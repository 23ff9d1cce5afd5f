import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Placement } from '../../src/policy/cluster-placement.js';
import { fulfilled, maySettle, SETTLED_AFTER_MS, type ReadyReplicas } from '../../src/policy/surplus.js';

const wish = (...places: [string, number][]): Placement => new Map([['x', places.map(([host, count]) => ({ host, device: 'cpu', count }))]]);
const on = (host: string, count = 1, device = 'cpu'): ReadyReplicas => ({ host, actor: 'x', device, count });

test('surplus replicas may go 30 s after all wanted ones were seen ready', () => {
  const placement = wish(['a', 1], ['b', 1]);
  const done = fulfilled(new Map(), placement, [on('a'), on('b'), on('c', 2)], 1000);
  assert.equal(maySettle(placement, 'x', done, 1000 + SETTLED_AFTER_MS - 1), false);
  assert.equal(maySettle(placement, 'x', done, 1000 + SETTLED_AFTER_MS), true);
});

test('the 30 s start anew when a wanted one was lost or another placement is wished', () => {
  const placement = wish(['a', 1]);
  let done = fulfilled(new Map(), placement, [on('a')], 0);
  done = fulfilled(done, placement, [on('a'), on('b')], 20_000);
  assert.equal(done.get('x')!.sinceMs, 0);
  assert.equal(fulfilled(fulfilled(done, placement, [on('b')], 25_000), placement, [on('a')], 26_000).get('x')!.sinceMs, 26_000);
  const other = wish(['b', 1]);
  assert.equal(fulfilled(done, other, [on('a'), on('b')], 27_000).get('x')!.sinceMs, 27_000);
  // What was counted for another wish is not taken for this one.
  assert.equal(maySettle(other, 'x', done, 90_000), false);
});

test('a host that is not enough, or ready on another device, fulfils nothing', () => {
  assert.equal(fulfilled(new Map(), wish(['a', 2]), [on('a')], 0).size, 0);
  assert.equal(fulfilled(new Map(), wish(['a', 1]), [on('a', 1, 'cuda:0')], 0).size, 0);
  assert.equal(fulfilled(new Map(), wish(['a', 2]), [on('a'), on('a')], 0).size, 1);
});

test('an actor without any place, or not in the placement, keeps what it has', () => {
  for (const placement of [wish(), new Map() as Placement]) {
    assert.equal(maySettle(placement, 'x', fulfilled(new Map(), placement, [on('a')], 0), 1e9), false);
  }
});
