/** The store on three nats-servers with three replicas: all a Store must do, and the loss of the server that leads it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectNats, type NatsBus } from '../../src/adapters/nats-bus.js';
import { createNatsObjects } from '../../src/adapters/nats-objects.js';
import { createNatsStore } from '../../src/adapters/nats-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Log } from '../../src/ports.js';
import { bytes, long, storeConformance, text, untilStore, type StoreConnection } from '../support/store-conformance.js';
import { freePort, startTestNats, type TestNats } from '../support/nats-server.js';

const log: Log = { log() {} };
const outside = { clock: systemClock, log };

interface Cluster {
  killLeader(bus: NatsBus): Promise<void>;
  connect(): Promise<StoreConnection & { readonly bus: NatsBus }>;
  each(work: (server: TestNats) => Promise<void>): Promise<void>;
  remove(): Promise<void>;
}

async function startCluster(): Promise<Cluster> {
  const routes = await Promise.all([freePort(), freePort(), freePort()]);
  const servers = await Promise.all(routes.map((port, i) => startTestNats({
    conf: `
      server_name: s${i}
      host: 127.0.0.1
      jetstream { store_dir: "./jetstream" }
      cluster { name: test, listen: "127.0.0.1:${port}", routes: [ ${routes.map((each) => `"nats://127.0.0.1:${each}"`).join(', ')} ] }
    `,
  })));
  const alive = new Set(servers);
  return {
    async killLeader(bus) {
      const answer = await bus.request('$JS.API.STREAM.INFO.KV_regrow', new Uint8Array(0), long);
      const { leader } = (JSON.parse(text(answer.data)!) as { cluster: { leader: string } }).cluster;
      const server = servers[Number(leader.slice(1))]!;
      alive.delete(server);
      await server.kill();
    },
    async connect() {
      const bus = await connectNats({ servers: servers.map(({ url }) => url) }, outside, 10_000);
      const options = { replicas: 3 };
      const store = createNatsStore(bus, options, outside);
      await untilStore(store, 'ready');
      const close = async (): Promise<void> => {
        await store.close();
        await bus.close();
      };
      return { bus, store, objects: createNatsObjects(bus, options, systemClock), close };
    },
    async each(work) {
      await Promise.all(servers.map(work));
    },
    async remove() {
      // Killed: an orderly end hands leadership over first, which takes seconds and saves nothing here.
      for (const { pid } of alive) process.kill(pid, 'SIGKILL');
      await Promise.all(servers.map((server) => server.remove()));
    },
  };
}

storeConformance('NATS, three replicas', async () => {
  const cluster = await startCluster();
  return {
    connect: () => cluster.connect(),
    stop: () => cluster.each((server) => server.stop()),
    start: () => cluster.each((server) => server.start()),
    remove: () => cluster.remove(),
  };
});

test('NATS store: its leader is killed, a create that was acknowledged stands and writing goes on', { timeout: 60_000 }, async () => {
  const cluster = await startCluster();
  const { bus, store, close } = await cluster.connect();
  await store.create('own.a.1', bytes('me'), long);
  await cluster.killLeader(bus);
  // Until the others have a new leader writes are UNKNOWN or DOWN; the very same create may be repeated.
  for (let created = false; !created;) {
    await untilStore(store, 'ready');
    created = await store.create('own.a.2', bytes('me'), { timeoutMs: 500 }).then(() => true, (error: { code: string }) => error.code === 'EXISTS');
    // Not for an event: only so that a refusal at once does not make this a busy loop.
    if (!created) await new Promise<void>((resolve) => void systemClock.setTimeout(resolve, 50));
  }
  assert.equal(text((await store.get('own.a.1', long))?.value), 'me');
  assert.equal(text((await store.get('own.a.2', long))?.value), 'me');
  await close();
  await cluster.remove();
});
