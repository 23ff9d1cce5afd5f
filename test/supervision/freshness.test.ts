/** Ready means a success or a proof a short while ago: who proves itself again, who is stale, and who is never judged. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LATE_MS } from '../../src/policy/deadline.js';
import { ReplicaStage } from '../support/replica-stage.js';

const STALE = /^suspect: no success and no proof for \d+ ms$/;

describe('freshness of an idle replica', () => {
  test('it proves itself again after half of freshMs, and is ready throughout', async () => {
    const on = await new ReplicaStage().ready();
    await on.clock.advance(499);
    assert.deepEqual(on.lane.on, []);
    await on.clock.advance(1);
    assert.deepEqual(on.lane.on, ['golden']);
    await on.answer();
    await on.clock.advance(400);
    assert.deepEqual([on.proofs, on.shown.at(-1)], [[true], 'ready']);
  });

  test('no proof and no success within freshMs: suspect at the next look, and back with the proof, not a look later', async () => {
    const on = await new ReplicaStage().ready();
    await on.clock.advance(1499);
    assert.equal(on.shown.at(-1), 'ready');
    await on.clock.advance(1);
    assert.match(on.shown.at(-1)!, STALE);
    await on.answer();
    assert.equal(on.shown.at(-1), 'ready');
  });

  test('the host stood still: a late look starts the proof that is due and judges nobody', async () => {
    const on = await new ReplicaStage().ready();
    on.clock.stall(5000);
    await on.clock.advance(500);
    assert.deepEqual([on.shown.at(-1), on.lane.on], ['ready', ['golden']]);
    await on.answer();
    await on.clock.advance(400);
    assert.deepEqual([on.proofs, on.shown.filter((shown) => STALE.test(shown))], [[true], []]);
  });

  test('the host stood still twice: the second late look judges, as one that is always late must come to a verdict too', async () => {
    const on = await new ReplicaStage().ready();
    on.clock.stall(5000);
    await on.clock.advance(500);
    on.clock.stall(LATE_MS + 1);
    await on.clock.advance(500);
    assert.match(on.shown.at(-1)!, STALE);
  });
});

describe('a run of a later proof that never returns', () => {
  const hangMs = 300;

  test('hung after hangMs: out of routing first, then ended, counted like any exit, and replaced', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.clock.advance(500 + hangMs - 1);
    assert.deepEqual([on.exits, on.deeds], [[], ['routed']]);
    await on.clock.advance(1);
    assert.deepEqual(on.exits, ['hung: a run of its proof took longer than hangMs (300)']);
    assert.deepEqual([on.deeds, on.charged, on.lanes.length], [['routed', 'unrouted', 'kill hung'], [1], 2]);
  });

  test('the host stood still: not judged by the late timer, and heard, it goes on', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.clock.advance(500);
    on.clock.stall(5000);
    await on.clock.advance(hangMs);
    assert.deepEqual(on.exits, []);
    await on.answer();
    await on.clock.advance(hangMs);
    assert.deepEqual([on.exits, on.proofs], [[], [true]]);
  });

  test('the host stood still, and the run is still there after the same time again: hung', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.clock.advance(500);
    on.clock.stall(5000);
    await on.clock.advance(2 * hangMs - 1);
    assert.deepEqual(on.exits, []);
    await on.clock.advance(1);
    assert.equal(on.exits.length, 1);
  });

  test('several runs of one proof have hangMs each', async () => {
    const on = new ReplicaStage({ limits: { hangMs }, proofRuns: 2 });
    await on.ready();
    await on.answer();
    for (let run = 0; run < 2; run++) {
      await on.clock.advance(run === 0 ? 500 + hangMs - 1 : hangMs - 1);
      await on.answer();
    }
    assert.deepEqual([on.exits, on.proofs], [[], [true]]);
  });

  test('a doubted replica with a run before the proof: its time begins with the last answer to a caller', async () => {
    const on = await new ReplicaStage({ limits: { hangMs, freshMs: 60_000 } }).ready();
    on.vitals = { lastAnswerMs: 0, busy: true };
    await on.tell({ type: 'doubt' });
    await on.clock.advance(hangMs - 50);
    on.vitals = { lastAnswerMs: hangMs - 50, busy: false };
    await on.clock.advance(hangMs - 1);
    assert.deepEqual(on.exits, []);
    await on.clock.advance(1);
    assert.equal(on.exits.length, 1);
  });

  test('while a run is before it nobody is judged here: that run has a time limit of its own', async () => {
    const on = await new ReplicaStage({ limits: { hangMs, freshMs: 60_000 } }).ready();
    on.vitals = { lastAnswerMs: 0, busy: true };
    await on.tell({ type: 'doubt' });
    await on.clock.advance(10 * hangMs);
    assert.deepEqual(on.exits, []);
  });

  test('what was posted behind it does not protect it', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.clock.advance(500);
    on.vitals = { lastAnswerMs: 0, busy: true };
    await on.clock.advance(hangMs);
    assert.equal(on.exits.length, 1);
  });

  test('suspect for a late run: that run is before it, and the data path times it', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.tell({ type: 'slow', detail: 'a run takes 100 ms' }); // the data path counts it as suspect, not as busy
    await on.clock.advance(500 + 5 * hangMs);
    assert.deepEqual([on.lane.on, on.exits], [['golden'], []]);
    on.vitals = { lastAnswerMs: on.clock.now(), busy: false };
    await on.tell({ type: 'recovered' });
    await on.clock.advance(2 * hangMs);
    assert.equal(on.exits.length, 1);
  });

  test('answered in time, it leaves no timer behind', async () => {
    const on = await new ReplicaStage({ limits: { hangMs } }).ready();
    await on.clock.advance(500);
    const before = on.clock.pending;
    await on.answer();
    assert.equal(on.clock.pending, before - 1);
    void on.supervisor.stop();
    await on.clock.advance(1000);
    assert.equal(on.clock.pending, 0);
  });
});
