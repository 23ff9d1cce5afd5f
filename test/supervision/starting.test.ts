import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromCallback } from 'xstate';
import { createStartGate } from '../../src/supervision/index.js';
import type { ChildSpec } from '../../src/supervision/index.js';
import { machineChildren, Stage } from '../support/stage.js';

test('ready: the next child starts only when the one before it is up', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { start: 'silent' }), stage.child('b')] });
  assert.deepEqual(stage.news(), ['start a#1']);
  assert.deepEqual([stage.view.up, stage.phases], [false, ['a:starting#1', 'b:stopped#0']]);
  stage.actor('a').tell('child.started');
  assert.deepEqual([stage.view.up, stage.phases], [true, ['a:running#1', 'b:running#1']]);
});

test('spawned: starts go side by side, boot with initialStart fail waits for all outcomes', () => {
  const stage = new Stage();
  stage.boot({ startedWhen: 'spawned', children: [stage.child('a', { start: 'silent' }), stage.child('b', { start: 'silent' })] });
  assert.deepEqual(stage.news(), ['start a#1', 'start b#1']);
  stage.actor('b').tell('child.started');
  assert.equal(stage.view.up, false);
  stage.actor('a').tell('child.started');
  assert.equal(stage.view.up, true);
});

test('spawned and retry: up at once, a slow start does not delay the healing of another child', () => {
  const stage = new Stage();
  stage.boot({
    startedWhen: 'spawned', initialStart: 'retry', intensity: 5,
    children: [stage.child('a', { start: 'silent' }), stage.child('b')],
  });
  assert.equal(stage.view.up, true);
  stage.actor('b').exit();
  assert.deepEqual(stage.phases, ['a:starting#1', 'b:running#2']);
  stage.actor('a').fail();
  assert.deepEqual(stage.phases, ['a:starting#2', 'b:running#2'], 'tried again beside it');
});

test('initialStart fail: siblings stop in reverse, the path names the failed child, nothing is counted', () => {
  const stage = new Stage();
  stage.boot({ intensity: 0, children: [stage.child('a'), stage.child('b'), stage.child('c', { start: 'fail' }), stage.child('d')] });
  assert.deepEqual(stage.news(), ['start a#1', 'start b#1', 'start c#1', 'fail c#1', 'stop b#1', 'exit b#1 shutdown', 'stop a#1', 'exit a#1 shutdown']);
  assert.deepEqual(stage.root.getSnapshot().output, { reason: 'load-failed', detail: 'failed_to_start_child', failedPath: ['c'] });
  assert.equal(stage.of('gave-up').length, 0);
});

test('initialStart retry, one_for_one: the others start, the failed one is tried again and counted', () => {
  const stage = new Stage();
  stage.boot({
    initialStart: 'retry', intensity: 3, backoff: { minMs: 100, maxMs: 100, factor: 1, jitter: 0 },
    children: [stage.child('a', { start: 'fail' }), stage.child('b')],
  });
  assert.deepEqual(stage.phases, ['a:restarting#2', 'b:running#1']);
  assert.deepEqual([stage.view.up, stage.view.inWindow], [true, 2]);
  stage.manners.set('a', {});
  stage.clock.advanceSync(100);
  assert.deepEqual(stage.phases, ['a:running#3', 'b:running#1']);
});

test('initialStart retry, one_for_all: the retry brings the rest along', () => {
  const stage = new Stage();
  const b = stage.child('b', { start: 'fail' });
  stage.boot({
    initialStart: 'retry', strategy: 'one_for_all', intensity: 5, backoff: { minMs: 100, maxMs: 100, factor: 1, jitter: 0 },
    children: [stage.child('a'), b, stage.child('c')],
  });
  // First retry at once, its failure is the second and waits.
  assert.deepEqual(stage.phases, ['a:restarting#2', 'b:restarting#2', 'c:restarting#0']);
  stage.manners.set('b', {});
  stage.clock.advanceSync(100);
  assert.deepEqual(stage.phases, ['a:running#3', 'b:running#3', 'c:running#1']);
});

test('a child that ends before it has started is a failed start', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { start: 'silent' })] });
  stage.actor('a').exit('killed');
  assert.deepEqual(stage.root.getSnapshot().output, { reason: 'killed', detail: 'failed_to_start_child', failedPath: ['a'] });
});

test('start time-out: the worker is killed, and its start has failed as hung', () => {
  const stage = new Stage();
  stage.boot({ startTimeoutMs: 100, children: [stage.child('a', { start: 'silent' })] });
  stage.clock.advanceSync(99);
  assert.deepEqual(stage.news(), ['start a#1']);
  stage.clock.advanceSync(1);
  assert.deepEqual(stage.news(), ['kill a#1', 'exit a#1 killed']);
  assert.deepEqual(stage.root.getSnapshot().output, { reason: 'hung', detail: 'failed_to_start_child', failedPath: ['a'] });
  assert.deepEqual([stage.clock.pending, stage.done], [0, true]);
});

test('start time-out: a late `started` after the kill does not save it', () => {
  const stage = new Stage();
  stage.boot({ startTimeoutMs: 100, initialStart: 'retry', intensity: 5, children: [stage.child('a', { start: 'silent', stop: 'undead' })] });
  stage.clock.advanceSync(100);
  stage.actor('a').tell('child.started');
  assert.equal(stage.see('a').phase, 'starting');
  stage.manners.set('a', {});
  stage.actor('a').exit('killed');
  assert.deepEqual(stage.phases, ['a:running#2']);
  assert.equal(stage.see('a').lastExit?.detail, 'start_timeout');
});

test('start time-out of a worker that heeds no kill: a zombie is reported and left behind', () => {
  const stage = new Stage();
  stage.boot({ startTimeoutMs: 100, killGraceMs: 50, initialStart: 'retry', intensity: 5, children: [stage.child('a', { start: 'silent', stop: 'undead' })] });
  stage.clock.advanceSync(100);
  stage.manners.set('a', {});
  stage.clock.advanceSync(50);
  assert.deepEqual(stage.of('zombie').map(({ child }) => child), [{ id: 'a', incarnation: 1 }]);
  assert.deepEqual([stage.phases, machineChildren(stage.root)], [['a:running#2'], ['child-0']]);
});

test('start time-out is over once the child is up', () => {
  const stage = new Stage();
  stage.boot({ startTimeoutMs: 100, children: [stage.child('a')] });
  assert.equal(stage.clock.pending, 0);
});

test('a start function that throws, and a start without logic, are failed starts', () => {
  for (const start of [
    { logic: fromCallback(() => undefined), input: () => { throw new Error('no such file'); } },
    { logic: undefined as never },
    { logic: fromCallback(() => { throw new Error('no such file'); }) },
  ]) {
    const stage = new Stage();
    const broken: ChildSpec = { id: 'broken', restart: 'permanent', significant: false, shutdown: 1000, type: 'worker', start };
    stage.boot({ children: [stage.child('a'), broken] });
    assert.deepEqual(stage.root.getSnapshot().output, { reason: 'crashed', detail: 'failed_to_start_child', failedPath: ['broken'] });
    assert.deepEqual(stage.news().slice(-1), ['exit a#1 shutdown']);
  }
});

test('start gate: at most two workers of the host start at once, first come first served', () => {
  const gate = createStartGate(2);
  const stage = new Stage();
  const ids = ['a', 'b', 'c', 'd'];
  stage.boot({
    startGate: gate, startedWhen: 'spawned', initialStart: 'retry', intensity: 10,
    children: [
      stage.subtree('left', { startedWhen: 'spawned', initialStart: 'retry', children: ids.slice(0, 2).map((id) => stage.child(id)) }),
      stage.subtree('right', { startedWhen: 'spawned', initialStart: 'retry', children: ids.slice(2).map((id) => stage.child(id)) }),
    ],
  });
  assert.deepEqual(stage.news(), ['start a#1', 'start b#1'], 'supervisors hold no slot');
  stage.actor('b').tell('child.ready');
  assert.deepEqual(stage.news(), ['start c#1'], 'spawned: the slot is held until the child is ready');
  stage.actor('a').exit();
  assert.deepEqual(stage.news(), ['exit a#1 crashed', 'start d#1'], 'or gone; its restart is at the end of the line');
  stage.actor('c').tell('child.ready');
  assert.deepEqual(stage.news(), ['start a#2']);
  assert.deepEqual([gate.held, gate.waiting], [2, 0]);
  stage.stop();
  assert.deepEqual([gate.held, gate.waiting, stage.done], [0, 0, true]);
});

test('start gate: with startedWhen ready the slot is free when the start is over', () => {
  const gate = createStartGate(1);
  const stage = new Stage();
  stage.boot({ startGate: gate, children: [stage.child('a'), stage.child('b', { start: 'silent' })] });
  assert.deepEqual([gate.held, stage.phases], [1, ['a:running#1', 'b:starting#1']]);
  stage.actor('b').tell('child.started');
  assert.equal(gate.held, 0);
});

test('start gate: a child stopped while it waits leaves the line', () => {
  const gate = createStartGate(1);
  const release = gate.acquire(() => undefined);
  const stage = new Stage();
  stage.boot({ startGate: gate, startedWhen: 'spawned', initialStart: 'retry', children: [stage.child('a'), stage.child('b')] });
  assert.deepEqual([gate.waiting, stage.news()], [2, []]);
  assert.deepEqual(stage.call({ type: 'terminateChild', id: 'a' }).result, { ok: true });
  assert.equal(gate.waiting, 1);
  stage.stop();
  assert.deepEqual([gate.waiting, stage.done], [0, true]);
  release();
  assert.deepEqual([gate.held, stage.news()], [0, []]);
});

test('inspect and stop are answered while a start is pending', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a'), stage.child('b', { start: 'silent' }), stage.child('c')] });
  assert.deepEqual(stage.phases, ['a:running#1', 'b:starting#1', 'c:stopped#0']);
  const call = stage.call({ type: 'whichChildren' });
  assert.equal(call.result, undefined, 'calls wait their turn, as in OTP');
  stage.news();
  stage.stop();
  stage.clock.advanceSync(0);
  assert.deepEqual(stage.news(), ['stop b#1', 'exit b#1 shutdown', 'stop a#1', 'exit a#1 shutdown']);
  assert.deepEqual([stage.done, call.result], [true, { ok: false, error: 'noproc' }]);
});

test('startChild is answered when the start is over, also where nothing waits for it', () => {
  for (const startedWhen of ['ready', 'spawned'] as const) {
    const stage = new Stage();
    stage.boot({ startedWhen });
    const up = stage.call({ type: 'startChild', spec: stage.child('a', { start: 'silent' }) });
    assert.equal(up.result, undefined);
    stage.actor('a').tell('child.started');
    assert.deepEqual(up.result, { ok: true });
    const failed = stage.call({ type: 'startChild', spec: stage.child('b', { start: 'fail' }) });
    assert.deepEqual(failed.result, { ok: false, error: 'start_failed', failedPath: ['b'], reason: 'load-failed', detail: 'scripted' });
    assert.deepEqual(stage.phases, ['a:running#1']);
  }
});

test('incarnations of an id never repeat, not even over deletions', () => {
  const stage = new Stage();
  stage.boot({});
  for (let incarnation = 1; incarnation <= 3; incarnation += 1) {
    stage.call({ type: 'startChild', spec: stage.child('a', { restart: 'temporary' }) });
    assert.equal(stage.actor('a').incarnation, incarnation);
    stage.call({ type: 'terminateChild', id: 'a' });
  }
});
