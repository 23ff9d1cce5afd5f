import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Members } from '../../src/policy/members.js';

interface Cell { readonly count: number }

test('every version stays what it was, whichever of them is changed and read, as if each were a copy', () => {
  const step = fc.record({ of: fc.nat(), key: fc.constantFrom('a', 'b', 'c', 'd'), read: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const versions: { readonly members: Members<Cell>; readonly plain: ReadonlyMap<string, Cell> }[] = [{ members: Members.of(new Map()), plain: new Map() }];
    steps.forEach(({ of, key, read }, count) => {
      const { members, plain } = versions[of % versions.length]!;
      if (read) assert.deepEqual(members.get(key), plain.get(key));
      versions.push({ members: members.with(key, { count }), plain: new Map(plain).set(key, { count }) });
    });
    for (const { members, plain } of versions) {
      assert.deepEqual([...members].sort(), [...plain].sort());
      assert.equal(members.size, plain.size);
      assert.deepEqual([...members.keys()].filter((key) => !plain.has(key) || !members.has(key)), []);
    }
  }));
});

test('of a plain map it makes a copy, of its own kind none', () => {
  const plain = new Map([['a', { count: 1 }]]);
  const members = Members.of(plain);
  plain.set('b', { count: 2 });
  assert.deepEqual([...members], [['a', { count: 1 }]]);
  assert.equal(Members.of(members), members);
});
