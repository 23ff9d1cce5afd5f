/** The store over real nats-servers: all a Store must do, then what only a server, a version or a permission can do to it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '@nats-io/transport-node';
import { jetstreamManager, StorageType } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { Objm } from '@nats-io/obj';
import { connectNats, createNatsBus, type NatsBus } from '../../src/adapters/nats-bus.js';
import { createNatsObjects } from '../../src/adapters/nats-objects.js';
import { createNatsStore, type NatsStoreOptions } from '../../src/adapters/nats-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Log, Objects, Store } from '../../src/ports.js';
import { bytes, content, long, read, sha256, storeConformance, storeRejects, text, untilStore, type StoreConnection } from '../support/store-conformance.js';
import { freePort, startTestNats, type NatsRole, type TestNats } from '../support/nats-server.js';
import { Happenings } from '../support/waiting.js';

const WATCHDOG = { timeout: 40_000 };
const log: Log = { log() {} };
const outside = { clock: systemClock, log };

async function join(nats: TestNats, role: NatsRole | undefined, options: NatsStoreOptions = {}): Promise<StoreConnection & { readonly bus: NatsBus }> {
  const bus = await connectNats({ servers: nats.url, ...role }, outside, 10_000);
  const store = createNatsStore(bus, options, outside);
  await untilStore(store, 'ready');
  const close = async (): Promise<void> => {
    await store.close();
    await bus.close();
  };
  return { bus, store, objects: createNatsObjects(bus, options, systemClock), close };
}

storeConformance('NATS, as the operator of nats.conf', async () => {
  const nats = await startTestNats();
  return {
    connect: () => join(nats, nats.operator),
    stop: () => nats.stop(),
    start: () => nats.start(),
    remove: () => nats.remove(),
  };
});

/** A server for one test; `conf` replaces the project's nats.conf. */
async function withNats(work: (nats: TestNats) => Promise<void>, options: { readonly port?: number; readonly conf?: string } = {}): Promise<void> {
  const nats = await startTestNats(options);
  await work(nats).finally(() => nats.remove());
}

/** The path is relative to the folder of the server's own data. */
const withJetStream = 'host: 127.0.0.1\njetstream { store_dir: "./jetstream" }';

/** The signal comes back before every thread of the server has stopped. */
async function freeze(nats: TestNats, bus: NatsBus): Promise<void> {
  process.kill(nats.pid, 'SIGSTOP');
  for (let answers = true; answers;) answers = await bus.flush(100).then(() => true, () => false);
}

describe('NATS store: life', () => {
  test('created before the server exists: down, later ready by itself; calls wait for the opening', WATCHDOG, async () => {
    const port = await freePort();
    const bus = createNatsBus({ servers: `127.0.0.1:${port}` }, outside);
    const store = createNatsStore(bus, { prefix: 'acme.prod' }, outside);
    await storeRejects(store.put('a', bytes('1'), long), 'DOWN');
    const opened = new Promise<number>((resolve) => void bus.onState((state) => void (state === 'up' && resolve(store.put('a', bytes('1'), long)))));
    await withNats(async () => {
      assert.equal(await opened, 1);
      assert.match(store.detail, /KV_acme_prod, 1 replica$/);
      await bus.close();
      assert.equal(store.state, 'closed');
    }, { port, conf: withJetStream });
  });

  test('frozen server: a write without answer is UNKNOWN, and did happen', WATCHDOG, () => withNats(async (nats) => {
    const { bus, store, close } = await join(nats, nats.operator);
    await freeze(nats, bus);
    await storeRejects(store.create('frozen', bytes('1'), { timeoutMs: 100 }), 'UNKNOWN');
    process.kill(nats.pid, 'SIGCONT');
    // In this order: writes wait for each other, a read may overtake one that is on its way to the disk.
    await storeRejects(store.create('frozen', bytes('1'), long), 'EXISTS');
    assert.equal(text((await store.get('frozen', long))?.value), '1');
    await close();
  }));

  test('frozen server given up: the write under way is UNKNOWN as soon as the connection goes', WATCHDOG, () => withNats(async (nats) => {
    const { bus, store, close } = await join(nats, nats.operator);
    await freeze(nats, bus);
    const asked = store.create('frozen', bytes('1'), long);
    const unknown = storeRejects(asked, 'UNKNOWN');
    await nats.kill();
    await unknown;
    await nats.start();
    await untilStore(store, 'ready');
    await close();
  }));

  test('server killed: what was acknowledged is there', WATCHDOG, () => withNats(async (nats) => {
    const { store, close } = await join(nats, nats.operator);
    const acknowledged = Array.from({ length: 50 }, (_, i) => `k${i}`);
    await Promise.all(acknowledged.map((key) => store.create(key, bytes(key), long)));
    await Promise.all([nats.kill(), untilStore(store, 'down')]);
    await Promise.all([nats.start(), untilStore(store, 'ready')]);
    const { entries, lastSequence } = await store.list('', long);
    assert.deepEqual(entries.map(({ key }) => key).sort(), acknowledged.sort());
    assert.equal(lastSequence, 50);
    await close();
  }));

  test('server without JetStream: absent, with the reason, and calls are DOWN', WATCHDOG, () => withNats(async (nats) => {
    const bus = await connectNats({ servers: nats.url }, outside, 10_000);
    const store = createNatsStore(bus, {}, outside);
    const objects = createNatsObjects(bus, {}, systemClock);
    await untilStore(store, 'absent');
    assert.match(store.detail, /no JetStream/);
    await storeRejects(store.create('a', bytes('1'), long), 'DOWN');
    await storeRejects(objects.has(sha256(bytes('a')), long), 'DOWN');
    await storeRejects(objects.put(sha256(bytes('a')), bytes('a'), long), 'DOWN');
    await store.close();
    await bus.close();
  }, { conf: 'host: 127.0.0.1' }));

  test('JetStream is switched on at a restart: from absent to ready', WATCHDOG, async () => {
    const port = await freePort();
    const plain = await startTestNats({ port, conf: 'host: 127.0.0.1' });
    const bus = await connectNats({ servers: plain.url }, outside, 10_000);
    const store = createNatsStore(bus, {}, outside);
    await untilStore(store, 'absent');
    await plain.remove();
    await withNats(async () => {
      await untilStore(store, 'ready');
      assert.equal(await store.create('a', bytes('1'), long), 1);
      await bus.close();
    }, { port, conf: withJetStream });
  });

  test('server came back empty: the bucket is made again, and the list tells a lower sequence than was seen', WATCHDOG, async () => {
    const port = await freePort();
    const bus = createNatsBus({ servers: `127.0.0.1:${port}` }, outside);
    const store = createNatsStore(bus, {}, outside);
    const seen = new Happenings<number>();
    await withNats(async () => {
      store.watch('', ({ revision }) => seen.add(revision));
      await untilStore(store, 'ready');
      for (let i = 0; i < 5; i++) await store.put('a', bytes('1'), long);
      await seen.next((revision) => revision === 5, 'the last put');
    }, { port, conf: withJetStream });
    await withNats(async () => {
      await untilStore(store, 'ready');
      assert.equal((await store.list('', long)).lastSequence, 0);
      assert.equal(store.lastSequence, 5);
      await store.put('a', bytes('1'), long);
      await seen.next((revision) => revision === 1, 'the first put of the new store', 5);
      await bus.close();
    }, { port, conf: withJetStream });
  });
});

describe('NATS store: the bucket', () => {
  test('removed under a running store: the next read is DOWN, then it is made again', WATCHDOG, () => withNats(async (nats) => {
    const { store, close } = await join(nats, nats.operator);
    await store.put('a', bytes('1'), long);
    const plain = await connect({ servers: nats.url, ...nats.operator });
    await (await jetstreamManager(plain)).streams.delete('KV_regrow');
    await storeRejects(store.list('', long), 'DOWN');
    await untilStore(store, 'ready');
    assert.equal(await store.get('a', long), undefined);
    assert.equal((await store.list('', long)).lastSequence, 0);
    assert.equal(store.lastSequence, 1);
    await plain.close();
    await close();
  }));

  test('never answered by a replica that may be behind, and without an age limit', WATCHDOG, () => withNats(async (nats) => {
    const { close } = await join(nats, nats.operator);
    const plain = await connect({ servers: nats.url, ...nats.operator });
    const { config } = await (await jetstreamManager(plain)).streams.info('KV_regrow');
    assert.deepEqual([config.allow_direct, config.max_age, config.storage, config.max_msgs_per_subject, config.num_replicas], [false, 0, 'file', 1, 1]);
    await plain.close();
    await close();
  }));

  test('the age limit of somebody else is taken back', WATCHDOG, () => withNats(async (nats) => {
    const plain = await connect({ servers: nats.url, ...nats.operator });
    await (await new Kvm(plain).create('regrow', { ttl: 60_000, history: 5 })).put('theirs', 'kept');
    const { store, close } = await join(nats, nats.operator);
    assert.equal(text((await store.get('theirs', long))?.value), 'kept');
    const { config } = await (await jetstreamManager(plain)).streams.info('KV_regrow');
    assert.deepEqual([config.max_age, config.allow_direct, config.max_msgs_per_subject], [0, false, 1]);
    const seen = new Happenings<string>();
    store.watch('', ({ key }) => seen.add(key));
    await store.put('ours', bytes('1'), long);
    await seen.next((key) => key === 'ours', 'the put');
    await plain.close();
    await close();
  }));

  test('a bucket in memory is no store: absent, with the reason', WATCHDOG, () => withNats(async (nats) => {
    const plain = await connect({ servers: nats.url, ...nats.operator });
    await new Kvm(plain).create('regrow', { storage: StorageType.Memory });
    const bus = await connectNats({ servers: nats.url, ...nats.operator }, outside, 10_000);
    const store = createNatsStore(bus, {}, outside);
    await untilStore(store, 'absent');
    assert.match(store.detail, /in memory only/);
    await plain.close();
    await store.close();
    await bus.close();
  }));

  test('more replicas than servers: down, with the server\'s words', WATCHDOG, () => withNats(async (nats) => {
    const bus = await connectNats({ servers: nats.url, ...nats.operator }, outside, 10_000);
    const seen = new Happenings<string>();
    const store = createNatsStore(bus, { replicas: 3 }, { clock: systemClock, log: { log: (_level, event, fields) => seen.add(`${event} ${String(fields?.['detail'])}`) } });
    await seen.next((line) => /^store-down .*replicas > 1 not supported/.test(line), 'the refusal');
    await storeRejects(store.put('a', bytes('1'), long), 'DOWN');
    await store.close();
    await bus.close();
  }));

  test('NATS\' own key-value client reads and writes the same keys', WATCHDOG, () => withNats(async (nats) => {
    const { store, close } = await join(nats, nats.operator);
    const plain = await connect({ servers: nats.url, ...nats.operator });
    const kv = await new Kvm(plain).open('regrow');
    await store.put('own.a', bytes('1'), long);
    assert.equal((await kv.get('own.a'))?.string(), '1');
    const seen = new Happenings<string>();
    store.watch('', (change) => seen.add(`${change.key} ${change.deleted ? 'deleted' : text(change.value)}`));
    await kv.put('own.b', '2');
    await seen.next((each) => each === 'own.b 2', 'the put');
    await kv.purge('own.b');
    await seen.next((each) => each === 'own.b deleted', 'the purge');
    assert.equal(await store.get('own.b', long), undefined);
    await storeRejects(store.create('own.b', bytes('3'), long), 'EXISTS');
    await plain.close();
    await close();
  }));

  test('NATS\' own object client reads and writes the same objects', WATCHDOG, () => withNats(async (nats) => {
    const { objects, close } = await join(nats, nats.operator);
    const [ours, theirs] = [content(700_000), content(700_001)];
    await objects.put(sha256(ours), ours, long);
    const plain = await connect({ servers: nats.url, ...nats.operator });
    const bucket = await new Objm(plain).open('regrow');
    assert.equal(sha256((await bucket.getBlob(sha256(ours)))!), sha256(ours));
    await bucket.putBlob({ name: sha256(theirs) }, theirs);
    assert.equal(await objects.has(sha256(theirs), long), true);
    assert.equal(sha256((await read(await objects.get(sha256(theirs), long)))!), sha256(theirs));
    await bucket.delete(sha256(theirs));
    assert.equal(await objects.has(sha256(theirs), long), false);
    await objects.put(sha256(theirs), theirs, long);
    assert.equal(await objects.has(sha256(theirs), long), true);
    await plain.close();
    await close();
  }));

  test('an object that lost a chunk is not there, reading it is CONFLICT, and putting it makes it whole', WATCHDOG, () => withNats(async (nats) => {
    const { objects, close } = await join(nats, nats.operator);
    const big = content(1_000_000);
    const id = sha256(big);
    await objects.put(id, big, long);
    const plain = await connect({ servers: nats.url, ...nats.operator });
    await (await jetstreamManager(plain)).streams.deleteMessage('OBJ_regrow', 3);
    assert.equal(await objects.has(id, long), false);
    await storeRejects(read(await objects.get(id, long)), 'CONFLICT');
    await objects.put(id, big, long);
    assert.equal(sha256((await read(await objects.get(id, long)))!), id);
    await plain.close();
    await close();
  }));
});

describe('NATS store: roles of nats.conf', () => {
  test('operator: pushes objects and desired state, hosts read them', WATCHDOG, () => withNats(async (nats) => {
    const host = await join(nats, nats.host);
    const operator = await join(nats, nats.operator);
    const model = content(300_000);
    await operator.objects.put(sha256(model), model, long);
    await operator.store.put('desired', bytes('{}'), long);
    assert.equal(await host.objects.has(sha256(model), long), true);
    assert.equal(text((await host.store.get('desired', long))?.value), '{}');
    await Promise.all([host.close(), operator.close()]);
  }));

  test('client: no store for it, with the reason', WATCHDOG, () => withNats(async (nats) => {
    const bus = await connectNats({ servers: nats.url }, outside, 10_000);
    const store = createNatsStore(bus, {}, outside);
    await untilStore(store, 'absent');
    assert.match(store.detail, /may not publish to \$JS\.API/);
    await storeRejects(store.get('a', long), 'DOWN');
    await store.close();
    await bus.close();
  }));
});
