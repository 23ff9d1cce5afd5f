/**
 * Several requests that end replicas, at once: their deaths fall together, and each must be judged all the same. What
 * `npm run chaos` found in the row "five poison payloads at once", without processes.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ServingStage, inputOf } from '../support/serving-stage.js';
import type { SimLane } from '../support/sim-lane.js';

/** The replica dies of the first request on it that is bad; until then it answers. Returns whether it died. */
async function work(stage: ServingStage, lane: SimLane): Promise<boolean> {
  while (lane.on.length > 0) {
    if (lane.on[0]!.startsWith('bad')) {
      await stage.die(lane, 'crashed');
      return true;
    }
    await stage.answer(lane);
  }
  return false;
}

describe('several poison requests at once', () => {
  test('two crowds in a row: who was in both is a suspect, runs alone, and each is told POISON', async () => {
    const stage = new ServingStage({ replicas: 2, timeoutMs: 30_000 }, { holdMs: 10_000 });
    const first = [await stage.replica(), await stage.replica()];
    for (let n = 1; n <= 4; n++) await stage.send(`bad-${n}`);
    for (const lane of first) await stage.die(lane);
    const second = [await stage.replica(), await stage.replica()];
    assert.deepEqual(second.map((lane) => lane.on.length), [2, 2], 'one crowd: the machine did it');
    await stage.clock.advance(300);
    for (const lane of second) await stage.die(lane);
    for (let n = 0; n < 4; n++) {
      await stage.clock.advance(300);
      const lane = await stage.replica();
      assert.equal(lane.on.length, 1, 'alone');
      await stage.die(lane);
    }
    assert.deepEqual(stage.ends, { 'bad-1': 'POISON', 'bad-2': 'POISON', 'bad-3': 'POISON', 'bad-4': 'POISON' });
  });

  test('innocents that were posted beside poison in two crowds are answered', async () => {
    const stage = new ServingStage({ replicas: 2, timeoutMs: 30_000 }, { holdMs: 10_000 });
    let lanes = [await stage.replica(), await stage.replica()];
    for (const id of ['bad-1', 'bad-2', 'a', 'b']) await stage.send(id); // a behind bad-1, b behind bad-2
    for (let crowd = 0; crowd < 2; crowd++) {
      for (const lane of lanes) await stage.die(lane);
      await stage.clock.advance(300);
      lanes = [await stage.replica(), await stage.replica()];
    }
    for (let n = 0; n < 12 && stage.outcomes.length < 4; n++) {
      for (const [index, lane] of lanes.entries()) {
        if (!(await work(stage, lane))) continue;
        await stage.clock.advance(300);
        lanes[index] = await stage.replica();
      }
    }
    assert.deepEqual(stage.ends, { a: 'ok', b: 'ok', 'bad-1': 'POISON', 'bad-2': 'POISON' });
  });

  test('the end of a suspect that ran alone explains itself: what died a moment before stays suspect', async () => {
    const stage = new ServingStage({ replicas: 2, timeoutMs: 30_000 }, { holdMs: 10_000 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('bad-1');
    await stage.send('bad-2');
    await stage.die(one);
    await stage.clock.advance(300);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['bad-1'], 'alone, beside two, which serves');
    await stage.die(two);
    await stage.clock.advance(30);
    await stage.die(three);
    await stage.clock.advance(300);
    const four = await stage.replica();
    assert.equal(four.on.length, 1);
    await stage.die(four);
    await stage.send('a');
    await stage.clock.advance(300);
    const five = await stage.replica();
    assert.deepEqual(five.on, ['a'], 'and no other suspect beside it');
  });

  test('nothing serves and another death is too fresh for a verdict: the newcomer serves those who wait', async () => {
    const stage = new ServingStage({ replicas: 3, timeoutMs: 30_000 }, { holdMs: 10_000 });
    const [one, two, three] = [await stage.replica(), await stage.replica(), await stage.replica()];
    for (const id of ['bad-1', 'bad-2', 'bad-3']) await stage.send(id);
    await stage.die(one);
    await stage.clock.advance(300);
    await stage.die(two);
    await stage.clock.advance(300);
    const trial = await stage.replica();
    assert.equal(trial.on.length, 1, 'a suspect, alone, beside three');
    await stage.die(three);
    await stage.send('a');
    await stage.clock.advance(150);
    await stage.die(trial);
    await stage.clock.advance(20);
    const next = await stage.replica();
    assert.deepEqual(next.on, ['a']);
    await stage.answer(next);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('equal ones that wait are refused when the first is proven, and cost no replica', async () => {
    const stage = new ServingStage({ timeoutMs: 30_000 });
    const one = await stage.replica();
    await stage.send('p-1', { inputs: [inputOf('p')] });
    await stage.die(one);
    await stage.clock.advance(300);
    await stage.send('p-2', { inputs: [inputOf('p')] });
    await stage.send('q', { inputs: [inputOf('q')] });
    await stage.die(await stage.replica());
    assert.deepEqual(stage.ends, { 'p-1': 'POISON', 'p-2': 'POISON' });
    assert.deepEqual(stage.poisoned, ['p-1'], 'one dead letter');
    const next = await stage.replica();
    assert.deepEqual(next.on, ['q']);
  });
});

describe('a suspect stays where it is', () => {
  test('no replica comes back within holdMs: others are answered, the suspect waits for a newcomer and gets its verdict', async () => {
    const stage = new ServingStage({ timeoutMs: 30_000 });
    const one = await stage.replica();
    await stage.send('bad');
    await stage.die(one);
    await stage.send('a');
    await stage.clock.advance(2500);
    assert.deepEqual(stage.ends, { a: 'UNAVAILABLE' });
    await stage.die(await stage.replica());
    assert.equal(stage.endOf('bad'), 'POISON');
  });

  test('nothing is restarted any more: it is answered, and nobody may try it elsewhere', async () => {
    const stage = new ServingStage({ timeoutMs: 30_000 });
    const one = await stage.replica();
    await stage.send('bad');
    await stage.die(one);
    stage.dispatcher.setProspect(false, 'the pool gave up');
    await stage.clock.advance(0);
    assert.deepEqual(stage.outcomes.map(({ end, reason, retryable }) => [end, reason, retryable]), [['UNAVAILABLE', 'suspect', false]]);
  });

  test('its executions are used up before there is a verdict: the same', async () => {
    const stage = new ServingStage({ replaysMax: 1, timeoutMs: 30_000 });
    const one = await stage.replica();
    await stage.send('bad');
    await stage.die(one);
    await stage.clock.advance(300);
    await stage.die(await stage.replica(), 'killed', 'SIGKILL');
    assert.deepEqual(stage.outcomes.map(({ end, reason, retryable }) => [end, reason, retryable]), [['UNAVAILABLE', 'suspect', false]]);
  });

  test('another host has a replica: who only waited may go there at once, the suspect waits here', async () => {
    const stage = new ServingStage({ timeoutMs: 30_000 }, { readyElsewhere: () => true });
    const one = await stage.replica();
    for (const id of ['bad', 'ahead', 'queued']) await stage.send(id);
    await stage.die(one, 'killed', 'SIGKILL');
    assert.deepEqual(stage.outcomes.map(({ id, end, retryable }) => [id, end, retryable]).sort(), [['ahead', 'UNAVAILABLE', true], ['queued', 'UNAVAILABLE', true]]);
    const two = await stage.replica();
    assert.deepEqual(two.on, ['bad']);
  });
});
