/** Subjects: the table of the contract, and the names that must not get into them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPrefix, isToken, lastToken, subjects } from '../../src/protocol/subjects.js';

test('subjects: the table of the contract', () => {
  const s = subjects();
  assert.deepEqual(
    [s.infer('a'), s.hostInfer('h', 'a'), s.status, s.statusOf('h'), s.events('h', 'replica-exit'), s.beat('h'), s.control('h', 'drain'), s.queueGroup],
    ['regrow.infer.a', 'regrow.host.h.infer.a', 'regrow.status', 'regrow.status.h', 'regrow.events.h.replica-exit', 'regrow.beat.h', 'regrow.control.h.drain', 'regrow'],
  );
  assert.deepEqual([s.statusOfAll, s.eventsOfAll, s.beatOfAll, s.controlOf('h')], ['regrow.status.*', 'regrow.events.>', 'regrow.beat.*', 'regrow.control.h.*']);
});

test('subjects: a prefix with dots', () => {
  assert.equal(subjects('acme.prod').infer('a'), 'acme.prod.infer.a');
  assert.equal(subjects('acme.prod').status, 'acme.prod.status');
});

test('subjects: names that would address something else are refused, also the second time', () => {
  const s = subjects();
  for (const bad of ['', '*', '>', 'a.b', 'a b', 'a\r\nPUB x 0', 'ä', '$SRV', 'x'.repeat(65)]) {
    assert.equal(isToken(bad), false, bad);
    for (let i = 0; i < 2; i++) assert.throws(() => s.infer(bad), TypeError, bad);
    assert.throws(() => s.hostInfer('h', bad), TypeError);
    assert.throws(() => s.hostInfer(bad, 'a'), TypeError);
    assert.throws(() => s.control('h', bad), TypeError);
  }
  for (const bad of ['', '.', 'a.', '.a', 'a..b', 'a.*', '>', 'a b', '$SYS']) {
    assert.equal(isPrefix(bad), false, bad);
    assert.throws(() => subjects(bad), TypeError, bad);
  }
});

test('subjects: a name comes back as the last token', () => {
  fc.assert(fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/), (name) => {
    const s = subjects('a.b');
    for (const subject of [s.infer(name), s.hostInfer('h', name), s.beat(name), s.statusOf(name), s.control('h', name)]) assert.equal(lastToken(subject), name);
  }));
});
