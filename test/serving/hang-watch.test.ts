/** Who is judged as hung, and by whose clock. Found by the simulation of one host. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';
import { SimClock, settle } from '../support/sim-clock.js';

/** A clock whose owner can stand still: what is due meanwhile comes late, and all at once. */
class StallingClock extends SimClock {
  #stalledMs = 0;
  override now(): number { return super.now() + this.#stalledMs; }
  stall(ms: number): void { this.#stalledMs += ms; }
}

describe('hang watch', () => {
  test('a replica condemned as hung gets nothing more, however long its process takes to die', async () => {
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 });
    const lane = await stage.replica();
    lane.kill = () => {}; // SIGKILL was sent, the exit is not there yet
    await stage.send('a');
    await stage.clock.advance(1100);
    await stage.send('b');
    assert.deepEqual(lane.on, ['a']);
    await stage.die(lane, 'hung', 'a run took longer than hangMs (1000)');
    const next = await stage.replica();
    assert.deepEqual(next.on, ['a'], 'the suspect first, alone');
    await stage.answer(next);
    assert.deepEqual(next.on, ['b']);
  });

  test('a replica is condemned once', async () => {
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 });
    const lane = await stage.replica();
    let kills = 0;
    lane.kill = () => { kills++; };
    await stage.send('a');
    await stage.clock.advance(2000);
    assert.equal(kills, 1);
  });

  test("nobody is hung while the host's own loop stood still: answers may be waiting in its queue", async () => {
    const clock = new StallingClock();
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 }, {}, clock);
    const lane = await stage.replica();
    await stage.send('a');
    clock.stall(5000);
    await clock.advance(25); // the late look
    assert.equal(lane.ended, undefined);
    await stage.answer(lane);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('a run that is still there after the stall is judged by the next look', async () => {
    const clock = new StallingClock();
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 }, {}, clock);
    const lane = await stage.replica();
    await stage.send('a');
    clock.stall(5000);
    await clock.advance(60);
    await settle();
    assert.equal(lane.ended?.reason, 'hung');
  });
});

test('a host whose looks all come late comes to a verdict too', async () => {
  const clock = new StallingClock();
  const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 }, {}, clock);
  const lane = await stage.replica();
  await stage.send('a');
  for (let look = 0; look < 15 && !lane.ended; look++) {
    clock.stall(80);
    await clock.advance(25);
  }
  assert.equal(lane.ended?.reason, 'hung');
});
