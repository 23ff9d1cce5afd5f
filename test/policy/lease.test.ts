import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  candidateMayTake, checkKey, claim, clockLeads, EPOCHS_KEPT, fenceKey, leaseKey, newestOwner, nextEpoch, ownerMayServe, ownersToPurge, ownKey, parseStoreKey, readEpoch, ROLL_BACK_BRAKE_MS, rolledBack, storeRolledBack, suspendedMs,
  type EpochMarks, type TakeOverFacts,
} from '../../src/policy/lease.js';

const INC = '01ARZ3NDEKTSV4RRFFQ69G5FAV';

test('owner: serves until renewDeadlineMs after the last acknowledged renewal was sent, on an awake machine', () => {
  assert.equal(ownerMayServe(12_000, 0, 12_000, 0), true);
  assert.equal(ownerMayServe(12_000.1, 0, 12_000, 0), false);
  assert.equal(ownerMayServe(0, undefined, 12_000, 0), false);
  assert.equal(ownerMayServe(5, 0, 12_000, 1000), true);
  assert.equal(ownerMayServe(5, 0, 12_000, 1000.1), false);
  for (const [nowMs, sentMs, deadlineMs, suspendedMs] of [[NaN, 0, 1, 0], [0, NaN, 1, 0], [0, 0, NaN, 0], [0, 0, 1, NaN]] as [number, number, number, number][]) {
    assert.equal(ownerMayServe(nowMs, sentMs, deadlineMs, suspendedMs), false);
  }
});

test('candidate: takes over exactly when every condition holds, all combinations', () => {
  for (const ageMs of [0, 17_999, 18_000, 1e9]) for (const ownLeaseValid of [true, false]) for (const leaderConfirms of [true, false])
    for (const braked of [true, false]) for (const rolledBackForMs of [undefined, 0, ROLL_BACK_BRAKE_MS - 1, ROLL_BACK_BRAKE_MS]) {
      const facts: TakeOverFacts = { lastChangeSeenMs: 5, leaseMs: 18_000, ownLeaseValid, leaderConfirms, braked, ...(rolledBackForMs !== undefined && { rolledBackForMs }) };
      const wanted = ageMs >= 18_000 && ownLeaseValid && leaderConfirms && !braked && (rolledBackForMs ?? Infinity) >= ROLL_BACK_BRAKE_MS;
      const verdict = candidateMayTake(facts, 5 + ageMs);
      assert.equal(verdict.may, wanted, JSON.stringify({ ...facts, ageMs }));
      assert.ok(verdict.may || verdict.reason.length > 0);
    }
  assert.equal(candidateMayTake({ lastChangeSeenMs: NaN, leaseMs: 1, ownLeaseValid: true, leaderConfirms: true, braked: false }, 5).may, false);
});

test('an owner stops before any candidate starts, however both clocks drift by 10 %', () => {
  // True time t; the owner's renewal was sent at 0 and seen by the candidate no earlier. Clocks run at ownRate and theirRate.
  for (const ownRate of [0.9, 1, 1.1]) for (const theirRate of [0.9, 1, 1.1]) for (let t = 0; t < 40_000; t += 50) {
    const serves = ownerMayServe(t * ownRate, 0, 12_000, 0);
    const takes = candidateMayTake({ lastChangeSeenMs: 0, leaseMs: 18_000, ownLeaseValid: true, leaderConfirms: true, braked: false }, t * theirRate).may;
    assert.ok(!(serves && takes), `${t} ms, ${ownRate} and ${theirRate}`);
  }
});

test('epochs: known + 1, after a roll-back of the store known + 1000', () => {
  assert.equal(nextEpoch([], false), 1);
  assert.equal(nextEpoch([3, 9, 4], false), 10);
  assert.equal(nextEpoch(new Set([9]), true), 1009);
  assert.equal(nextEpoch([], true), 1000);
  assert.equal(storeRolledBack(10, 9), true);
  assert.equal(storeRolledBack(10, 10), false);
});

test('keys come back as they were made, and nothing else is taken for one', () => {
  fc.assert(fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/), fc.ulid(), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (name, incarnation, epoch) => {
    assert.deepEqual(parseStoreKey(leaseKey(name, incarnation)), { kind: 'lease', host: name, incarnation });
    assert.deepEqual(parseStoreKey(fenceKey(name, incarnation)), { kind: 'fence', host: name, incarnation });
    assert.deepEqual(parseStoreKey(ownKey(name, epoch)), { kind: 'own', actor: name, epoch });
    assert.deepEqual(parseStoreKey(checkKey(name, epoch)), { kind: 'check', actor: name, epoch });
  }));
  for (const key of ['', 'own', 'own.a', 'own.a.0', 'own.a.01', 'own.a.-1', 'own.a.1.2', 'own.a.1e3', 'own.a.9999999999999999', 'own..1', 'own.a b.1', 'lease.a', `lease.a.${INC}.x`, `lease..${INC}`, 'lease.a.', 'desired.a.1']) {
    assert.equal(parseStoreKey(key), undefined, key);
  }
});

test('the newest owner is the highest epoch by number, per actor, whatever else lies there', () => {
  const newest = newestOwner(['own.a.9', leaseKey('h', INC), 'own.a.10', 'own.b.1', 'own.a.2', 'own.c.0', 'junk']);
  assert.deepEqual([...newest], [['a', { key: 'own.a.10', epoch: 10 }], ['b', { key: 'own.b.1', epoch: 1 }]]);
});

test('purge: all but the newest 100 epochs of each actor, oldest first, gaps or not', () => {
  const keys = Array.from({ length: EPOCHS_KEPT + 3 }, (_, index) => ownKey('a', index < 50 ? index + 1 : index + 1001));
  assert.deepEqual(ownersToPurge([...keys].reverse().concat('own.b.1', leaseKey('h', INC))), ['own.a.1', 'own.a.2', 'own.a.3']);
  assert.deepEqual(ownersToPurge(keys.slice(0, EPOCHS_KEPT)), []);
  assert.deepEqual(newestOwner(keys).get('a'), newestOwner(keys.slice(3)).get('a'));
});

test('high-water mark: once epoch e was read of an actor nothing lower is, and other actors are not touched', () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(20))), (reads) => {
    let marks: EpochMarks = new Map();
    const highest: Record<string, number> = { a: 0, b: 0 };
    for (const [actor, epoch] of reads) {
      const read = readEpoch(marks, actor, epoch);
      assert.equal(read.accepted, epoch >= highest[actor]!);
      highest[actor] = Math.max(highest[actor]!, epoch);
      marks = read.marks;
    }
    assert.equal(readEpoch(marks, 'a', NaN).accepted, false);
  }));
});

test('suspension: what any wakeful clock gained on the monotonic one; clocks that do not match refuse', () => {
  const leads = clockLeads([1_000_000, 5000], 100);
  assert.deepEqual(leads, [999_900, 4900]);
  assert.equal(suspendedMs(leads, clockLeads([1_000_500, 5500], 600)), 0);
  // The wall clock was set back meanwhile, the uptime tells all the same.
  assert.equal(suspendedMs(leads, clockLeads([900_000, 8500], 600)), 3000);
  assert.ok(Number.isNaN(suspendedMs(leads, [1])));
  assert.equal(suspendedMs([], []), 0);
});

test('claim: nobody has to be waited for where nobody is in charge, and the brake is for those who are', () => {
  const facts = { leaseMs: 18_000, ownLeaseValid: true, rolledBackForMs: undefined, braked: false };
  for (const kind of ['free', 'ended'] as const) {
    assert.equal(claim({ kind }, facts, 0).may, true);
    assert.equal(claim({ kind }, { ...facts, braked: true }, 0).may, true);
    assert.equal(claim({ kind }, { ...facts, ownLeaseValid: false }, 0).may, false);
    assert.equal(claim({ kind }, { ...facts, rolledBackForMs: 1 }, 0).may, false);
    assert.equal(claim({ kind }, { ...facts, rolledBackForMs: ROLL_BACK_BRAKE_MS }, 0).may, true);
  }
  const owned = { kind: 'owned', lastChangeSeenMs: 100 } as const;
  assert.equal(claim(owned, facts, 18_099).may, false);
  assert.equal(claim(owned, facts, 18_100).may, true);
  assert.equal(claim(owned, { ...facts, braked: true }, 18_100).may, false);
});

test('roll-back: a leader behind what was seen, or an epoch that is in nobody\'s hands any more', () => {
  const epochs = [{ newest: 4, known: 4 }, { newest: 9, known: 2 }];
  assert.equal(rolledBack({ highestSeen: 10, leaderSequence: 10, epochs }), false);
  assert.equal(rolledBack({ highestSeen: 11, leaderSequence: 10, epochs }), true);
  assert.equal(rolledBack({ highestSeen: 10, leaderSequence: 10, epochs: [...epochs, { newest: 3, known: 4 }] }), true);
});
