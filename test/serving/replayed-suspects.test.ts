/** What an operator tries again (`suspect`): alone, and never on the last replica that serves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';
import { settle } from '../support/sim-clock.js';

test('suspect call, one replica: it waits, and the replica serves others', async () => {
  const stage = new ServingStage();
  const only = await stage.replica();
  await stage.send('again', { suspect: true });
  assert.equal(only.on.length, 0);
  await stage.send('other');
  assert.equal(await stage.answer(only), 'other');
  assert.deepEqual(stage.ends, { other: 'ok' });
});

test('suspect call, one replica and a newcomer: it runs on the newcomer, alone, and its death costs nobody else', async () => {
  const stage = new ServingStage();
  const old = await stage.replica();
  await stage.send('again', { suspect: true, attemptsLeft: 1 });
  const newcomer = await stage.replica();
  assert.deepEqual([old.on.length, newcomer.on.length], [0, 1]);
  await stage.send('other');
  assert.equal(newcomer.on.length, 1);
  await stage.die(newcomer, 'crashed');
  assert.equal(await stage.answer(old), 'other');
  assert.deepEqual(stage.ends, { again: 'POISON', other: 'ok' });
  assert.deepEqual(stage.poisoned, ['again']);
});

test('suspect call, its actor lost every replica meanwhile: the replacement serves and does not run it', async () => {
  const stage = new ServingStage();
  const old = await stage.replica();
  await stage.send('again', { suspect: true });
  await stage.die(old, 'crashed');
  const replacement = await stage.replica();
  assert.equal(replacement.on.length, 0);
  await stage.send('other');
  assert.equal(await stage.answer(replacement), 'other');
});

test('suspect call of a quarantined request: it runs all the same; an equal one without the word is refused', async () => {
  const stage = new ServingStage();
  const [one] = [await stage.replica(), await stage.replica()];
  await stage.send('p', { suspect: true, attemptsLeft: 1 });
  await stage.die(one!, 'crashed');
  assert.equal(stage.endOf('p'), 'POISON');
  await stage.replica();
  await stage.send('p');
  assert.equal(stage.outcomes.length, 2);
  assert.deepEqual(stage.outcomes.map(({ end }) => end), ['POISON', 'POISON']);
  await stage.send('p', { suspect: true, attemptsLeft: 1 });
  await settle();
  assert.equal(stage.outcomes.length, 2, 'it runs');
});
