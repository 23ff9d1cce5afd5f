/** Checkpoints of singletons: the next owner finds the last one that counted, and nothing of an earlier owner counts late. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryStore, type MemoryStore } from '../../src/adapters/memory-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Checkpoints } from '../../src/cluster/checkpoints.js';
import { titleValue } from '../../src/cluster/ownership-ledger.js';
import { checkKey, ownKey } from '../../src/policy/lease.js';
import { StoreError } from '../../src/ports.js';
import { storeValueBytesMax } from '../../src/protocol/store-keys.js';

const long = { timeoutMs: 60_000 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (found: Uint8Array | undefined): string | undefined => found && new TextDecoder().decode(found);

function stage(): { store: MemoryStore; checkpoints: Checkpoints; own(epoch: number): Promise<unknown>; keys(): string[]; epochs: Map<string, number> } {
  const stores = createMemoryStore({ clock: systemClock, log: { log() {} } });
  const store = stores.connect();
  const epochs = new Map<string, number>();
  return {
    store, epochs,
    checkpoints: new Checkpoints({ store, epochOf: (actor) => epochs.get(actor) }),
    own: (epoch) => store.create(ownKey('a', epoch), titleValue({ host: 'x', incarnation: 'I' }), long),
    keys: () => [...stores.save().rows.values()].filter(({ key, deleted }) => !deleted && key.startsWith('check.')).map(({ key }) => key).sort(),
  };
}

test('nothing saved yet: undefined; saved: the last bytes, by the same and by a later owner', async () => {
  const { checkpoints, own } = stage();
  await own(1);
  assert.equal(await checkpoints.load('a', 1), undefined);
  await checkpoints.save('a', 1, bytes('one'));
  await checkpoints.save('a', 1, bytes('two'));
  assert.equal(text(await checkpoints.load('a', 1)), 'two');
  await own(7);
  assert.equal(text(await checkpoints.load('a', 7)), 'two');
  assert.equal(await checkpoints.load('b', 7), undefined);
});

test('empty bytes are a checkpoint too', async () => {
  const { checkpoints, own } = stage();
  await own(1);
  await checkpoints.save('a', 1, new Uint8Array());
  assert.equal((await checkpoints.load('a', 1))?.byteLength, 0);
});

test('an earlier owner: its save is refused and says why, and what it wrote all the same is never loaded', async () => {
  const { checkpoints, own, store, keys } = stage();
  await own(1);
  await checkpoints.save('a', 1, bytes('good'));
  await own(2);
  assert.equal(text(await checkpoints.load('a', 2)), 'good');
  assert.deepEqual(keys(), [checkKey('a', 2)]);
  await assert.rejects(checkpoints.save('a', 1, bytes('late')), { code: 'UNAVAILABLE', message: 'a has epoch 2 by now, a checkpoint of epoch 1 no longer counts' });
  assert.deepEqual(keys(), [checkKey('a', 2)]);
  // On its way before epoch 2 existed, there only now.
  await store.put(checkKey('a', 1), bytes('late'), long);
  assert.equal(text(await checkpoints.load('a', 2)), 'good');
  await own(3);
  assert.equal(text(await checkpoints.load('a', 3)), 'good');
});

test('ownership lost while a save is under way: refused, whatever was written', async () => {
  const { checkpoints, own, store } = stage();
  await own(1);
  const { put } = store;
  store.put = async (key, value, call) => {
    await own(2);
    return put.call(store, key, value, call);
  };
  await assert.rejects(checkpoints.save('a', 1, bytes('late')), { code: 'UNAVAILABLE', message: /has epoch 2 by now/ });
});

test('a later checkpoint is not loaded under an earlier epoch', async () => {
  const { checkpoints, own } = stage();
  await own(5);
  await checkpoints.save('a', 5, bytes('later'));
  assert.equal(await checkpoints.load('a', 4), undefined);
});

test('too large: refused by name and size, before anything is sent', async () => {
  const { checkpoints, store } = stage();
  store.list = () => assert.fail('asked');
  await assert.rejects(checkpoints.save('a', 1, new Uint8Array(storeValueBytesMax + 1)), {
    code: 'PAYLOAD_TOO_LARGE', message: `the checkpoint of a has ${storeValueBytesMax + 1} bytes, at most ${storeValueBytesMax} are kept`,
  });
});

test('many saves at once: the last one stays; more than can wait are refused', async () => {
  const { checkpoints, own } = stage();
  await own(1);
  const saves = Array.from({ length: 9 }, (_, index) => checkpoints.save('a', 1, bytes(`${index}`)));
  const results = await Promise.allSettled(saves);
  assert.deepEqual(results.map(({ status }) => status), [...Array(8).fill('fulfilled'), 'rejected']);
  assert.equal((results[8] as PromiseRejectedResult).reason.code, 'RESOURCE_EXHAUSTED');
  assert.equal(text(await checkpoints.load('a', 1)), '7');
});

for (const arrives of [true, false]) {
  test(`a write without an answer that ${arrives ? 'arrived' : 'did not arrive'}: repeated; three in a row: outcome unknown`, async () => {
    const { checkpoints, own, store } = stage();
    await own(1);
    const { put } = store;
    let silent = 2;
    store.put = async (key, value, call) => {
      if (silent-- <= 0) return put.call(store, key, value, call);
      if (arrives) await put.call(store, key, value, call);
      throw new StoreError('UNKNOWN', 'no answer');
    };
    await checkpoints.save('a', 1, bytes('kept'));
    assert.equal(text(await checkpoints.load('a', 1)), 'kept');
    silent = 3;
    await assert.rejects(checkpoints.save('a', 1, bytes('who knows')), { code: 'UNAVAILABLE', outcome: 'unknown' });
  });
}

test('without an owner, a store or a singleton there is a reason', async () => {
  const { checkpoints, own, store, epochs } = stage();
  await own(1);
  assert.deepEqual(await checkpoints.answer('a', false, { op: 'load' }), { ok: false, code: 'UNAVAILABLE', message: 'checkpoints are kept of singletons only, a is none' });
  assert.deepEqual(await checkpoints.answer('a', true, { op: 'load' }), { ok: false, code: 'UNAVAILABLE', message: 'this host does not own a' });
  epochs.set('a', 1);
  assert.deepEqual(await checkpoints.answer('a', true, { op: 'load' }), { ok: true });
  assert.deepEqual(await checkpoints.answer('a', true, { op: 'save', bytes: bytes('x') }), { ok: true });
  assert.deepEqual(await checkpoints.answer('a', true, { op: 'load' }), { ok: true, bytes: bytes('x') });
  store.cut();
  assert.deepEqual(await checkpoints.answer('a', true, { op: 'save', bytes: bytes('y') }).then((reply) => !reply.ok && [reply.code, reply.outcome]), ['UNAVAILABLE', undefined]);
  const alone = new Checkpoints({ store: undefined, epochOf: () => undefined });
  assert.deepEqual(await alone.answer('a', true, { op: 'load' }), { ok: false, code: 'UNAVAILABLE', message: 'checkpoints need a store, this host has none' });
});
