import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BRAKE_MAX_MS, brakeHolds, brakeThreshold, fullRate, releasedBrake, spendTakeOver, stepBrake, walkEnded } from '../../src/policy/brake.js';

const suspectAfterMs = 1500;
const facts = (hosts: number, silentSinceMs: readonly number[]): Parameters<typeof stepBrake>[1] => ({ hosts, silentSinceMs, suspectAfterMs });
const times = (count: number, atMs: number): number[] => Array<number>(count).fill(atMs);

test('the threshold is 55 % of the hosts, rounded up, and at least three', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 10, 20, 100, 300].map(brakeThreshold), [3, 3, 3, 3, 3, 4, 6, 11, 55, 165]);
});

test('holds exactly from the threshold on, for every size up to 40 hosts', () => {
  for (let hosts = 1; hosts <= 40; hosts++) {
    for (let silent = 0; silent <= hosts; silent++) {
      const brake = stepBrake(releasedBrake, facts(hosts, times(silent, 1000)), 1000);
      assert.equal(brakeHolds(brake), silent >= 3 && silent / hosts >= 0.55 - 1e-12, `${silent} of ${hosts}`);
    }
  }
});

test('only hosts that fall silent within one suspectAfterMs count together', () => {
  assert.ok(brakeHolds(stepBrake(releasedBrake, facts(5, [1000, 1700, 2500]), 2500)));
  assert.ok(!brakeHolds(stepBrake(releasedBrake, facts(5, [999, 1700, 2500]), 2500)));
});

test('ends as soon as fewer than a mass are silent, and after 60 s at the latest', () => {
  const held = stepBrake(releasedBrake, facts(5, times(4, 1000)), 1000);
  assert.equal(stepBrake(held, facts(5, times(3, 1000)), 30_000), held);
  assert.ok(!brakeHolds(stepBrake(held, facts(5, times(2, 1000)), 1500)));
  assert.equal(stepBrake(held, facts(5, times(4, 1000)), 1000 + BRAKE_MAX_MS - 1), held);
  assert.ok(!brakeHolds(stepBrake(held, facts(5, times(4, 1000)), 1000 + BRAKE_MAX_MS)));
});

test('hosts dead since long neither trip nor keep it', () => {
  const longDead = times(6, 0);
  assert.ok(!brakeHolds(stepBrake(releasedBrake, facts(10, [...longDead, 90_000, 90_000]), 90_000)));
  const held = stepBrake(releasedBrake, facts(10, [...times(3, 0), ...times(6, 90_000)]), 90_000);
  assert.ok(brakeHolds(held));
  assert.ok(!brakeHolds(stepBrake(held, facts(10, [...times(3, 0), ...times(5, 90_000)]), 91_000)));
});

test('the hosts that held it cannot trip it again; a new mass can', () => {
  const held = stepBrake(releasedBrake, facts(5, times(3, 1000)), 1000);
  const over = stepBrake(held, facts(5, times(3, 1000)), 61_000);
  assert.ok(!brakeHolds(stepBrake(over, facts(5, times(3, 1000)), 61_500)));
  const early = stepBrake(held, facts(5, [1000, 1000]), 1400);
  assert.ok(!brakeHolds(stepBrake(early, facts(5, [1000, 1000, 1450]), 1450)));
  assert.ok(brakeHolds(stepBrake(over, facts(5, [1000, ...times(3, 62_000)]), 62_000)));
});

test('take-overs: a second\'s worth at once, then the rate, never more than it in any window', () => {
  let rate = fullRate(5, 0);
  const grantedAt: number[] = [];
  for (let nowMs = 0; nowMs <= 3000; nowMs += 10) {
    const spent = spendTakeOver(rate, 5, nowMs);
    rate = spent.rate;
    if (spent.granted) grantedAt.push(nowMs);
  }
  assert.deepEqual(grantedAt.slice(0, 7), [0, 10, 20, 30, 40, 200, 400]);
  assert.equal(grantedAt.length, 5 + 15);
  fc.assert(fc.property(fc.array(fc.nat(400), { maxLength: 100 }), fc.integer({ min: 1, max: 20 }), (gaps, perSecondMax) => {
    let bucket = fullRate(perSecondMax, 0);
    let nowMs = 0;
    const granted: number[] = [];
    for (const gap of gaps) {
      nowMs += gap;
      const spent = spendTakeOver(bucket, perSecondMax, nowMs);
      bucket = spent.rate;
      if (spent.granted) granted.push(nowMs);
    }
    granted.forEach((fromMs, first) => granted.slice(first).forEach((toMs, more) => assert.ok(more + 1 <= perSecondMax + ((toMs - fromMs) * perSecondMax) / 1000 + 1e-6)));
  }));
});

test('an actor stops walking after hostsMax distinct hosts, and the reason names them', () => {
  const gaveUp = (host: string, device = 'cpu') => ({ host, device, reason: 'budget exhausted' });
  assert.equal(walkEnded([], 2), undefined);
  assert.equal(walkEnded([gaveUp('a'), gaveUp('a', 'cuda:0')], 2), undefined);
  const reason = walkEnded([gaveUp('b'), gaveUp('a')], 2);
  assert.equal(reason, 'its pool gave up on 2 hosts, tried on no further one: a (cpu): budget exhausted; b (cpu): budget exhausted');
  assert.equal(walkEnded([gaveUp('a'), gaveUp('b')], 2), reason);
});
