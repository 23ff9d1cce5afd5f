import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sizeOf } from './cast.js';
import type { Costs } from './costs.js';
import { simulateScale, type Outcome, type Phase, type ScaleOptions } from './scale.js';

/** Given, not measured: the same run on every machine. A look is as dear as with three hundred hosts. */
const costs: Costs = { stateBytes: 5000, beatBytes: 113, lookMs: 100, placementMs: 60, decodeStateMs: 0.1, encodeStateMs: 0.1, beatMs: 0.02, tickMs: 0.02 };
const run = (part: Partial<ScaleOptions> = {}): Promise<Outcome> =>
  simulateScale({ size: sizeOf(20, 200, 800), costs, seed: 1, looking: 20, lostShare: 0.1, loadMs: [2000, 5000], startsParallelMax: 4, comeBack: false, seconds: { steady: 4, after: 20 }, ...part });
const everyBeat = ({ rates }: Phase, hosts: number): number => hosts * hosts * 2 * rates.seconds;

test('20 hosts, 200 actors: nothing moves while nothing happens, a lost tenth is replaced exactly, nobody is taken for silent', { timeout: 120_000 }, async () => {
  const { steady, loss, back, wronglyJudged, unmet } = await run({ comeBack: true, seconds: { steady: 2, after: 42 } });
  assert.equal(wronglyJudged, 0);
  assert.equal(steady.replicasStarted, 0);
  assert.equal(steady.rates.kinds.state.published, 0);
  // Every beat goes to every host, the one that sent it included.
  assert.ok(Math.abs(steady.rates.kinds.beat.delivered - everyBeat(steady, 20)) <= 20 * 20, `${steady.rates.kinds.beat.delivered} beats`);

  assert.ok(loss.missing > 40, `${loss.missing} replicas were lost`);
  assert.equal(loss.replicasStarted, loss.missing + loss.replicasRemoved);
  assert.ok(loss.replicasRemoved <= loss.missing * 0.05, `${loss.replicasRemoved} replicas too many`);
  assert.ok(loss.readyMs < Infinity, 'not all replicas were ready again');
  assert.ok(loss.firstStartMs >= 1000, 'a host was replaced before it was suspect');

  assert.equal(back!.missing, 0);
  assert.equal(back!.replicasStarted, back!.replicasRemoved);
  assert.equal(unmet, 0);
});

test('looking takes a tenth of a host at most, however dear a look is', { timeout: 60_000 }, async () => {
  const { loss, unmet } = await run({ size: sizeOf(10, 100, 300), looking: 10, costs: { ...costs, lookMs: 400 } });
  assert.equal(unmet, 0);
  assert.ok(loss.looks * 400 <= 0.1 * loss.rates.seconds * 1000 + 2 * 400, `${loss.looks} looks`);
  assert.ok(loss.looks >= 3, `${loss.looks} looks`);
});

test('hosts that are given the answer of one that looks end where they would have ended themselves', { timeout: 60_000 }, async () => {
  const all = await run();
  const some = await run({ looking: 4 });
  assert.deepEqual([some.unmet, some.wronglyJudged], [all.unmet, all.wronglyJudged]);
  assert.equal(some.loss.missing, all.loss.missing);
  assert.equal(some.loss.replicasStarted - some.loss.replicasRemoved, all.loss.replicasStarted - all.loss.replicasRemoved);
  assert.ok(Math.abs(some.loss.readyMs - all.loss.readyMs) <= 5000, `${some.loss.readyMs} and ${all.loss.readyMs} ms`);
});
