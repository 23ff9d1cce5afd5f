/**
 * What every Store and its Objects must do, run against each implementation. A fixture is one store; its connections come
 * from `connect`.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { StoreError, type Objects, type Store, type StoreChange, type StoreErrorCode, type StoreState } from '../../src/ports.js';
import { Happenings } from './waiting.js';

export interface StoreConnection {
  /** Ready. */
  readonly store: Store;
  readonly objects: Objects;
  close(): Promise<void>;
}

export interface StoreFixture {
  connect(): Promise<StoreConnection>;
  /** The store goes away and keeps its content; resolves when it is gone. */
  stop(): Promise<void>;
  /** And comes back. */
  start(): Promise<void>;
  remove(): Promise<void>;
}

const WATCHDOG = { timeout: 30_000 };
/** Long enough that only the watchdog could end it. */
export const long = { timeoutMs: 60_000 };

export const bytes = (content: string): Uint8Array => Buffer.from(content, 'utf8');
export const text = (data: Uint8Array | undefined): string | undefined => data && Buffer.from(data).toString('utf8');
export const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

export async function untilStore(store: Store, wanted: StoreState): Promise<void> {
  if (store.state === wanted) return;
  await new Promise<void>((resolve) => {
    const stop = store.onState((state) => {
      if (state !== wanted) return;
      stop();
      resolve();
    });
  });
}

export function storeRejects(promise: Promise<unknown>, code: StoreErrorCode): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.ok(error instanceof StoreError, `wanted a StoreError, got ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

export async function read(content: AsyncIterable<Uint8Array> | undefined): Promise<Uint8Array | undefined> {
  if (!content) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Not compressible, not repeating, the same in every run. */
export function content(length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0, x = length + 1; i < words.length; i++) words[i] = x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer, 0, length);
}

export function storeConformance(name: string, open: () => Promise<StoreFixture>): void {
  describe(`store: ${name}`, () => {
    let fixture: StoreFixture;
    let one: StoreConnection;
    let two: StoreConnection;
    let a: Store;
    let b: Store;
    let number = 0;
    /** A key prefix no other test uses. */
    const fresh = (): string => `conformance.t${number++}`;

    before(async () => {
      fixture = await open();
      [one, two] = await Promise.all([fixture.connect(), fixture.connect()]);
      [a, b] = [one.store, two.store];
    }, WATCHDOG);
    after(async () => {
      await Promise.all([one.close(), two.close()]);
      await fixture.remove();
    }, WATCHDOG);

    test('get: absent key is undefined', WATCHDOG, async () => {
      assert.equal(await a.get(fresh(), long), undefined);
    });

    test('put: others read it, with its revision; the last one counts', WATCHDOG, async () => {
      const key = fresh();
      const first = await a.put(key, bytes('1'), long);
      const second = await b.put(key, bytes('ä2'), long);
      assert.ok(second > first);
      const entry = await a.get(key, long);
      assert.deepEqual([entry?.key, text(entry?.value), entry?.revision], [key, 'ä2', second]);
    });

    test('put: empty and binary values stay as they are', WATCHDOG, async () => {
      const key = fresh();
      for (const value of [new Uint8Array(0), content(70_001)]) {
        await a.put(key, value, long);
        assert.deepEqual(Buffer.from((await b.get(key, long))!.value), Buffer.from(value));
      }
    });

    test('create: of 50 at once exactly one wins, and its value stands', WATCHDOG, async () => {
      for (let round = 0; round < 5; round++) {
        const key = fresh();
        const creators = Array.from({ length: 50 }, (_, i) => (i % 2 ? a : b).create(key, bytes(String(i)), long));
        const outcomes = await Promise.allSettled(creators);
        const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []));
        assert.equal(winners.length, 1);
        for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal((outcome.reason as StoreError).code, 'EXISTS');
        const entry = await b.get(key, long);
        assert.deepEqual([text(entry?.value), entry?.revision], [String(winners[0]), (outcomes[winners[0]!] as PromiseFulfilledResult<number>).value]);
      }
    });

    test('create: refused after put, after delete, and after delete of a key that never was', WATCHDOG, async () => {
      const [put, never] = [fresh(), fresh()];
      await a.put(put, bytes('1'), long);
      await storeRejects(b.create(put, bytes('2'), long), 'EXISTS');
      await a.delete(put, long);
      assert.equal(await b.get(put, long), undefined);
      await storeRejects(b.create(put, bytes('3'), long), 'EXISTS');
      await a.delete(never, long);
      await storeRejects(b.create(never, bytes('1'), long), 'EXISTS');
    });

    test('forget: as if the key had never been', WATCHDOG, async () => {
      const key = fresh();
      const before = await a.create(key, bytes('1'), long);
      await a.delete(key, long);
      await a.forget(key, long);
      assert.equal(await b.get(key, long), undefined);
      assert.ok((await b.create(key, bytes('2'), long)) > before);
    });

    test('update: with the last revision only; of 50 at once exactly one wins', WATCHDOG, async () => {
      const key = fresh();
      const first = await a.create(key, bytes('1'), long);
      const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => (i % 2 ? a : b).update(key, bytes(String(i)), first, long)));
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
      for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal((outcome.reason as StoreError).code, 'CONFLICT');
      const current = (await a.get(key, long))!;
      await storeRejects(b.update(key, bytes('late'), first, long), 'CONFLICT');
      assert.ok((await b.update(key, bytes('next'), current.revision, long)) > current.revision);
    });

    test('update: refused for a key that never was or is deleted, whatever revision is meant', WATCHDOG, async () => {
      const key = fresh();
      await storeRejects(a.update(key, bytes('1'), 1_000_000, long), 'CONFLICT');
      const revision = await a.create(key, bytes('1'), long);
      await a.delete(key, long);
      await storeRejects(a.update(key, bytes('2'), revision, long), 'CONFLICT');
      await assert.rejects(a.update(key, bytes('2'), 0, long), RangeError);
    });

    test('keys and values: what no store can hold is refused before it is sent', WATCHDOG, async () => {
      for (const key of ['', '.', 'a..b', 'a.', 'a b', 'a.*', '>', 'ä']) await assert.rejects(a.get(key, long), TypeError);
      await assert.rejects(a.put(fresh(), new Uint8Array(1_000_001), long), RangeError);
      await a.put(fresh(), new Uint8Array(1_000_000), long);
    });

    test('list: whole tokens below the prefix, without the deleted, by revision', WATCHDOG, async () => {
      const base = fresh();
      for (const key of ['own', 'own.b.2', 'own.a.1', 'owner.x', 'own.gone']) await a.put(`${base}.${key}`, bytes(key), long);
      await a.delete(`${base}.own.gone`, long);
      await a.put(`${base}.own.b.2`, bytes('again'), long);
      const { entries } = await b.list(`${base}.own`, long);
      assert.deepEqual(entries.map(({ key, value }) => [key, text(value)]), [[`${base}.own.a.1`, 'own.a.1'], [`${base}.own.b.2`, 'again']]);
      assert.deepEqual((await b.list(`${base}.own.`, long)).entries, entries);
      assert.deepEqual((await b.list(`${base}.none`, long)).entries, []);
    });

    test('list: 300 keys, and all of them below the empty prefix', WATCHDOG, async () => {
      const base = fresh();
      const keys = Array.from({ length: 300 }, (_, i) => `${base}.k${i}`);
      await Promise.all(keys.map((key) => a.create(key, bytes(key), long)));
      const found = (entries: readonly { key: string }[]): string[] => entries.map(({ key }) => key).filter((key) => key.startsWith(`${base}.`)).sort();
      assert.deepEqual(found((await b.list(base, long)).entries), keys.sort());
      assert.deepEqual(found((await b.list('', long)).entries), keys);
    });

    test('lastSequence: of the store whatever the prefix, and the highest seen on this connection', WATCHDOG, async () => {
      const revision = await a.put(fresh(), bytes('1'), long);
      assert.equal(a.lastSequence, revision);
      assert.equal((await b.list('nothing.here', long)).lastSequence, revision);
      assert.equal(b.lastSequence, revision);
      await storeRejects(a.update(fresh(), bytes('1'), 7, long), 'CONFLICT');
      assert.equal((await a.list('', long)).lastSequence, revision);
    });

    test('watch: first what is there, then put and delete, of this prefix only; after stop nothing', WATCHDOG, async () => {
      const base = fresh();
      await a.put(`${base}.w.old`, bytes('old'), long);
      const seen = new Happenings<string>();
      const tell = (change: StoreChange): void => seen.add(`${change.key.slice(base.length)} ${change.deleted ? 'deleted' : text(change.value)}`);
      const stop = b.watch(`${base}.w`, tell);
      await seen.next((each) => each === '.w.old old', 'what was there');
      await storeRejects(a.create(`${base}.w.old`, bytes('refused'), long), 'EXISTS');
      await a.put(`${base}.other`, bytes('other'), long);
      await a.put(`${base}.w.x`, bytes('1'), long);
      await seen.next((each) => each === '.w.x 1', 'the put');
      await a.delete(`${base}.w.x`, long);
      await seen.next((each) => each === '.w.x deleted', 'the delete');
      stop();
      const last = new Happenings<string>();
      b.watch(`${base}.w`, (change) => last.add(change.key));
      await a.put(`${base}.w.end`, bytes('end'), long);
      await last.next((key) => key.endsWith('.end'), 'the end');
      assert.deepEqual(seen.all, ['.w.old old', '.w.x 1', '.w.x deleted']);
    });

    test('objects: 3 MB go in by pieces and come out the same', WATCHDOG, async () => {
      const big = content(3_000_000);
      const id = sha256(big);
      assert.equal(await one.objects.has(id, long), false);
      assert.equal(await one.objects.get(id, long), undefined);
      const pieces = async function* (): AsyncGenerator<Uint8Array> {
        for (let from = 0; from < big.length; from += 65_536) yield big.subarray(from, from + 65_536);
      };
      await one.objects.put(id, pieces(), long);
      assert.equal(await two.objects.has(id, long), true);
      assert.equal(sha256((await read(await two.objects.get(id, long)))!), id);
      assert.deepEqual((await two.objects.list(long)).filter(({ sha256: each }) => each === id), [{ sha256: id, size: big.length }]);
      await two.objects.put(id, (function* (): Generator<Uint8Array> { assert.fail('read although it is there'); })(), long);
    });

    test('objects: other content than the name says is refused and not kept', WATCHDOG, async () => {
      const id = sha256(bytes('wanted'));
      await storeRejects(one.objects.put(id, bytes('given'), long), 'CONFLICT');
      assert.equal(await two.objects.has(id, long), false);
      await one.objects.put(id, bytes('wanted'), long);
      assert.equal(text(await read(await two.objects.get(id, long))), 'wanted');
    });

    test('objects: empty, twice at once, deleted, and back again', WATCHDOG, async () => {
      const id = sha256(new Uint8Array(0));
      await Promise.all([one.objects.put(id, new Uint8Array(0), long), two.objects.put(id, [], long)]);
      assert.equal((await read(await two.objects.get(id, long)))!.length, 0);
      await one.objects.delete(id, long);
      await one.objects.delete(id, long);
      assert.equal(await two.objects.has(id, long), false);
      await two.objects.put(id, [], long);
      assert.equal(await one.objects.has(id, long), true);
      await assert.rejects(one.objects.has('abc', long), TypeError);
    });

    test('outage: DOWN while it lasts; keys, marks, objects and revisions outlive it, watches catch up', WATCHDOG, async () => {
      const base = fresh();
      const revision = await a.create(`${base}.kept`, bytes('kept'), long);
      await a.create(`${base}.gone`, bytes('gone'), long);
      const before = await a.delete(`${base}.gone`, long);
      const big = content(600_000);
      await one.objects.put(sha256(big), big, long);
      const seen = new Happenings<string>();
      b.watch(base, (change) => seen.add(`${change.key.slice(base.length)} ${change.deleted ? 'deleted' : text(change.value)}`));
      await seen.next((each) => each === '.gone deleted', 'the watch to begin');

      await Promise.all([fixture.stop(), untilStore(a, 'down'), untilStore(b, 'down')]);
      for (const call of [a.get(`${base}.kept`, long), a.create(`${base}.new`, bytes('x'), long), a.delete(`${base}.kept`, long), a.list('', long), one.objects.has(sha256(big), long)]) {
        await storeRejects(call, 'DOWN');
      }
      await Promise.all([fixture.start(), untilStore(a, 'ready'), untilStore(b, 'ready')]);

      const entry = await b.get(`${base}.kept`, long);
      assert.deepEqual([text(entry?.value), entry?.revision], ['kept', revision]);
      await storeRejects(b.create(`${base}.gone`, bytes('again'), long), 'EXISTS');
      assert.equal((await b.list(base, long)).lastSequence, before);
      assert.equal(await a.create(`${base}.new`, bytes('new'), long), before + 1);
      await a.update(`${base}.kept`, bytes('changed'), revision, long);
      await seen.next((each) => each === '.kept changed', 'the watch to go on');
      assert.deepEqual(seen.all, ['.kept kept', '.gone deleted', '.new new', '.kept changed']);
      assert.equal(sha256((await read(await two.objects.get(sha256(big), long)))!), sha256(big));
    });

    test('close: calls and watches afterwards are CLOSED, other connections go on', WATCHDOG, async () => {
      const key = fresh();
      const third = await fixture.connect();
      const underWay = third.store.put(key, bytes('last words'), long);
      await third.store.close();
      await underWay;
      assert.equal(third.store.state, 'closed');
      await storeRejects(third.store.get(key, long), 'CLOSED');
      assert.throws(() => third.store.watch('', () => {}), { code: 'CLOSED' });
      assert.equal(text((await a.get(key, long))?.value), 'last words');
      await third.close();
    });
  });
}
