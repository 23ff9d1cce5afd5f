import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../support/stage.js';

const backoff = { minMs: 500, maxMs: 4000, factor: 2, jitter: 0 };
const patient = { intensity: 1000, periodMs: 1e9, backoff, resetAfterMs: 10_000 };

test('delays: none after the first failure, then 500 ms doubling up to the cap', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a')] });
  const waits: number[] = [];
  for (let crash = 0; crash < 7; crash += 1) {
    stage.actor('a').exit();
    waits.push(stage.see('a').nextStartInMs ?? 0);
    if (stage.clock.nextInMs !== undefined) stage.clock.advanceSync(stage.clock.nextInMs);
    assert.equal(stage.see('a').phase, 'running');
  }
  assert.deepEqual(waits, [0, 500, 1000, 2000, 4000, 4000, 4000]);
  assert.equal(stage.see('a').restarts, 7);
  assert.deepEqual(stage.of('backoff').map(({ delayMs }) => delayMs), [500, 1000, 2000, 4000, 4000, 4000]);
});

test('jitter shortens by chance, reported as it is', () => {
  const stage = new Stage();
  stage.boot({ ...patient, backoff: { ...backoff, jitter: 0.2 }, chance: 0.5, children: [stage.child('a')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  assert.equal(stage.see('a').nextStartInMs, 450);
});

test('a child in its delay is restarting, one ms before its end, and runs at its end', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a'), stage.child('b')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.clock.advanceSync(499);
  assert.deepEqual(stage.phases, ['a:restarting#2', 'b:running#1']);
  assert.equal(stage.see('a').nextStartInMs, 1);
  stage.clock.advanceSync(1);
  assert.deepEqual(stage.phases, ['a:running#3', 'b:running#1']);
});

test('a failed start is a failure too: a child that never starts waits longer and longer', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a')] });
  stage.manners.set('a', { start: 'fail' });
  stage.actor('a').exit();
  // Failure 1 is the exit, failure 2 the start tried at once.
  assert.equal(stage.see('a').nextStartInMs, 500);
  stage.clock.advanceSync(500);
  assert.equal(stage.see('a').nextStartInMs, 1000);
  stage.manners.set('a', {});
  stage.clock.advanceSync(1000);
  assert.deepEqual(stage.phases, ['a:running#4']);
});

test('reset: only unbroken readiness counts, a broken one starts anew', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.clock.advanceSync(500);
  assert.equal(stage.see('a').failures, 2);
  // Up for long, but never ready.
  stage.clock.advanceSync(1e6);
  stage.actor('a').exit();
  assert.equal(stage.see('a').failures, 3);
  stage.clock.advanceSync(1000);
  stage.actor('a').tell('child.ready');
  stage.clock.advanceSync(9999);
  stage.actor('a').tell('child.unready');
  stage.actor('a').tell('child.ready');
  stage.clock.advanceSync(9999);
  stage.actor('a').exit();
  assert.equal(stage.see('a').failures, 4, 'two broken readinesses do not add up');
  stage.clock.advanceSync(2000);
  stage.actor('a').tell('child.ready');
  stage.clock.advanceSync(10_000);
  stage.actor('a').exit();
  assert.deepEqual([stage.see('a').failures, stage.see('a').phase], [1, 'running'], 'stable: forgotten, restarted at once');
});

test('reset: what a long readiness was worth survives its end', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a')] });
  stage.actor('a').exit();
  stage.actor('a').tell('child.ready');
  stage.clock.advanceSync(10_000);
  stage.actor('a').tell('child.unready');
  assert.equal(stage.see('a').failures, 0);
});

test('consecutiveMax 2: the third failure in a row ends the supervisor, however slow they come', () => {
  const stage = new Stage();
  stage.boot({ ...patient, intensity: 1000, consecutiveMax: 2, children: [stage.child('a'), stage.child('b')] });
  for (let crash = 0; crash < 2; crash += 1) {
    stage.actor('a').exit();
    stage.clock.advanceSync(1e8);
  }
  assert.equal(stage.done, false);
  stage.actor('a').exit();
  assert.equal(stage.done, true);
  assert.deepEqual(stage.root.getSnapshot().output, { reason: 'shutdown', detail: 'budget_exhausted' });
  assert.deepEqual(stage.of('gave-up').map(({ limit, attempt }) => [limit, attempt]), [['consecutiveMax', 3]]);
});

test('one_for_all: siblings stop at once, then the delay, then all start in order', () => {
  const stage = new Stage();
  stage.boot({ ...patient, strategy: 'one_for_all', children: ['a', 'b', 'c'].map((id) => stage.child(id)) });
  stage.actor('b').exit();
  stage.news();
  stage.actor('b').exit();
  assert.deepEqual(stage.news(), ['exit b#2 crashed', 'stop c#2', 'exit c#2 shutdown', 'stop a#2', 'exit a#2 shutdown']);
  assert.deepEqual(stage.phases, ['a:restarting#2', 'b:restarting#2', 'c:restarting#2']);
  assert.deepEqual(stage.view.children.map(({ nextStartInMs }) => nextStartInMs), [500, 500, 500]);
  stage.clock.advanceSync(500);
  assert.deepEqual(stage.news(), ['start a#3', 'start b#3', 'start c#3']);
});

test('rest_for_one: a failure further up takes a running delay over and keeps its end', () => {
  const stage = new Stage();
  stage.boot({ ...patient, strategy: 'rest_for_one', children: ['a', 'b', 'c'].map((id) => stage.child(id)) });
  stage.actor('b').exit();
  stage.actor('b').exit();
  stage.clock.advanceSync(200);
  stage.actor('a').exit();
  assert.deepEqual(stage.view.children.map(({ phase, nextStartInMs }) => [phase, nextStartInMs]), Array(3).fill(['restarting', 300]));
  assert.equal(stage.clock.pending, 1);
  stage.news();
  stage.clock.advanceSync(300);
  assert.deepEqual(stage.news(), ['start a#2', 'start b#3', 'start c#3']);
});

test('rest_for_one: a sibling failing to start after the delay retries from itself on', () => {
  const stage = new Stage();
  stage.boot({ ...patient, strategy: 'rest_for_one', children: ['a', 'b', 'c'].map((id) => stage.child(id)) });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.manners.set('b', { start: 'fail' });
  stage.news();
  stage.clock.advanceSync(500);
  // b fails (its first failure: retried at once), fails again (its second: 500 ms).
  assert.deepEqual(stage.news(), ['start a#3', 'start b#3', 'fail b#3', 'start b#4', 'fail b#4']);
  assert.deepEqual(stage.phases, ['a:running#3', 'b:restarting#4', 'c:restarting#2']);
  stage.manners.set('b', {});
  stage.clock.advanceSync(500);
  assert.deepEqual(stage.news(), ['start b#5', 'start c#3']);
});

test('calls during a delay: restarting, already_present, and terminate takes the child out', () => {
  const stage = new Stage();
  stage.boot({ ...patient, strategy: 'one_for_all', children: [stage.child('a'), stage.child('b')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  const error = (call: Parameters<Stage['call']>[0]): unknown => (stage.call(call).result as { error?: string }).error;
  for (const id of ['a', 'b']) {
    assert.equal(error({ type: 'restartChild', id }), 'restarting');
    assert.equal(error({ type: 'deleteChild', id }), 'restarting');
    assert.equal(error({ type: 'startChild', spec: stage.child(id) }), 'already_present');
  }
  assert.deepEqual(stage.call({ type: 'whichChildren' }).result, {
    ok: true,
    children: [{ id: 'a', status: 'restarting', type: 'worker' }, { id: 'b', status: 'restarting', type: 'worker' }],
  });
  assert.deepEqual(stage.call({ type: 'terminateChild', id: 'a' }).result, { ok: true });
  stage.clock.advanceSync(500);
  assert.deepEqual(stage.phases, ['a:stopped#2', 'b:running#3'], 'the failed one was taken out, the others come back');
});

test('terminate of the last child in a delay cancels the delay', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.call({ type: 'terminateChild', id: 'a' });
  assert.equal(stage.clock.pending, 0);
  assert.deepEqual(stage.call({ type: 'restartChild', id: 'a' }).result, { ok: true });
  assert.deepEqual(stage.phases, ['a:running#3']);
});

test('stop during a delay: the timer goes, nothing starts any more', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a'), stage.child('b')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.news();
  stage.stop();
  assert.deepEqual([stage.done, stage.clock.pending], [true, 0]);
  stage.clock.advanceSync(1e6);
  assert.deepEqual(stage.news(), ['stop b#1', 'exit b#1 shutdown']);
});

test('a delay of one child holds up no other', () => {
  const stage = new Stage();
  stage.boot({ ...patient, children: [stage.child('a'), stage.child('b')] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  stage.actor('b').exit();
  assert.deepEqual(stage.phases, ['a:restarting#2', 'b:running#2']);
});
