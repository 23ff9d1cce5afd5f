import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { emptyView, excuse, fence, goneAtOnce, heard, left, tick, type BeatFacts, type DetectorView, type Change } from '../../src/policy/detector.js';

const limits = { beatMs: 500, suspectAfterMs: 1500, deadAfterMs: 3000, forgetMs: 600_000 };
const A = '01AAAAAAAAAAAAAAAAAAAAAAAA';
const B = '01BBBBBBBBBBBBBBBBBBBBBBBB';
const C = '01CCCCCCCCCCCCCCCCCCCCCCCC';
const beat = (sequence: number, incarnation = A): BeatFacts => ({ incarnation, sequence, load: 0, stateVersion: 1, storeSequence: 0 });
const arrows = (changes: readonly Change[]): string[] => changes.map(({ host, incarnation, from, to }) => `${host}/${incarnation[2]} ${from}>${to}`);
const stateOf = (view: DetectorView, host = 'h'): string => view.members.get(host)?.liveness ?? 'unknown';

/** Ticks every beat, punctually, from one time up to another. */
function punctual(view: DetectorView, fromMs: number, toMs: number): { view: DetectorView; changes: string[] } {
  const changes: string[] = [];
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += limits.beatMs) {
    const judged = tick(view, nowMs, nowMs, limits);
    view = judged.view;
    changes.push(...arrows(judged.changes).map((arrow) => `${nowMs} ${arrow}`));
  }
  return { view, changes };
}

test('silence: suspect, dead, forgotten, each at its time and each once', () => {
  const first = heard(emptyView, 'h', beat(1), 0);
  assert.deepEqual(arrows(first.changes), ['h/A unknown>alive']);
  const { view, changes } = punctual(first.view, 0, limits.forgetMs + 1000);
  assert.deepEqual(changes, ['1500 h/A alive>suspect', '3000 h/A suspect>dead', '600000 h/A dead>gone']);
  assert.equal(view.members.size, 0);
});

test('beats that come keep a member alive without a change', () => {
  let { view } = heard(emptyView, 'h', beat(1), 0);
  for (let sequence = 2; sequence < 50; sequence++) {
    const nowMs = sequence * 500;
    const said = heard(view, 'h', { ...beat(sequence), load: sequence, draining: sequence > 40 }, nowMs);
    const judged = tick(said.view, nowMs, nowMs, limits);
    assert.deepEqual([...said.changes, ...judged.changes], []);
    view = judged.view;
  }
  assert.equal(view.members.get('h')!.load, 49);
  assert.equal(view.members.get('h')!.draining, true);
});

test('a suspect and a dead member whose beats return are alive again', () => {
  for (const untilMs of [2000, 5000]) {
    const silent = punctual(heard(emptyView, 'h', beat(1), 0).view, 0, untilMs).view;
    const back = heard(silent, 'h', beat(2), untilMs);
    assert.deepEqual(arrows(back.changes), [`h/A ${untilMs === 2000 ? 'suspect' : 'dead'}>alive`]);
    assert.equal(back.view.members.get('h')!.silentSinceMs, undefined);
    assert.deepEqual(punctual(back.view, untilMs, untilMs + 1000).changes, []);
  }
});

test('a fenced incarnation never comes back, not even after everybody forgot the member; a new one does', () => {
  let view = punctual(heard(emptyView, 'h', beat(1), 0).view, 0, 3000).view;
  view = fence(view, 'h', A, 3000).view;
  assert.deepEqual(heard(view, 'h', beat(2), 3500).changes, []);
  assert.equal(stateOf(heard(view, 'h', beat(2), 3500).view), 'dead');
  view = punctual(view, 3500, limits.forgetMs + 1000).view;
  assert.equal(view.members.size, 0);
  const late = heard(view, 'h', beat(3), limits.forgetMs + 2000);
  assert.equal(late.view.members.size, 0);
  assert.deepEqual(arrows(heard(late.view, 'h', beat(1, B), limits.forgetMs + 2500).changes), ['h/B unknown>alive']);
});

test('fence: an alive member turns dead at once, its successor is not touched, and the mark ends a day after the last beat', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  assert.deepEqual(arrows(fence(view, 'h', A, 10).changes), ['h/A alive>dead']);
  const successor = heard(view, 'h', beat(1, B), 10).view;
  const marked = fence(successor, 'h', A, 20);
  assert.deepEqual(marked.changes, []);
  assert.equal(stateOf(marked.view), 'alive');
  const day = 24 * 3_600_000;
  const touched = heard(marked.view, 'h', beat(9), 1000).view;
  assert.ok(tick(touched, day + 999, day + 999, limits).view.fenced.has(A));
  assert.ok(!tick(touched, day + 1000, day + 1000, limits).view.fenced.has(A));
});

test('a beat of the same or a lower sequence is ignored and no sign of life', () => {
  const { view } = heard(emptyView, 'h', beat(5), 0);
  for (const sequence of [5, 4, 0]) assert.equal(heard(view, 'h', beat(sequence), 1000).view, view);
});

test('a new incarnation replaces the old one at once, whose late beats are ignored', () => {
  const old = heard(emptyView, 'h', beat(50), 0).view;
  const fresh = heard(old, 'h', beat(0, B), 100);
  assert.deepEqual(arrows(fresh.changes), ['h/A alive>dead', 'h/B unknown>alive']);
  assert.equal(heard(fresh.view, 'h', beat(51), 200).view, fresh.view);
  // It had been dead already: that is not said twice.
  const dead = punctual(old, 0, 3000).view;
  assert.deepEqual(arrows(heard(dead, 'h', beat(0, B), 3500).changes), ['h/B unknown>alive']);
});

test('a new incarnation with an earlier ULID (its wall clock was set back) is heard once the old one is suspect', () => {
  const { view } = heard(emptyView, 'h', beat(9, B), 0);
  assert.equal(heard(view, 'h', beat(1, A), 500).view, view);
  const silent = punctual(view, 0, 1500).view;
  const replaced = heard(silent, 'h', beat(2, A), 1600);
  assert.deepEqual(arrows(replaced.changes), ['h/B suspect>dead', 'h/A unknown>alive']);
  // The old one's late beat sorts later but was seen before; a third incarnation is welcome.
  assert.equal(heard(replaced.view, 'h', beat(10, B), 1700).view, replaced.view);
  assert.equal(heard(replaced.view, 'h', beat(0, C), 1700).view.members.get('h')!.incarnation, C);
});

test('a host that says goodbye is gone at once; its late beats and the goodbye of another incarnation change nothing', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  assert.equal(left(view, 'h', B).view, view);
  assert.equal(left(view, 'i', A).view, view);
  const gone = left(view, 'h', A);
  assert.deepEqual(arrows(gone.changes), ['h/A alive>gone']);
  assert.equal(heard(gone.view, 'h', beat(2), 10).view.members.size, 0);
  assert.deepEqual(arrows(heard(gone.view, 'h', beat(0, B), 10).changes), ['h/B unknown>alive']);
});

test('no responders: confirms the death of a suspect and of nobody else', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  assert.deepEqual(goneAtOnce(view, 'h').changes, []);
  assert.deepEqual(goneAtOnce(view, 'other').changes, []);
  const suspect = punctual(view, 0, 1500).view;
  const gone = goneAtOnce(suspect, 'h');
  assert.deepEqual(arrows(gone.changes), ['h/A suspect>dead']);
  assert.equal(gone.view.members.get('h')!.silentSinceMs, 1500);
  assert.deepEqual(goneAtOnce(gone.view, 'h').changes, []);
});

test('own lag: a late tick judges nobody and its lag is taken off the silence; half a beat is not late', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  assert.deepEqual(arrows(tick(view, 1750, 1500, limits).changes), ['h/A alive>suspect']);
  const late = tick(view, 10_500, 500, limits);
  assert.deepEqual(late.changes, []);
  // 500 ms of silence counted until the lag; 999 more are not enough, 1000 are.
  assert.deepEqual(tick(late.view, 11_499, 11_499, limits).changes, []);
  assert.deepEqual(arrows(tick(late.view, 11_500, 11_500, limits).changes), ['h/A alive>suspect']);
});

test('a beat heard within the lag leaves only the rest of it as grace, and a later beat ends all grace', () => {
  const { view } = heard(emptyView, 'h', beat(1), 9000);
  const late = tick(view, 10_000, 1000, limits).view;
  assert.equal(late.members.get('h')!.excusedMs, 1000);
  assert.equal(heard(late, 'h', beat(2), 10_100).view.members.get('h')!.excusedMs, 0);
});

test('a link that was down is excused like a lag', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  const back = excuse(view, 200, 50_000);
  assert.deepEqual(punctual(back, 50_000, 51_000).changes, []);
  assert.equal(punctual(back, 50_000, 51_500).changes.length, 1);
});

test('a long silence found by one punctual tick makes a suspect first', () => {
  const { view } = heard(emptyView, 'h', beat(1), 0);
  const once = tick(view, 5000, 5000, limits);
  assert.deepEqual(arrows(once.changes), ['h/A alive>suspect']);
  assert.deepEqual(arrows(tick(once.view, 5500, 5500, limits).changes), ['h/A suspect>dead']);
});

test('whatever the lags: nobody whose beats come whenever the observer listens is ever suspected', () => {
  fc.assert(fc.property(fc.array(fc.record({ lagMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 60_000 })), beatFirst: fc.boolean() }), { maxLength: 60 }), (steps) => {
    let view = heard(emptyView, 'h', beat(0), 0).view;
    let nowMs = 0;
    steps.forEach(({ lagMs, beatFirst }, index) => {
      const dueMs = nowMs + limits.beatMs;
      nowMs = dueMs + lagMs;
      if (beatFirst) view = heard(view, 'h', beat(index + 1), nowMs).view;
      const judged = tick(view, nowMs, dueMs, limits);
      assert.deepEqual(judged.changes, []);
      view = judged.view;
      if (!beatFirst) view = heard(view, 'h', beat(index + 1), nowMs).view;
    });
  }));
});

test('changes and view agree over any history, and inputs are never touched', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('beat' as const), host: fc.constantFrom('h', 'i'), incarnation: fc.constantFrom(A, B, C), sequence: fc.nat(20) }),
    fc.record({ kind: fc.constant('tick' as const), passMs: fc.integer({ min: 0, max: 4000 }), lagMs: fc.constantFrom(0, 0, 200, 300) }),
    fc.record({ kind: fc.constant('fence' as const), host: fc.constantFrom('h', 'i'), incarnation: fc.constantFrom(A, B) }),
    fc.record({ kind: fc.constant('gone' as const), host: fc.constantFrom('h', 'i') }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
    let view = emptyView;
    let nowMs = 0;
    // Incarnations are unique: no two hosts share one.
    const of = (host: string, incarnation: string): string => (host === 'h' ? incarnation : incarnation.replace('01', '02'));
    const told = new Map<string, string>();
    for (const each of steps) {
      const given = view;
      const copy = (): unknown => structuredClone({ members: new Map(given.members), fenced: given.fenced });
      const before = copy();
      if (each.kind === 'tick') nowMs += each.passMs;
      const judged = each.kind === 'beat' ? heard(view, each.host, beat(each.sequence, of(each.host, each.incarnation)), nowMs)
        : each.kind === 'tick' ? tick(view, nowMs, nowMs - each.lagMs, limits)
        : each.kind === 'fence' ? fence(view, each.host, of(each.host, each.incarnation), nowMs)
        : goneAtOnce(view, each.host);
      assert.deepEqual(copy(), before);
      view = judged.view;
      for (const { host, incarnation, from, to } of judged.changes) {
        if (from !== 'unknown') assert.equal(told.get(`${host} ${incarnation}`), from);
        assert.notEqual(from, to);
        told.set(`${host} ${incarnation}`, to);
      }
      for (const [host, member] of view.members) {
        assert.equal(told.get(`${host} ${member.incarnation}`), member.liveness);
        assert.ok(member.liveness === 'dead' || !view.fenced.has(member.incarnation));
        assert.equal(member.silentSinceMs === undefined, member.liveness === 'alive');
      }
    }
  }));
});
