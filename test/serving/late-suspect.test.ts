/** A run that is late and then takes its lane along. Found by the simulation of one host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';

test('late, waiting for another lane, and then its own lane dies: it is a suspect and runs alone', async () => {
  const stage = new ServingStage({ suspectMs: 200, timeoutMs: 30_000 });
  const [one, two] = [await stage.replica(), await stage.replica()];
  await stage.send('poison'); // on one
  await stage.send('b'); // on two
  await stage.send('c'); // ahead on one
  await stage.send('d'); // ahead on two
  await stage.clock.advance(190);
  await stage.answer(two);
  await stage.send('e'); // ahead on two again, behind d: nothing has room for the late one
  await stage.clock.advance(60);
  assert.deepEqual(two.on, ['d', 'e']);
  await stage.die(one, 'killed', 'SIGKILL');
  await stage.answer(two);
  assert.ok(!two.on.includes('poison'), 'not beside others');
  const three = await stage.replica();
  assert.deepEqual(three.on, ['poison'], 'alone on the newcomer');
  await stage.answer(three);
  assert.equal(stage.endOf('poison'), 'ok');
  for (const lane of [two, three, two, three, two]) if (lane.on.length > 0) await stage.answer(lane);
  assert.deepEqual([stage.dispatcher.queueCount, stage.dispatcher.queueBytes, stage.shared.queueBytes], [0, 0, 0]);
});
