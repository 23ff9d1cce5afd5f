import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostsSeen } from '../../src/policy/hosts-seen.js';

function three(): HostsSeen {
  const seen = new HostsSeen();
  for (const host of ['a', 'b', 'c']) {
    seen.serves(host, 'digits');
    seen.heard(host, 0);
  }
  return seen;
}
/** Every host that chance could pick. */
const choices = (seen: HostsSeen, avoided: string[] = []): string[] =>
  [...new Set([0, 0.34, 0.5, 0.67, 0.99].map((chance) => seen.another('digits', avoided, chance)!))];

test('all good: the queue group', () => {
  assert.equal(three().first('digits', 100, 0), undefined);
  assert.equal(new HostsSeen().first('digits', 100, 0), undefined);
});

test('one suspect: first attempts go directly to the others, until it is heard', () => {
  const seen = three();
  seen.silent('a', 100);
  assert.deepEqual([seen.first('digits', 101, 0), seen.first('digits', 101, 0.99)], ['b', 'c']);
  seen.heard('a', 102);
  assert.equal(seen.first('digits', 103, 0), undefined);
});

test('a suspicion is over after 5 s, doubling to 30 s, and then a ping is due; it does not end by itself', () => {
  const seen = three();
  let nowMs = 0;
  for (const lastsMs of [5000, 10_000, 20_000, 30_000, 30_000]) {
    seen.silent('a', nowMs);
    seen.silent('a', nowMs + 1); // the same silence, seen by another call
    assert.deepEqual(seen.dueForPing('digits', nowMs + lastsMs - 1), []);
    assert.deepEqual(seen.dueForPing('digits', nowMs + lastsMs), ['a']);
    assert.ok(seen.isSuspect('a'));
    nowMs += lastsMs;
  }
  seen.lapse('a', nowMs - 1);
  assert.ok(seen.isSuspect('a'));
  seen.lapse('a', nowMs + 30_000);
  assert.ok(!seen.isSuspect('a'));
});

test('the queue group is doubtful: hosts heard since come first, then the others, then the group again', () => {
  const seen = three();
  seen.doubtGroup('digits', 100);
  assert.deepEqual(choices(seen), ['a', 'b', 'c']);
  seen.heard('b', 101);
  assert.deepEqual(choices(seen), ['b']);
  assert.deepEqual(choices(seen, ['b']), ['a', 'c']);
  assert.deepEqual(choices(seen, ['a', 'b', 'c']), [undefined]);
  assert.equal(seen.first('digits', 101, 0), 'b');
  assert.equal(seen.first('digits', 5100, 0), undefined);
});

test('a doubt is over when the silent one is known by name, or nobody was silent', () => {
  const seen = three();
  seen.doubtGroup('digits', 100);
  seen.trustGroup('digits');
  assert.ok(seen.groupIsGood('digits', 101));
});

test('doubts about one actor say nothing of another', () => {
  const seen = three();
  seen.serves('d', 'other');
  seen.doubtGroup('digits', 0);
  seen.silent('a', 0);
  assert.ok(seen.groupIsGood('other', 1));
});

test('gone from an actor: the host is not asked for it; dead: for none', () => {
  const seen = three();
  seen.serves('a', 'other');
  seen.gone('a', 'digits');
  assert.deepEqual([seen.hostsOf('digits'), seen.hostsOf('other')], [['b', 'c'], ['a']]);
  seen.silent('b', 0);
  seen.dead('b');
  assert.ok(seen.groupIsGood('digits', 1), 'a suspect that is dead troubles nobody');
  assert.deepEqual(seen.hostsOf('digits'), ['c']);
});

test('names are bounded: the oldest gives way', () => {
  const seen = new HostsSeen();
  for (let i = 0; i < 1000; i++) seen.serves(`h${i}`, 'digits');
  assert.equal(seen.hostsOf('digits').length, 256);
  assert.doesNotThrow(() => seen.another('digits', [], 0));
  for (let i = 0; i < 1000; i++) seen.serves('x', `actor${i}`);
  assert.deepEqual([seen.hostsOf('actor0'), seen.hostsOf('actor999')], [[], ['x']]);
});
