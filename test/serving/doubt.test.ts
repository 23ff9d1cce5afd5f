/** A replica whose answers are doubted: which share of the requests it keeps until it is proven or replaced. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';
import { settle } from '../support/sim-clock.js';
import type { SimLane } from '../support/sim-lane.js';

const nan = { ok: true as const, outputs: [{ name: 'y', datatype: 'FP32' as const, shape: [1], data: new Uint8Array(new Float32Array([NaN]).buffer) }], runMs: 1 };

/** Two replicas, the first of which just gave an answer that was refused; its request was answered by the other. */
async function refusedOnce(): Promise<{ stage: ServingStage; bad: SimLane & { route: { replica: string } }; good: SimLane }> {
  const stage = new ServingStage({ guard: { finite: true }, idempotent: true });
  const [bad, good] = [await stage.replica(), await stage.replica()];
  await stage.send('first');
  bad.answer(nan);
  await settle();
  await stage.answer(good);
  assert.equal(stage.endOf('first'), 'ok');
  return { stage, bad, good };
}

test('while it proves itself again its siblings come first, and it takes what they have no room for', async () => {
  const { stage, bad, good } = await refusedOnce();
  for (const id of ['a', 'b', 'c']) await stage.send(id);
  assert.deepEqual([good.on, bad.on], [['a', 'b'], ['c']]);
});

test('proven: it has its share again', async () => {
  const { stage, bad, good } = await refusedOnce();
  stage.dispatcher.proved(bad.route.replica, true);
  for (const id of ['a', 'b']) await stage.send(id);
  assert.deepEqual([good.on.length, bad.on.length], [1, 1]);
});

test('no proof came, because it proved itself a moment ago: it has its share again after a second', async () => {
  const { stage, bad, good } = await refusedOnce();
  await stage.clock.advance(1001);
  for (const id of ['a', 'b']) await stage.send(id);
  assert.deepEqual([good.on.length, bad.on.length], [1, 1]);
});

test('its proof failed: it gets nothing while a sibling is open, whatever it answers', async () => {
  const { stage, bad, good } = await refusedOnce();
  stage.dispatcher.proved(bad.route.replica, false);
  stage.dispatcher.routeSuspect(bad.route as never, true);
  stage.dispatcher.routeSuspect(bad.route as never, false); // as after a late answer
  for (const id of ['a', 'b', 'c']) await stage.send(id);
  await stage.clock.advance(5000 - 1);
  assert.deepEqual([good.on, bad.on], [['a', 'b'], []]);
  assert.equal(stage.dispatcher.queueCount, 1);
});

test('its proof failed and it is the last one: a doubtful answer beats none', async () => {
  const { stage, bad, good } = await refusedOnce();
  stage.dispatcher.proved(bad.route.replica, false);
  await stage.die(good);
  await stage.send('a');
  assert.deepEqual(bad.on, ['a']);
  await stage.answer(bad);
  assert.equal(stage.endOf('a'), 'ok');
  const next = await stage.replica();
  for (const id of ['b', 'c']) await stage.send(id);
  assert.deepEqual([next.on, bad.on], [['b', 'c'], []]);
});

test('its proof failed and its sibling refused the same request: neither keeps it waiting', async () => {
  const { stage, bad, good } = await refusedOnce();
  stage.dispatcher.proved(bad.route.replica, false);
  await stage.send('a');
  good.answer(nan);
  await settle();
  assert.deepEqual(good.on, ['a'], 'tried again where answers are believed');
});

test('its proof failed: it is no place for the second copy of a late run', async () => {
  const stage = new ServingStage({ suspectMs: 200 });
  const [one, two] = [await stage.replica(), await stage.replica()];
  stage.dispatcher.proved('echo-2', false);
  await stage.send('a');
  await stage.clock.advance(1000);
  assert.deepEqual([one.on, two.on], [['a'], []]);
});

test('doubt is news once, until it is proven', async () => {
  const { stage, bad, good } = await refusedOnce();
  for (const id of ['a', 'b', 'c']) await stage.send(id); // c on the doubted one
  bad.answer(nan);
  await settle();
  assert.deepEqual([stage.doubted, stage.newlyDoubted], [['echo-1', 'echo-1'], ['echo-1']]);
  stage.dispatcher.proved('echo-1', true);
  while (good.on.length > 0) await stage.answer(good);
  while (bad.on.length > 0) await stage.answer(bad);
  await stage.send('d');
  await stage.send('e');
  bad.answer(nan);
  await settle();
  assert.deepEqual(stage.newlyDoubted, ['echo-1', 'echo-1']);
});
