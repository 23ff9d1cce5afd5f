/** A request that never ends: two replicas at most, whichever of its copies is ended first, and no innocent is taken for one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';
import type { SimLane } from '../support/sim-lane.js';

const looping = { suspectMs: 200, hangMs: 1000, timeoutMs: 30_000 };

/** Of these lanes, those that ended. */
const dead = (lanes: readonly SimLane[]): number => lanes.filter((lane) => lane.ended).length;

describe('a request that never ends', () => {
  test('two replicas: its second copy runs alone, and its second death is proof', async () => {
    const stage = new ServingStage({ ...looping, replicas: 2 });
    const lanes = [await stage.replica(), await stage.replica()];
    await stage.send('loop');
    await stage.clock.advance(250);
    await stage.send('innocent');
    assert.deepEqual(lanes.map((lane) => lane.on), [['loop'], ['loop']], 'nothing is posted beside its second copy');
    await stage.clock.advance(800);
    assert.equal(dead(lanes), 1);
    const third = await stage.replica();
    assert.deepEqual(third.on, ['innocent'], 'the newcomer serves');
    await stage.answer(third);
    await stage.clock.advance(250);
    assert.deepEqual(stage.ends, { innocent: 'ok', loop: 'POISON' });
    assert.equal(dead([...lanes, third]), 2);
    assert.deepEqual(stage.poisoned, ['loop']);
  });

  test('three replicas: one goes on serving all the while', async () => {
    const stage = new ServingStage({ ...looping, replicas: 3 });
    const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
    await stage.send('loop');
    await stage.clock.advance(250);
    const serving = lanes.find((lane) => lane.on.length === 0)!;
    for (let n = 0; n < 5; n++) {
      await stage.send(`innocent-${n}`);
      assert.deepEqual(serving.on, [`innocent-${n}`]);
      await stage.answer(serving);
      await stage.clock.advance(200);
    }
    await stage.clock.advance(250);
    assert.equal(stage.endOf('loop'), 'POISON');
    assert.deepEqual([dead(lanes), serving.ended], [2, undefined]);
  });

  test('a second one while the first is judged is not copied onto the last replica that serves', async () => {
    const stage = new ServingStage({ ...looping, replicas: 3 });
    const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
    await stage.send('loop-1');
    await stage.send('loop-2');
    await stage.clock.advance(250);
    const free = (): SimLane[] => lanes.filter((lane) => lane.on.length === 0);
    assert.equal(free().length, 0, 'one copy on the third');
    await stage.clock.advance(800);
    assert.equal(dead(lanes), 2);
    for (let round = 0; round < 2; round++) {
      lanes.push(await stage.replica());
      await stage.clock.advance(1100);
    }
    assert.deepEqual([stage.endOf('loop-1'), stage.endOf('loop-2')], ['POISON', 'POISON']);
    assert.equal(dead(lanes), 4);
  });

  test('its second copy ends its replica first, alone: the end of the other one is the proof', async () => {
    const stage = new ServingStage({ ...looping, replicas: 2 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('bad');
    await stage.clock.advance(250);
    await stage.die(two, 'crashed');
    assert.equal(stage.endOf('bad'), undefined, 'one death proves nothing');
    await stage.clock.advance(150);
    await stage.die(one, 'crashed');
    assert.equal(stage.endOf('bad'), 'POISON');
  });

  test('two SIGKILLs from outside, one of them while its second copy ran alone: no proof', async () => {
    const stage = new ServingStage({ ...looping, replicas: 2 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.clock.advance(250);
    await stage.die(two, 'killed', 'SIGKILL');
    await stage.clock.advance(150);
    await stage.die(one, 'killed', 'SIGKILL');
    const three = await stage.replica();
    assert.deepEqual(three.on, ['a'], 'alone again');
    await stage.answer(three);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('a frozen replica is ended by regrow, and the second copy ends another one: one death, no proof', async () => {
    const stage = new ServingStage({ ...looping, replicas: 2 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.clock.advance(250);
    await stage.die(one, 'hung', 'did not answer pings');
    await stage.clock.advance(150);
    await stage.die(two, 'crashed');
    assert.equal(stage.endOf('a'), undefined);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['a']);
    await stage.answer(three);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('the second copy waits for the last lane to be empty, and its replica dies meanwhile: that lane is not spent on a suspect', async () => {
    const stage = new ServingStage({ ...looping, replicas: 2 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('bad');
    await stage.clock.advance(150);
    await stage.send('b');
    await stage.clock.advance(100);
    assert.deepEqual([one.on, two.on], [['bad'], ['b']]);
    await stage.die(one, 'crashed');
    await stage.answer(two);
    assert.deepEqual(two.on, []);
    await stage.send('c');
    assert.deepEqual(two.on, ['c']);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['bad']);
  });
});

describe('several suspects', () => {
  /** Three requests that ended their replicas, more than 100 ms apart, and others that wait. */
  async function afterThreeDeaths(replicas: number): Promise<ServingStage> {
    const stage = new ServingStage({ timeoutMs: 30_000, replicas }, { holdMs: 10_000 });
    const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
    for (const id of ['bad-1', 'bad-2', 'bad-3']) await stage.send(id);
    for (const lane of lanes) {
      await stage.die(lane);
      await stage.clock.advance(150);
    }
    for (const id of ['a', 'b']) await stage.send(id);
    return stage;
  }

  test('nothing serves: newcomers take turns, and the one that serves is not spent on a suspect', async () => {
    const stage = await afterThreeDeaths(2);
    const four = await stage.replica();
    assert.deepEqual(four.on, ['bad-1']);
    await stage.die(four);
    const five = await stage.replica();
    assert.deepEqual(five.on, ['a', 'b'], 'the innocents first');
    await stage.answer(five);
    await stage.answer(five);
    assert.deepEqual(five.on, []);
    await stage.clock.advance(150);
    const six = await stage.replica();
    assert.deepEqual(six.on, ['bad-2']);
    await stage.die(six);
    await stage.clock.advance(150);
    await stage.die(await stage.replica());
    assert.deepEqual(stage.ends, { a: 'ok', b: 'ok', 'bad-1': 'POISON', 'bad-2': 'POISON', 'bad-3': 'POISON' });
    assert.equal(five.ended, undefined);
  });

  test('an actor with one replica: no other newcomer will come, so each is for a suspect first', async () => {
    const stage = await afterThreeDeaths(1);
    for (const bad of ['bad-1', 'bad-2', 'bad-3']) {
      const lane = await stage.replica();
      assert.deepEqual(lane.on, [bad]);
      await stage.die(lane);
      await stage.clock.advance(150);
    }
    const last = await stage.replica();
    assert.deepEqual(last.on, ['a', 'b']);
  });
});

describe('the predicted wait', () => {
  const refuses = async (stage: ServingStage): Promise<boolean> => {
    for (let n = 0; n < 4; n++) await stage.send(`queue-${n}`, { timeoutMs: 20_000 });
    await stage.send('hurried', { timeoutMs: 1500 });
    return stage.endOf('hurried') === 'RESOURCE_EXHAUSTED';
  };

  test('is not learned from the cold first run of a replica', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    await stage.send('cold');
    await stage.clock.advance(1000);
    await stage.answer(lane);
    assert.equal(await refuses(stage), false);
  });

  test('is not learned from a suspect that ran alone', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    for (const id of ['a', 'b']) await stage.send(id);
    await stage.die(one);
    await stage.clock.advance(150);
    const two = await stage.replica();
    for (let n = 0; n < 2; n++) {
      await stage.clock.advance(1000);
      await stage.answer(two);
    }
    assert.deepEqual([stage.endOf('a'), stage.endOf('b')], ['ok', 'ok']);
    assert.equal(await refuses(stage), false);
  });

  test('is not learned from a replica that was frozen', async () => {
    const stage = new ServingStage({ timeoutMs: 30_000 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    for (const id of ['warm-1', 'warm-2', 'frozen']) await stage.send(id);
    await stage.answer(one);
    await stage.answer(two);
    stage.dispatcher.routeSuspect(one.route, true);
    await stage.clock.advance(5000);
    for (const lane of [two, one]) while (lane.on.length > 0) await stage.answer(lane);
    assert.equal(await refuses(stage), false);
  });
});
