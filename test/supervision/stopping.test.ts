import assert from 'node:assert/strict';
import { test } from 'node:test';
import { machineChildren, Stage } from '../support/stage.js';

const ids = ['a', 'b', 'c'];

test('reverse: each child is stopped only when the one after it is gone', () => {
  const stage = new Stage();
  stage.boot({ children: ids.map((id) => stage.child(id, { stop: 'stall', shutdown: 'infinity' })) });
  stage.news();
  stage.stop();
  assert.deepEqual(stage.news(), ['stop c#1']);
  stage.actor('c').exit('shutdown');
  assert.deepEqual(stage.news(), ['exit c#1 shutdown', 'stop b#1']);
  stage.actor('b').exit('shutdown');
  stage.actor('a').exit('shutdown');
  assert.equal(stage.done, true);
});

test('parallel: all are stopped at once, it ends with the last of them', () => {
  const stage = new Stage();
  stage.boot({ stopOrder: 'parallel', children: ids.map((id) => stage.child(id, { stop: 'stall', shutdown: 'infinity' })) });
  stage.news();
  stage.stop();
  assert.deepEqual(stage.news(), ['stop c#1', 'stop b#1', 'stop a#1']);
  for (const id of ids) {
    assert.equal(stage.done, false);
    stage.actor(id).exit('shutdown');
  }
  assert.equal(stage.done, true);
});

test('the order carries the budget; a child that does not go is killed when it is used up', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { stop: 'stall', shutdown: 200 })] });
  const { orders } = stage.actor('a');
  stage.stop();
  stage.clock.advanceSync(199);
  assert.deepEqual(orders, [{ type: 'stop', budgetMs: 200 }]);
  stage.clock.advanceSync(1);
  assert.deepEqual(orders[1], { type: 'kill', reason: 'killed', detail: 'shutdown_budget_over', graceMs: 1000 });
  assert.deepEqual([stage.done, stage.clock.pending], [true, 0]);
  assert.deepEqual(stage.of('child-exit').map(({ context, reason }) => [context, reason]), [['shutdown_error', 'killed']]);
});

test('brutal_kill: killed without a stop, and that is no error', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { shutdown: 'brutal_kill' })] });
  stage.news();
  stage.stop();
  assert.deepEqual(stage.news(), ['kill a#1', 'exit a#1 killed']);
  assert.equal(stage.of('child-exit').length, 0);
});

test('zombie: killed and still there, reported once, and the supervisor goes on', () => {
  const stage = new Stage();
  stage.boot({ killGraceMs: 70, children: [stage.child('a'), stage.child('b', { stop: 'undead', shutdown: 100 })] });
  stage.stop();
  stage.clock.advanceSync(100);
  stage.clock.advanceSync(69);
  assert.equal(stage.of('zombie').length, 0);
  stage.clock.advanceSync(1);
  assert.deepEqual(stage.of('zombie').map(({ child, afterMs }) => [child, afterMs]), [[{ id: 'b', incarnation: 1 }, 70]]);
  assert.deepEqual([stage.done, machineChildren(stage.root), stage.news().at(-1)], [true, [], 'exit a#1 shutdown']);
});

test('a zombie that speaks later is not heard', () => {
  const stage = new Stage();
  stage.boot({ killGraceMs: 70, children: [stage.child('a', { stop: 'undead', shutdown: 'brutal_kill' })] });
  const undead = stage.actor('a');
  stage.call({ type: 'terminateChild', id: 'a' });
  stage.clock.advanceSync(70);
  assert.deepEqual(stage.phases, ['a:stopped#1']);
  stage.call({ type: 'restartChild', id: 'a' });
  undead.exit('crashed');
  undead.tell('child.ready');
  assert.deepEqual(stage.phases, ['a:running#2']);
});

test('kill of a supervisor: its children are killed side by side, no orphan stays', () => {
  const stage = new Stage();
  stage.boot({
    intensity: 0,
    children: [stage.child('z'), stage.subtree('s', { children: ids.map((id) => stage.child(id, { stop: 'stall' })) }, { shutdown: 'brutal_kill' })],
  });
  stage.news();
  stage.call({ type: 'terminateChild', id: 's' });
  assert.deepEqual(stage.news(), ['kill c#1', 'exit c#1 killed', 'kill b#1', 'exit b#1 killed', 'kill a#1', 'exit a#1 killed']);
  assert.deepEqual(stage.phases, ['z:running#1', 's:stopped#1']);
  assert.deepEqual(machineChildren(stage.root), ['child-0']);
});

test('kill of a supervisor with an undead child: it ends within the grace its parent grants', () => {
  const stage = new Stage();
  stage.boot({ killGraceMs: 100, children: [stage.subtree('s', { children: [stage.child('a', { stop: 'undead' })] }, { shutdown: 'brutal_kill' })] });
  stage.stop();
  stage.clock.advanceSync(50);
  assert.equal(stage.done, true);
  assert.deepEqual(stage.of('zombie').map(({ supervisor }) => supervisor), ['s']);
});

test('a shutdown budget over a stopping supervisor hastens it', () => {
  const stage = new Stage();
  const options = { children: ids.map((id) => stage.child(id, { stop: 'stall' as const, shutdown: 'infinity' as const })) };
  stage.boot({ children: [stage.subtree('s', options, { shutdown: 100 })] });
  stage.news();
  stage.stop();
  assert.deepEqual(stage.news(), ['stop c#1']);
  stage.clock.advanceSync(100);
  assert.deepEqual(stage.news().filter((line) => line.startsWith('kill')), ['kill c#1', 'kill b#1', 'kill a#1']);
  assert.equal(stage.done, true);
});

test('a second stop changes nothing', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { stop: 'stall', shutdown: 'infinity' })] });
  stage.stop();
  stage.stop();
  assert.deepEqual(stage.actor('a').orders.length, 1);
  stage.actor('a').exit('shutdown');
  assert.deepEqual([stage.done, stage.clock.pending], [true, 0]);
});

test('a stop takes its turn behind calls that need no waiting', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a')] });
  const started = stage.call({ type: 'startChild', spec: stage.child('b') });
  stage.stop();
  assert.deepEqual([started.result, stage.done], [{ ok: true }, true]);
});

test('a child that dies by itself during the stop is not restarted and not stopped', () => {
  const stage = new Stage();
  stage.boot({ intensity: 9, children: [stage.child('a'), stage.child('b', { stop: 'stall', shutdown: 'infinity' })] });
  stage.stop();
  stage.actor('a').exit('crashed');
  stage.news();
  stage.actor('b').exit('shutdown');
  assert.deepEqual([stage.news(), stage.done], [['exit b#1 shutdown'], true]);
});

test('calls on a supervisor that stops are answered noproc', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.child('a', { stop: 'stall', shutdown: 'infinity' })] });
  stage.stop();
  for (const type of ['whichChildren', 'countChildren'] as const) {
    assert.deepEqual(stage.call({ type }).result, { ok: false, error: 'noproc' });
  }
  assert.deepEqual(stage.phases, ['a:stopping#1'], 'inspect still answers');
});
