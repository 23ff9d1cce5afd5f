/** Two copies of one request, and the death of one of them: what the other one's request may still do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';

test('its second copy ends a replica while a frozen one has the first: the third copy runs alone', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000, replaysMax: 3 });
  const [one, two] = [await stage.replica(), await stage.replica()];
  await stage.send('bad');
  stage.dispatcher.routeSuspect(one.route, true);
  await stage.clock.advance(0);
  assert.deepEqual([one.on, two.on], [['bad'], ['bad']]);
  await stage.die(two, 'crashed');
  const three = await stage.replica();
  stage.dispatcher.routeSuspect(one.route, false);
  stage.dispatcher.routeSuspect(one.route, true);
  await stage.send('a');
  assert.deepEqual(three.on, ['a'], 'the last one that serves is not spent on it');
  const four = await stage.replica();
  assert.deepEqual(four.on, ['bad']);
  await stage.send('b');
  assert.deepEqual(four.on, ['bad'], 'nothing is posted beside it');
});

test('late, its second copy ended a replica, and it waits for a third one when its own dies: that is the proof', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000, replaysMax: 3, suspectMs: 200, hangMs: 10_000 });
  const [one, two] = [await stage.replica(), await stage.replica()];
  await stage.send('bad');
  await stage.clock.advance(250);
  assert.deepEqual(two.on, ['bad'], 'alone');
  await stage.die(two, 'crashed');
  await stage.clock.advance(150);
  stage.dispatcher.routeSuspect(one.route, false);
  stage.dispatcher.routeSuspect(one.route, true);
  await stage.die(one, 'crashed');
  assert.equal(stage.endOf('bad'), 'POISON');
});

test('a suspect breaks the device it runs alone on: it is a suspect still', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000 });
  const [one, two] = [await stage.replica(1, { device: 'cuda:0' }), await stage.replica(1, { device: 'cuda:0' })];
  await stage.send('bad');
  await stage.die(one);
  await stage.clock.advance(150);
  const three = await stage.replica(1, { device: 'cuda:0' });
  assert.deepEqual(three.on, ['bad']);
  three.answer({ ok: false, code: 'INTERNAL', message: 'device lost', deviceFatal: true });
  await stage.clock.advance(0);
  assert.deepEqual([two.on, stage.endOf('bad')], [[], undefined], 'not on the last one that serves');
});

test('a lane is believed again: a suspect that waited for a second open one runs', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000 });
  const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
  await stage.send('bad');
  stage.dispatcher.routeSuspect(lanes[1]!.route, true);
  await stage.die(lanes[0]!);
  assert.deepEqual(lanes.map((lane) => lane.on.length), [0, 0, 0]);
  stage.dispatcher.routeSuspect(lanes[1]!.route, false);
  await stage.clock.advance(0);
  assert.equal(lanes.filter((lane) => lane.on.includes('bad')).length, 1);
});

test('a proof speaks for a replica: a suspect that waited for a second one that serves runs', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000 });
  const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
  await stage.send('bad');
  stage.dispatcher.proved('echo-2', false);
  await stage.die(lanes[0]!);
  assert.deepEqual(lanes.map((lane) => lane.on.length), [0, 0, 0]);
  stage.dispatcher.proved('echo-2', true);
  await stage.clock.advance(0);
  assert.equal(lanes.filter((lane) => lane.on.includes('bad')).length, 1);
});

test('two lanes die together while a late run waits for its second copy: that copy runs alone all the same', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000, suspectMs: 200 });
  const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
  await stage.send('loop');
  await stage.clock.advance(150);
  await stage.send('a');
  await stage.send('b');
  await stage.clock.advance(80);
  assert.equal(stage.dispatcher.queueCount, 1, 'its copy waits until a lane is empty');
  await stage.die(lanes[1]!, 'killed', 'SIGKILL');
  await stage.die(lanes[2]!, 'killed', 'SIGKILL');
  const four = await stage.replica();
  assert.deepEqual(four.on, ['loop']);
});

test('an older death is not forgiven with a newer one that was one of a crowd', async () => {
  const stage = new ServingStage({ timeoutMs: 30_000, replaysMax: 5, replicas: 3 });
  const [one, two, three] = [await stage.replica(), await stage.replica(), await stage.replica()];
  await stage.send('bad');
  await stage.send('a');
  await stage.die(one);
  await stage.clock.advance(300);
  assert.deepEqual([two.on, three.on], [['a'], ['bad']]);
  await stage.die(two);
  await stage.die(three); // no proof, so soon after two
  const idle = await stage.replica();
  await stage.die(idle); // and a third one
  const next = await stage.replica();
  await stage.send('b');
  assert.equal(next.on.length, 1, 'a suspect alone, or one that never was one; not both');
  assert.ok(stage.dispatcher.onProbation(next.route.replica));
});
