import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createActor, setup } from 'xstate';
import { supervisorMachine } from '../../src/supervision/index.js';
import { SimClock } from '../support/sim-clock.js';
import { machineChildren, Stage } from '../support/stage.js';

test('a crash, as an operator reads it', () => {
  const stage = new Stage();
  stage.boot({ intensity: 1, children: [stage.child('a')] });
  stage.reports.length = 0;
  stage.actor('a').exit('hung', { facts: { memoryBytes: 7, requests: ['r1'] } });
  stage.actor('a').exit('crashed');
  const from = { supervisor: 'root', supervisorIncarnation: 1 };
  const first = { id: 'a', incarnation: 1 };
  const second = { id: 'a', incarnation: 2 };
  assert.deepEqual(stage.reports, [
    { ...from, type: 'child-exit', context: 'child_terminated', child: first, reason: 'hung', detail: 'scripted', facts: { memoryBytes: 7, requests: ['r1'] } },
    { ...from, type: 'restart-authorised', child: first, attempt: 1, delayMs: 0, inWindow: 1, intensity: 1, group: ['a'] },
    { ...from, type: 'child-started', child: second },
    { ...from, type: 'child-exit', context: 'child_terminated', child: second, reason: 'crashed', detail: 'scripted' },
    { ...from, type: 'gave-up', child: second, limit: 'intensity', attempt: 2, inWindow: 2, intensity: 1 },
    { ...from, type: 'shutdown', reason: 'shutdown', detail: 'budget_exhausted' },
  ]);
});

test('a failed start deep in the tree: each supervisor says which child, with the path', () => {
  const stage = new Stage();
  stage.boot({ children: [stage.subtree('s', { children: [stage.subtree('t', { children: [stage.child('x', { start: 'fail' })] })] })] });
  assert.deepEqual(stage.of('child-exit').map(({ supervisor, context, path }) => [supervisor, context, path]), [
    ['t', 'start_error', ['x']], ['s', 'start_error', ['t', 'x']], ['root', 'start_error', ['s', 't', 'x']],
  ]);
  assert.deepEqual(stage.root.getSnapshot().output?.failedPath, ['s', 't', 'x']);
});

test('auto shutdown: named as the reason of the end', () => {
  const stage = new Stage();
  stage.boot({ autoShutdown: 'any_significant', children: [stage.child('a', { restart: 'transient', significant: true })] });
  stage.actor('a').exit('normal');
  assert.deepEqual(stage.root.getSnapshot().output, { reason: 'shutdown', detail: 'auto_shutdown' });
});

test('listeners and repliers that throw harm nobody', () => {
  const clock = new SimClock();
  const root = createActor(supervisorMachine, {
    clock,
    input: {
      id: 'root', incarnation: 1, options: {},
      environment: { clock, random: { next: () => 0 }, onReport: () => { throw new Error('a broken listener'); } },
    },
  });
  root.start();
  root.send({ type: 'whichChildren', reply: () => { throw new Error('a broken caller'); } });
  assert.equal(root.getSnapshot().status, 'active');
  root.stop();
});

test('a child machine that breaks in an action is a crash, one that reaches its final state has ended normally', () => {
  for (const [event, reason] of [['break', 'crashed'], ['finish', 'normal']] as const) {
    const machine = setup({}).createMachine({
      entry: ({ event: init, self }) => {
        const { id, incarnation } = (init as unknown as { input: { id: string; incarnation: number } }).input;
        self._parent?.send({ type: 'child.started', id, incarnation });
      },
      initial: 'on',
      states: {
        on: { on: { break: { actions: () => { throw new Error('broken'); } }, finish: 'off' } },
        off: { type: 'final' },
      },
    });
    const stage = new Stage();
    stage.boot({ children: [{ ...stage.child('m', { restart: 'temporary' }), start: { logic: machine } }] });
    assert.deepEqual(stage.phases, ['m:running#1']);
    stage.root.getSnapshot().context.refs['m']!.send({ type: event });
    assert.deepEqual([stage.phases, stage.of('child-exit').map((report) => report.reason)], [[], [reason]]);
  }
});

test('a child machine that says its end and then ends, restarted at once: the end is not taken for that of its successor', () => {
  const machine = setup({}).createMachine({
    context: ({ input }) => input as { id: string; incarnation: number },
    entry: ({ context: { id, incarnation }, self }) => { self._parent?.send({ type: 'child.started', id, incarnation }); },
    initial: 'on',
    states: {
      on: { on: { finish: 'off' } },
      off: {
        type: 'final',
        entry: ({ context: { id, incarnation }, self }) => { self._parent?.send({ type: 'child.exited', id, incarnation, reason: 'hung', detail: 'said' }); },
      },
    },
  });
  const stage = new Stage();
  stage.boot({ intensity: 10, children: [{ ...stage.child('m'), start: { logic: machine } }] });
  for (let round = 0; round < 3; round++) stage.root.getSnapshot().context.refs['m']!.send({ type: 'finish' });
  assert.deepEqual([stage.phases, machineChildren(stage.root)], [['m:running#4'], ['child-0']]);
  assert.deepEqual(stage.of('child-exit').map(({ child, reason }) => `${child.incarnation} ${reason}`), ['1 hung', '2 hung', '3 hung']);
});
