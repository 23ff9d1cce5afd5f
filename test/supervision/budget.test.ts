import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { findSupervisor } from '../../src/supervision/index.js';
import { machineChildren, Stage } from '../support/stage.js';

test('the window slides: intensity 1 in 5 s lives through a crash every 5001 ms, not through one every 5000', () => {
  for (const [gapMs, survives] of [[5001, true], [5000, false]] as const) {
    const stage = new Stage();
    stage.boot({ children: [stage.child('a')] });
    for (let crash = 0; crash < 3 && !stage.done; crash += 1) {
      stage.actor('a').exit();
      stage.clock.advanceSync(gapMs);
    }
    assert.equal(stage.done, !survives);
  }
});

test('a group restart counts once', () => {
  const stage = new Stage();
  stage.boot({ strategy: 'one_for_all', intensity: 2, children: ['a', 'b', 'c'].map((id) => stage.child(id)) });
  stage.actor('b').exit();
  assert.deepEqual([stage.view.inWindow, stage.of('restart-authorised').map(({ group }) => group)], [1, [['a', 'b', 'c']]]);
});

test('API calls are not counted', () => {
  const stage = new Stage();
  stage.boot({ intensity: 0, children: [stage.child('a')] });
  for (let round = 0; round < 5; round += 1) {
    stage.call({ type: 'terminateChild', id: 'a' });
    stage.call({ type: 'restartChild', id: 'a' });
  }
  assert.deepEqual([stage.view.inWindow, stage.phases], [0, ['a:running#6']]);
});

test('exitsCoalesceMs 100: a pool whose replicas die together is charged once', () => {
  const stage = new Stage();
  const ids = ['a', 'b', 'c', 'd'];
  stage.boot({ intensity: 1, exitsCoalesceMs: 100, children: ids.map((id) => stage.child(id)) });
  for (const id of ids) {
    stage.actor(id).exit('killed');
    stage.clock.advanceSync(33);
  }
  assert.deepEqual([stage.view.inWindow, stage.phases], [1, ids.map((id) => `${id}:running#2`)]);
  stage.actor('a').exit();
  assert.equal(stage.done, true, '132 ms after the counted one');
});

test('exitsCoalesceMs does not cover failed starts', () => {
  const stage = new Stage();
  stage.boot({ intensity: 2, exitsCoalesceMs: 100, children: [stage.child('a')] });
  stage.manners.set('a', { start: 'fail' });
  stage.actor('a').exit();
  assert.deepEqual([stage.done, stage.of('gave-up')[0]?.inWindow], [true, 3]);
});

test('charge false: restarted, not counted, and the backoff of the child stands still', () => {
  const stage = new Stage();
  stage.boot({ intensity: 0, backoff: { minMs: 500, maxMs: 500, factor: 1, jitter: 0 }, consecutiveMax: 1, children: [stage.child('a')] });
  for (let death = 0; death < 5; death += 1) stage.actor('a').exit('killed', { charge: false });
  assert.deepEqual([stage.phases, stage.view.inWindow, stage.see('a').failures], [['a:running#6'], 0, 0]);
  stage.actor('a').exit();
  assert.equal(stage.done, true);
});

test('escalation: the subtree stops in reverse, ends as shutdown, and its parent counts it', () => {
  const stage = new Stage();
  const options = { intensity: 0, children: [stage.child('a'), stage.child('b'), stage.child('c')] };
  stage.boot({ intensity: 1, children: [stage.subtree('s', options), stage.child('z')] });
  stage.news();
  stage.actor('b').exit();
  assert.deepEqual(stage.news(), [
    'exit b#1 crashed', 'stop c#1', 'exit c#1 shutdown', 'stop a#1', 'exit a#1 shutdown', 'start a#1', 'start b#1', 'start c#1',
  ]);
  assert.deepEqual([stage.phases, stage.view.inWindow], [['s:running#2', 'z:running#1'], 1]);
  assert.deepEqual(stage.see('s').lastExit, { reason: 'shutdown', detail: 'budget_exhausted', incarnation: 1, at: 0 });
});

test('escalation under a transient or temporary parent spec: not restarted', () => {
  for (const [restart, phases] of [['transient', ['s:stopped#1']], ['temporary', []]] as const) {
    const stage = new Stage();
    stage.boot({ children: [stage.subtree('s', { intensity: 0, children: [stage.child('a')] }, { restart })] });
    stage.actor('a').exit();
    assert.deepEqual([stage.phases, stage.done], [phases, false]);
  }
});

test('invariant: whatever crashes when, no window holds more than intensity restarts, and nothing is left at the end', () => {
  fc.assert(fc.property(
    fc.constantFrom('one_for_one' as const, 'one_for_all' as const, 'rest_for_one' as const),
    fc.integer({ min: 0, max: 4 }),
    fc.array(fc.record({ child: fc.integer({ min: 0, max: 2 }), gapMs: fc.integer({ min: 0, max: 400 }), next: fc.constantFrom('started' as const, 'fail' as const) }), { maxLength: 25 }),
    (strategy, intensity, crashes) => {
      const periodMs = 1000;
      const stage = new Stage();
      const ids = ['a', 'b', 'c'];
      const at: number[] = [];
      stage.boot({
        strategy, intensity, periodMs, backoff: { minMs: 50, maxMs: 300, factor: 2, jitter: 0 },
        children: ids.map((id) => stage.child(id)),
      });
      let seen = 0;
      const note = (): void => { for (; seen < stage.of('restart-authorised').length; seen += 1) at.push(stage.clock.now()); };
      for (const { child, gapMs, next } of crashes) {
        if (stage.done) break;
        const id = ids[child]!;
        stage.manners.set(id, { start: next });
        stage.actors.get(id)?.exit();
        note();
        for (let ms = 0; ms < gapMs; ms += 25) { stage.clock.advanceSync(25); note(); }
        stage.manners.set(id, {});
      }
      for (const end of at) assert.ok(at.filter((time) => time >= end - periodMs && time <= end).length <= intensity);
      stage.stop();
      assert.deepEqual([stage.done, stage.actors.size, stage.clock.pending, machineChildren(stage.root)], [true, 0, 0, []]);
    }), { numRuns: 200 });
});

test('10,000 crashes leave no trace: machine children, timers, records stay flat', () => {
  const stage = new Stage();
  stage.boot({
    intensity: Infinity, startTimeoutMs: 1000, backoff: { minMs: 10, maxMs: 10, factor: 1, jitter: 0 },
    children: [stage.child('a'), stage.subtree('s', { intensity: Infinity, children: [stage.child('b')] })],
  });
  const subtree = findSupervisor(stage.root, 's')!;
  for (let crash = 0; crash < 10_000; crash += 1) {
    stage.actor(crash % 2 === 0 ? 'a' : 'b').exit();
    stage.clock.advanceSync(10);
    if (crash % 1000 === 0) { stage.reports.length = 0; stage.log.length = 0; }
  }
  assert.deepEqual(stage.phases, ['a:running#5001', 's:running#1']);
  assert.deepEqual(machineChildren(stage.root).sort(), ['child-0', 'child-1']);
  assert.deepEqual(machineChildren(subtree), ['child-0']);
  assert.equal(stage.clock.pending, 0);
  const { context } = stage.root.getSnapshot();
  assert.deepEqual([context.inbox.length, Object.keys(context.refs).length, Object.keys(context.starting).length, context.slots.size], [0, 2, 0, 0]);
});

test('temporary children that come and go leave no trace', () => {
  const stage = new Stage();
  stage.boot({});
  const names = new Set<string>();
  for (let round = 0; round < 3000; round += 1) {
    stage.call({ type: 'startChild', spec: stage.child(`t${round}`, { restart: 'temporary' }) });
    stage.clock.advanceSync(0);
    for (const name of machineChildren(stage.root)) names.add(name);
    stage.actor(`t${round}`).exit('normal');
  }
  const { ledger } = stage.root.getSnapshot().context;
  assert.deepEqual([ledger.children.length, ledger.pastStarts.size <= 1024, machineChildren(stage.root)], [0, true, []]);
  // XState remembers the name of every actor that ever ended, for as long as the process lives.
  assert.deepEqual([...names], ['child-0']);
});

test('a child that dies as fast as it starts, without any limit, starves nobody', () => {
  const stage = new Stage();
  stage.boot({ intensity: Infinity, children: [stage.child('a'), stage.child('calm')] });
  stage.manners.set('a', { start: 'crash' });
  // Returns at all: the supervisor hands the event loop back between bursts.
  stage.actor('a').exit();
  const burst = stage.log.length;
  assert.ok(burst > 20 && burst < 400, `${burst} lines in a burst`);
  stage.clock.stepSync();
  assert.ok(stage.log.length > burst, 'and goes on in the next turn');
  assert.equal(stage.see('calm').phase, 'running');
  const asked = stage.call({ type: 'whichChildren' });
  stage.clock.stepSync();
  assert.equal(asked.result?.ok, true);
  stage.stop();
  for (let turn = 0; turn < 3; turn += 1) stage.clock.stepSync();
  assert.deepEqual([stage.done, stage.clock.pending], [true, 0]);
});

test('the same with a start that always fails', () => {
  const stage = new Stage();
  stage.boot({ intensity: Infinity, initialStart: 'retry', children: [stage.child('a', { start: 'fail' })] });
  const burst = stage.log.length;
  stage.clock.stepSync();
  assert.ok(stage.log.length > burst);
  stage.stop();
  for (let turn = 0; turn < 3; turn += 1) stage.clock.stepSync();
  assert.equal(stage.done, true);
});

// ---------------------------------------------------------------------------------------------------------- reconfigure

const unlimited = { intensity: Infinity, consecutiveMax: Infinity, backoff: { minMs: 500, maxMs: 500, factor: 1, jitter: 0 } };

test('reconfigure: a supervisor without limits gets some, and gives up beyond them', () => {
  const stage = new Stage();
  stage.boot({ ...unlimited, children: [stage.child('a')] });
  const crash = (): void => {
    stage.actor('a').exit();
    stage.clock.advanceSync(500);
  };
  for (let round = 0; round < 20; round += 1) crash();
  assert.equal(stage.done, false);
  stage.root.send({ type: 'reconfigure', limits: { intensity: 2, periodMs: 60_000 } });
  crash();
  crash();
  assert.deepEqual([stage.done, stage.view.inWindow], [false, 2]);
  crash();
  assert.deepEqual([stage.done, stage.of('gave-up')[0]?.limit], [true, 'intensity']);
});

test('reconfigure: the window is empty, failures stay counted, but the first one from then on does not end it', () => {
  const stage = new Stage();
  stage.boot({ intensity: 3, periodMs: 60_000, children: [stage.child('a')] });
  for (let round = 0; round < 3; round += 1) stage.actor('a').exit();
  stage.root.send({ type: 'reconfigure', limits: { consecutiveMax: 2 } });
  assert.deepEqual([stage.view.inWindow, stage.see('a').failures], [0, 1]);
  stage.actor('a').exit();
  assert.equal(stage.done, false);
  stage.actor('a').exit();
  assert.deepEqual([stage.done, stage.of('gave-up')[0]?.limit], [true, 'consecutiveMax']);
});

test('reconfigure: at once, also while a start is pending and while a backoff runs, which keeps its length', () => {
  const stage = new Stage();
  stage.boot({ ...unlimited, startedWhen: 'spawned', initialStart: 'retry', children: [stage.child('a'), stage.child('b', { start: 'silent' })] });
  stage.actor('a').exit();
  stage.actor('a').exit();
  assert.equal(stage.see('a').nextStartInMs, 500);
  stage.root.send({ type: 'reconfigure', limits: { intensity: 0, backoff: { minMs: 9000, maxMs: 9000, factor: 1, jitter: 0 } } });
  assert.equal(stage.see('a').nextStartInMs, 500);
  stage.clock.advanceSync(500);
  assert.deepEqual(stage.phases, ['a:running#3', 'b:starting#1']);
  stage.actor('a').exit();
  assert.equal(stage.of('gave-up').length, 1);
});

test('incarnations of one map: an id that comes back under another supervisor goes on counting', () => {
  const incarnations = new Map<string, number>();
  const starts: string[] = [];
  for (let life = 0; life < 2; life += 1) {
    const stage = new Stage();
    stage.boot({ incarnations, children: [stage.child('a')] });
    stage.call({ type: 'startChild', spec: stage.child('b') });
    stage.actor('a').exit();
    stage.stop();
    starts.push(...stage.news().filter((line) => line.startsWith('start')));
  }
  assert.deepEqual(starts, ['start a#1', 'start b#1', 'start a#2', 'start a#3', 'start b#2', 'start a#4']);
});
