/** Time limits on others, kept by a process that itself stands still now and then. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extendIfLate, LATE_MS, startDeadline } from '../../src/policy/deadline.js';
import { CellLimit, LATE_MS as CELL_LATE_MS } from '../../src/adapters/cell-limit.js';
import { createCellLanes } from '../../src/adapters/cell-lane.js';
import { fixture, openLane, within } from '../support/lanes.js';
import { StallingClock } from '../support/replica-stage.js';
import { Stage } from '../support/stage.js';

/** Time goes by without this process noticing: its timers come late, and before anything that was said meanwhile. */
function sleeper(stage: Stage): (ms: number) => void {
  const now = stage.clock.now.bind(stage.clock);
  let sleptMs = 0;
  stage.clock.now = () => now() + sleptMs;
  return (ms) => { sleptMs += ms; };
}

test('a timer on time judges, a late one grants the whole time once more, a second late one judges', () => {
  const limit = startDeadline(1000, 500);
  assert.equal(extendIfLate(limit, 1500), undefined);
  assert.equal(extendIfLate(limit, 1500 + LATE_MS), undefined);
  const again = extendIfLate(limit, 1501 + LATE_MS)!;
  assert.deepEqual(again, { delayMs: 1000, dueAt: 2501 + LATE_MS, extended: true });
  assert.equal(extendIfLate(again, 1_000_000), undefined);
});

test('kill grace, the supervisor stood still: a child whose end it has not heard of is no zombie', () => {
  const stage = new Stage();
  const sleep = sleeper(stage);
  stage.boot({ killGraceMs: 70, children: [stage.child('a', { stop: 'undead', shutdown: 'brutal_kill' })] });
  stage.stop();
  sleep(5000);
  stage.clock.advanceSync(70);
  assert.deepEqual([stage.of('zombie').length, stage.done], [0, false]);
  stage.actor('a').exit('killed');
  assert.deepEqual([stage.of('zombie').length, stage.done, stage.clock.pending], [0, true, 0]);
});

test('kill grace, the supervisor stood still: a child that is still there after the same time again is a zombie', () => {
  const stage = new Stage();
  const sleep = sleeper(stage);
  stage.boot({ killGraceMs: 70, children: [stage.child('a', { stop: 'undead', shutdown: 'brutal_kill' })] });
  stage.stop();
  sleep(5000);
  stage.clock.advanceSync(139);
  assert.equal(stage.of('zombie').length, 0);
  sleep(5000); // always late: it must come to a verdict too
  stage.clock.advanceSync(1);
  assert.deepEqual([stage.of('zombie').length, stage.done, stage.clock.pending], [1, true, 0]);
});

test('start time-out, the supervisor stood still: a child that has started meanwhile runs', () => {
  const stage = new Stage();
  const sleep = sleeper(stage);
  stage.boot({ startTimeoutMs: 100, children: [stage.child('a', { start: 'silent' })] });
  sleep(5000);
  stage.clock.advanceSync(100);
  stage.actor('a').tell('child.started');
  assert.deepEqual([stage.phases, stage.clock.pending], [['a:running#1'], 0]);
});

test('shutdown budget, the supervisor stood still: a child that has gone meanwhile was not killed', () => {
  const stage = new Stage();
  const sleep = sleeper(stage);
  stage.boot({ children: [stage.child('a', { stop: 'stall', shutdown: 200 })] });
  stage.stop();
  sleep(5000);
  stage.clock.advanceSync(200);
  stage.actor('a').exit('shutdown');
  assert.deepEqual([stage.of('child-exit').length, stage.done, stage.clock.pending], [0, true, 0]);
});

test('limit on a cell: on time it judges, late it grants the time once more, late again it judges; the newest one counts', () => {
  assert.equal(CELL_LATE_MS, LATE_MS, 'one rule');
  const clock = new StallingClock();
  const limit = new CellLimit(clock);
  const judged: string[] = [];
  limit.set(100, () => judged.push('replaced'));
  limit.set(100, () => judged.push('on time'));
  clock.advanceSync(100);
  limit.set(100, () => judged.push('late'));
  clock.stall(LATE_MS + 1);
  clock.advanceSync(199);
  assert.deepEqual(judged, ['on time']);
  clock.stall(5000);
  clock.advanceSync(1);
  assert.deepEqual(judged, ['on time', 'late']);
  limit.set(Infinity, () => judged.push('never'));
  limit.set(100, () => judged.push('cleared'));
  limit.clear();
  clock.advanceSync(1000);
  assert.deepEqual([judged.length, clock.pending], [2, 0]);
});

test('a killed cell, the host stood still: its exit waits to be heard, so it is no zombie and ends as ordered', async () => {
  const clock = new StallingClock();
  const cells = createCellLanes({ clock });
  const { lane, exit } = openLane(cells, { file: fixture('echo') });
  await within(lane.spawned, 'spawn');
  lane.kill('hung', 'a run took longer than hangMs (1)');
  clock.stall(5000);
  clock.advanceSync(2000); // its limit, before this process's loop has heard anything
  assert.equal(cells.zombies, 0);
  assert.deepEqual(await within(exit, 'exit'), { reason: 'hung', detail: 'a run took longer than hangMs (1)' });
  assert.equal(cells.zombies, 0);
});

test('an ordered stop of a cell, the host stood still: what it has done meanwhile counts, it was not killed', async () => {
  const clock = new StallingClock();
  const { lane, exit } = openLane(createCellLanes({ clock }), { file: fixture('echo') });
  await within(lane.load(), 'load');
  lane.stop(200);
  clock.stall(5000);
  clock.advanceSync(200);
  assert.equal((await within(exit, 'exit')).reason, 'shutdown');
});
