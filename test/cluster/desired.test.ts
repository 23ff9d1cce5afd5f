/** The desired state as a host follows it: quick by the watch, true by reading, and static when the store fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryStore } from '../../src/adapters/memory-store.js';
import { DesiredState } from '../../src/cluster/desired.js';
import type { Store } from '../../src/ports.js';
import { decodeDesired, encodeDesired } from '../../src/protocol/desired.js';
import { desiredSpec } from '../../src/spec/desired.js';
import { bytes, long } from '../support/store-conformance.js';
import { SimClock, settle } from '../support/sim-clock.js';

const RESYNC_MS = 5000;
const silent = { log() {} };
const actor = (name: string, more: object = {}) => ({ name, module: 'acts', ...more });

function stage({ blind = false } = {}) {
  const clock = new SimClock();
  const stores = createMemoryStore({ clock, log: silent });
  const operator = stores.connect();
  const connection = stores.connect();
  // A watch may be blind without a word.
  const store = blind ? blindfolded(connection) : connection;
  const logs: { event: string; reason?: unknown; actor?: unknown }[] = [];
  let changes = 0;
  const desired = new DesiredState({ store, clock, log: { log: (_level, event, fields) => void logs.push({ event, ...fields }) }, resyncMs: RESYNC_MS, changed: () => void changes++ });
  return {
    clock, stores, operator, connection, desired, logs,
    changes: () => changes,
    /** Names and revisions. */
    known: () => desired.actors() && Object.fromEntries([...desired.actors()!].map(([name, { revision }]) => [name, revision])),
    reasons: () => Object.fromEntries(desired.problems().map(({ actor: name, reason }) => [name, reason])),
    async put(name: string, revision: number, document: object | null = actor(name)): Promise<void> {
      const done = operator.put(`desired.${name}`, encodeDesired({ revision, actor: document as Record<string, unknown> | null }), long);
      await settle(10);
      await done;
    },
    settle: () => settle(10),
  };
}

const blindfolded = (store: Store): Store => instead(store, { watch: () => () => {} });

/** The same store with other methods. */
function instead(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, key) {
      if (Object.hasOwn(methods, key)) return methods[key as keyof Store];
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

test('undefined until the store was read once; then what is there, told once', async () => {
  const { desired, stores, operator, settle: rest, changes, known } = stage();
  stores.stop();
  await rest();
  assert.deepEqual([desired.actors(), changes()], [undefined, 0]);
  stores.start();
  await Promise.all([operator.create('desired.a', encodeDesired({ revision: 1, actor: actor('a') }), long), rest()]);
  assert.deepEqual(known(), { a: 1 });
  assert.deepEqual(desired.actors()!.get('a')!.document, actor('a'));
  assert.equal(desired.actors(), desired.actors(), 'the same object while nothing changes');
});

test('an empty store is a state as well: nothing is wanted, and that is told once', async () => {
  const { settle: rest, changes, known, clock } = stage();
  await rest();
  await clock.advance(3 * RESYNC_MS);
  assert.deepEqual([known(), changes()], [{}, 1]);
});

test('the watch makes it quick: a change and a removal are seen before the next reading', async () => {
  const { put, known, settle: rest, changes, clock } = stage();
  await rest();
  await put('a', 1);
  await put('b', 1);
  assert.deepEqual([known(), clock.now()], [{ a: 1, b: 1 }, 0]);
  await put('a', 2, actor('a', { replicas: 2 }));
  await put('b', 2, null);
  assert.deepEqual([known(), changes()], [{ a: 2 }, 5]);
});

test('a blind watch: the next reading finds it', async () => {
  const { put, known, settle: rest, clock } = stage({ blind: true });
  await rest();
  await put('a', 1);
  assert.deepEqual(known(), {});
  await clock.advance(RESYNC_MS);
  await rest();
  assert.deepEqual(known(), { a: 1 });
});

test('a reading as soon as the store is ready again, not at the next turn', async () => {
  const { put, known, settle: rest, connection, clock } = stage({ blind: true });
  await rest();
  connection.cut();
  await put('a', 1);
  connection.heal();
  await rest();
  assert.deepEqual([known(), clock.now()], [{ a: 1 }, 0]);
});

test('a reading that is slow: what the watch told meanwhile is newer, and no reason to complain', async () => {
  const stores = createMemoryStore({ clock: new SimClock(), log: silent });
  const [operator, connection] = [stores.connect(), stores.connect()];
  let answer = (): void => {};
  const slow = instead(connection, {
    list: async (...asked) => {
      const listing = await connection.list(...asked);
      await new Promise<void>((resolve) => (answer = resolve));
      return listing;
    },
  });
  await Promise.all([operator.create('desired.a', encodeDesired({ revision: 1, actor: actor('a') }), long), settle(10)]);
  const desired = new DesiredState({ store: slow, clock: new SimClock(), log: silent, resyncMs: RESYNC_MS, changed: () => {} });
  await settle(10);
  await Promise.all([operator.put('desired.a', encodeDesired({ revision: 2, actor: actor('a') }), long), settle(10)]);
  assert.equal(desired.actors(), undefined, 'half of it does not pass for all');
  answer();
  await settle(10);
  assert.deepEqual([desired.actors()!.get('a')!.revision, desired.problems()], [2, []]);
  desired.stop();
});

test('fail static: a store that is down, and one that came back empty, change nothing; the loss is shown with its cure', async () => {
  const { put, known, settle: rest, stores, clock, reasons, logs } = stage();
  await rest();
  const empty = stores.save();
  await put('a', 3);
  stores.stop();
  await clock.advance(4 * RESYNC_MS);
  assert.deepEqual([known(), reasons()], [{ a: 3 }, {}]);
  stores.restore(empty);
  stores.start();
  await rest();
  await clock.advance(3 * RESYNC_MS);
  await rest();
  assert.deepEqual(known(), { a: 3 });
  assert.match(reasons()['a']!, /the store has lost it, and revision 3 stays in force; write it anew: regrow apply FILE --revision 4/);
  assert.equal(logs.filter(({ event }) => event === 'desired-problem').length, 1, 'logged once');
  await put('a', 4);
  assert.deepEqual([known(), reasons()], [{ a: 4 }, {}]);
});

test('a store that rolled back does not move a host backwards, neither by reading nor by the watch', async () => {
  const { put, known, settle: rest, stores, clock, reasons, desired } = stage();
  await rest();
  await put('a', 1);
  const old = stores.save();
  await put('a', 2, actor('a', { replicas: 2 }));
  stores.restore(old);
  await clock.advance(RESYNC_MS);
  await rest();
  assert.deepEqual(known(), { a: 2 });
  assert.match(reasons()['a']!, /the store has revision 1, which is behind; revision 2 stays in force.*--revision 3/);
  // Written on top of the lost one: the same number with other words is the later wish.
  await put('a', 2, actor('a', { replicas: 3 }));
  await clock.advance(RESYNC_MS);
  await rest();
  assert.deepEqual([known(), desired.actors()!.get('a')!.document, reasons()], [{ a: 2 }, actor('a', { replicas: 3 }), {}]);
});

test('a removed actor does not come back from an older copy', async () => {
  const { put, known, settle: rest, stores, clock } = stage();
  await rest();
  await put('a', 1);
  const old = stores.save();
  await put('a', 2, null);
  stores.restore(old);
  await clock.advance(RESYNC_MS);
  await rest();
  assert.deepEqual(known(), {});
});

test('a key deleted by hand removes nothing', async () => {
  const { put, known, settle: rest, operator, clock, reasons } = stage();
  await rest();
  await put('a', 1);
  await Promise.all([operator.delete('desired.a', long), rest()]);
  await clock.advance(RESYNC_MS);
  await rest();
  assert.deepEqual([known(), Object.keys(reasons())], [{ a: 1 }, ['a']]);
});

for (const [what, document, reason] of [
  ['no JSON', '{', /no JSON;/],
  ['a list', '[]', /no JSON object/],
  ['no revision', '{"actor":{"name":"a"}}', /its revision is no whole number/],
  ['revision 0', '{"revision":0,"actor":{"name":"a"}}', /its revision is no whole number/],
  ['another actor\'s document', '{"revision":9,"actor":{"name":"b"}}', /its actor has the name "b"/],
  ['no actor', '{"revision":9}', /neither an object nor null/],
] as const) {
  test(`malformed (${what}): left out with its reason, logged once; the one known before stays`, async () => {
    const { put, known, settle: rest, operator, clock, reasons, logs } = stage();
    await rest();
    await Promise.all([operator.put('desired.a', bytes(document), long), rest()]);
    await put('good', 1);
    await clock.advance(3 * RESYNC_MS);
    await rest();
    assert.deepEqual(known(), { good: 1 });
    assert.match(reasons()['a']!, reason);
    assert.match(reasons()['a']!, /it is left out$/);
    assert.equal(logs.filter(({ event, actor: name }) => event === 'desired-problem' && name === 'a').length, 1);
    await put('a', 1);
    assert.deepEqual([known(), reasons()], [{ a: 1, good: 1 }, {}]);
    await Promise.all([operator.put('desired.a', bytes(document), long), rest()]);
    await rest();
    assert.deepEqual(known(), { a: 1, good: 1 });
    assert.match(reasons()['a']!, /revision 1 stays in force$/);
  });
}

test('stopped: no timer, no reading, no word', async () => {
  const { desired, put, settle: rest, changes, clock, known } = stage();
  await rest();
  desired.stop();
  await put('a', 1);
  await clock.advance(3 * RESYNC_MS);
  assert.deepEqual([changes(), clock.pending, known()], [1, 0, {}]);
});

test('equal documents are equal bytes; what was written is what is read', () => {
  const one = encodeDesired({ revision: 2, actor: { name: 'a', queue: { sizeMax: 1, bytesMax: 2 }, devices: ['cpu'] } });
  const other = encodeDesired({ actor: { devices: ['cpu'], queue: { bytesMax: 2, sizeMax: 1 }, name: 'a' }, revision: 2 });
  assert.deepEqual(one, other);
  const decoded = decodeDesired('a', one);
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.entry, { revision: 2, actor: { name: 'a', queue: { sizeMax: 1, bytesMax: 2 }, devices: ['cpu'] } });
});

const hash = 'ab'.repeat(32);
const surroundings = { cores: 4, modules: { acts: '/m/acts.js' }, modelFile: (sha256: string) => `/data/models/${sha256}.onnx` };

test('spec of a stored model: its place, its hash, every default', () => {
  const parsed = desiredSpec({ name: 'a', model: `sha256:${hash}` }, surroundings);
  assert.ok(parsed.ok);
  const { file, stored, sha256, kind, idempotent, moduleName, replicas } = parsed.spec;
  assert.deepEqual([file, stored, sha256, kind, idempotent, moduleName, replicas], [`/data/models/${hash}.onnx`, true, hash, 'model', true, undefined, 1]);
  assert.ok(Object.isFrozen(parsed.spec));
});

test('spec of a module: the file the host has under its name; without one the actor is known all the same', () => {
  const here = desiredSpec(actor('a'), surroundings);
  // A name that every object knows is no module either.
  const elsewhere = desiredSpec({ name: 'b', module: 'constructor' }, surroundings);
  assert.ok(here.ok && elsewhere.ok);
  assert.deepEqual([here.spec.file, here.spec.moduleName, here.spec.stored], ['/m/acts.js', 'acts', false]);
  assert.deepEqual([elsewhere.spec.file, elsewhere.spec.moduleName], ['', 'constructor']);
});

for (const [what, document, reason] of [
  ['a module by its path', { name: 'a', module: '../evil.js' }, /^module: ".*evil\.js" is a path/],
  ['a model by its path', { name: 'a', model: '/etc/passwd' }, /^model: ".*" is a path/],
  ['an unknown key', { ...actor('a'), replcas: 2 }, /^replcas: unknown key, did you mean "replicas"/],
  ['a bad relation', { ...actor('a'), singleton: true, replicas: 2 }, /^replicas: 2 of a singleton/],
  ['no object', null, /./],
] as const) {
  test(`no spec: ${what}`, () => {
    const parsed = desiredSpec(document, surroundings);
    assert.ok(!parsed.ok);
    assert.match(parsed.reason, reason);
  });
}
