/**
 * The users of nats.conf against a real server: each may do its work and nothing of the others'. And docs/nats-cluster.conf:
 * three servers find each other with it, and keep three copies of what regrow stores.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { connectNats, type NatsBus } from '../../src/adapters/nats-bus.js';
import { createNatsObjects } from '../../src/adapters/nats-objects.js';
import { createNatsStore } from '../../src/adapters/nats-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { BusError, StoreError, type Store } from '../../src/ports.js';
import { within } from '../support/lanes.js';
import { freePort, projectRoot, startTestNats, type NatsRole, type TestNats } from '../support/nats-server.js';
import { bytes, long, sha256, text, untilStore } from '../support/store-conformance.js';

const WATCHDOG = { timeout: 60_000 };
const outside = { clock: systemClock, log: { log() {} } };
const model = bytes('a model');

let nats: TestNats;
const open: { close(): Promise<unknown> }[] = [];
before(async () => {
  nats = await startTestNats();
}, { timeout: 600_000 });
after(async () => {
  for (const each of open.reverse()) await each.close();
  await nats?.remove();
});

const roleOf = (name: string): Partial<NatsRole> => (name === 'client' ? {} : (nats[name as 'host' | 'operator' | 'system']));

async function busOf(name: string): Promise<NatsBus> {
  const bus = await connectNats({ servers: nats.url, ...roleOf(name) }, outside, 10_000);
  open.push(bus);
  return bus;
}

async function storeOf(name: string): Promise<Store> {
  const store = createNatsStore(await busOf(name), {}, outside);
  open.push(store);
  await untilStore(store, 'ready');
  return store;
}

/** Whether the server lets this user send there; nobody needs to answer. */
async function mayPublish(connection: NatsConnection, subject: string): Promise<boolean> {
  const violated = new Promise<boolean>((resolve) => {
    void (async () => {
      for await (const status of connection.status()) if (status.type === 'error' && String(status.error).includes(`"${subject}"`)) return resolve(true);
    })();
  });
  connection.publish(subject, '{}');
  // The server answers in order: a violation comes before the second PONG.
  await connection.flush();
  return !(await Promise.race([violated, connection.flush().then(() => new Promise<boolean>((resolve) => setImmediate(() => resolve(false))))]));
}

async function mayListen(connection: NatsConnection, subject: string): Promise<boolean> {
  let refused = false;
  const subscription = connection.subscribe(subject, { callback: (error) => { refused ||= error !== null; } });
  await connection.flush();
  await connection.flush();
  subscription.unsubscribe();
  return !refused;
}

const rights: Record<string, { readonly publish: readonly string[]; readonly not: readonly string[]; readonly listen: readonly string[]; readonly deaf: readonly string[] }> = {
  client: {
    publish: ['regrow.infer.a', 'regrow.host.h.infer.a', 'regrow.status', '$SRV.PING'],
    not: ['regrow.control.h.drain', 'regrow.beat.h', 'regrow.state.h', 'regrow.status.h', 'regrow.store.desired.a', '$KV.regrow.desired.a', '$KV.regrow.own.a.1', '$O.regrow.C.x', '$JS.API.INFO', '$JS.API.STREAM.INFO.KV_regrow', '$SYS.REQ.SERVER.x.KICK'],
    listen: ['_INBOX.mine.>', 'regrow.events.>', 'regrow.status.h'],
    deaf: ['>', 'regrow.>', 'regrow.infer.a', 'regrow.control.>', 'regrow.store.>', '_INBOX_host.>', '_INBOX_operator.>', '$KV.>', '$JS.>', '$SYS.>'],
  },
  host: {
    publish: ['regrow.beat.h', 'regrow.state.h', 'regrow.events.h.x', '$KV.regrow.lease.h.1', '$KV.regrow.fence.h.1', '$KV.regrow.own.a.1', '$KV.regrow.check.a.1', '$KV.regrow.quarantine.f', '$JS.API.STREAM.MSG.GET.KV_regrow', '$JS.API.DIRECT.GET.OBJ_regrow'],
    not: ['regrow.control.h.drain', 'regrow.store.desired.a', '$KV.regrow.desired.a', '$KV.regrow_sub.desired.a', '$O.regrow.C.x', '$O.regrow.M.x', '$JS.API.INFO', '$JS.API.STREAM.DELETE.KV_regrow', '$JS.API.STREAM.MSG.DELETE.KV_regrow', '$JS.API.STREAM.UPDATE.OBJ_regrow', '$JS.API.CONSUMER.CREATE.KV_regrow', '$JS.API.STREAM.PURGE.OBJ_regrow', '$SYS.REQ.SERVER.x.KICK'],
    listen: ['regrow.infer.a', 'regrow.control.h.*', 'regrow.store.>', '$SRV.PING', '_INBOX_host.>'],
    deaf: ['>', '_INBOX.>', '_INBOX_operator.>', '$KV.>', '$O.>', '$JS.>', '$SYS.>'],
  },
  operator: {
    publish: ['regrow.control.h.drain', 'regrow.infer.a', 'regrow.status', '$KV.regrow.desired.a', '$O.regrow.C.x', '$JS.API.INFO', '$JS.API.STREAM.INFO.KV_regrow'],
    not: ['regrow.beat.h', 'regrow.state.h', 'regrow.store.desired.a', '$SYS.REQ.SERVER.x.KICK'],
    listen: ['regrow.>', '_INBOX_operator.>'],
    deaf: ['>', '_INBOX.>', '_INBOX_host.>', '$KV.>', '$SYS.>'],
  },
  system: {
    publish: ['$SYS.REQ.SERVER.x.KICK'],
    not: ['$SYS.REQ.SERVER.PING', '$SYS.REQ.SERVER.x.CONNZ', '$SYS.REQ.SERVER.x.LDM', '$SYS.REQ.SERVER.x.RELOAD', '$SYS.REQ.ACCOUNT.APP.CONNZ', 'regrow.infer.a', 'regrow.control.h.drain'],
    listen: ['_INBOX_system.>'],
    deaf: ['>', '$SYS.>', '_INBOX.>', 'regrow.>'],
  },
};

for (const [name, { publish, not, listen, deaf }] of Object.entries(rights)) {
  describe(`user ${name}`, () => {
    let connection: NatsConnection;
    before(async () => {
      connection = await connect({ servers: nats.url, ...roleOf(name) });
      open.push(connection);
    });
    for (const subject of publish) test(`may publish to ${subject}`, WATCHDOG, async () => assert.equal(await mayPublish(connection, subject), true));
    for (const subject of not) test(`may not publish to ${subject}`, WATCHDOG, async () => assert.equal(await mayPublish(connection, subject), false));
    for (const subject of listen) test(`may subscribe to ${subject}`, WATCHDOG, async () => assert.equal(await mayListen(connection, subject), true));
    for (const subject of deaf) test(`may not subscribe to ${subject}`, WATCHDOG, async () => assert.equal(await mayListen(connection, subject), false));
  });
}

test('a host: everything a Store does works, but for what is wanted of the cluster', WATCHDOG, async () => {
  const host = await storeOf('host');
  assert.match(host.detail, /1 replica$/, 'a server that stands alone');
  const revision = await host.create('own.a.1', bytes('me'), long);
  await host.update('own.a.1', bytes('still me'), revision, long);
  await host.put('lease.h.1', bytes('1'), long);
  assert.equal(text((await host.get('own.a.1', long))?.value), 'still me');
  await host.delete('own.a.1', long);
  await host.forget('lease.h.1', long);
  assert.deepEqual((await host.list('', long)).entries, []);
  await assert.rejects(host.put('desired.a', bytes('mine'), long), (error: StoreError) => error.code === 'DOWN' && (error.cause as BusError).code === 'PERMISSION');
});

test('an operator writes what is wanted, a host hears of it and reads models, and cannot replace them', WATCHDOG, async () => {
  const [host, operator] = [await storeOf('host'), await storeOf('operator')];
  const heard = new Promise<string>((resolve) => host.watch('desired', ({ key }) => resolve(key)));
  await operator.create('desired.a', bytes('{}'), long);
  assert.equal(await within(heard, 'the news'), 'desired.a');
  const hash = sha256(model);
  await createNatsObjects(await busOf('operator'), {}, systemClock).put(hash, model, long);
  const theirs = createNatsObjects(await busOf('host'), {}, systemClock);
  const found: Uint8Array[] = [];
  for await (const chunk of (await theirs.get(hash, long))!) found.push(chunk);
  assert.deepEqual(Buffer.concat(found), Buffer.from(model));
  await assert.rejects(theirs.put(sha256(bytes('evil')), bytes('evil'), long));
  await assert.rejects(theirs.delete(hash, long));
  assert.equal(await theirs.has(hash, long), true);
});

test('the system user has a connection closed at once; it comes back by itself', WATCHDOG, async () => {
  const [victim, system] = [await busOf('host'), await busOf('system')];
  const states: string[] = [];
  const back = new Promise<void>((resolve) => victim.onState((state) => {
    states.push(state);
    if (state === 'up') resolve();
  }));
  const { serverId, clientId } = victim.identity!;
  const answer = await system.request(`$SYS.REQ.SERVER.${serverId}.KICK`, bytes(JSON.stringify({ cid: clientId })), long);
  assert.equal((JSON.parse(text(answer.data)!) as { error?: unknown }).error, undefined);
  await within(back, 'the reconnect');
  assert.deepEqual(states, ['down', 'up']);
  assert.notEqual(victim.identity!.clientId, clientId);
});

test('docs/nats-cluster.conf: three servers, three copies, the same users', WATCHDOG, async () => {
  const load = async <T>(name: string): Promise<T> => (await import(pathToFileURL(join(projectRoot, 'scripts', name)).href)) as T;
  const { getNatsServer, startNatsServer } = await load<{ getNatsServer(): Promise<{ path: string }>; startNatsServer(options: object): Promise<{ url: string; pid: number; exited: Promise<number> }> }>('nats-server.mjs');
  const { ensureNatsSecrets, ensureClusterSecrets } = await load<{ ensureNatsSecrets(dir: string): { file: string; host: NatsRole }; ensureClusterSecrets(servers: string[], dir: string): string }>('nats-secrets.mjs');
  const root = mkdtempSync(join(tmpdir(), 'regrow-cluster-'));
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const first = join(root, 'nats-0', '.regrow');
  const { file, host } = ensureNatsSecrets(first);
  const routes = ensureClusterSecrets(ports.map((port) => `127.0.0.1:${port}`), first);
  assert.equal(statSync(routes).mode & 0o777, 0o600);
  assert.equal(ensureClusterSecrets(ports.map((port) => `127.0.0.1:${port}`), first), routes);
  const { path } = await getNatsServer();
  const servers = await Promise.all(ports.map((port, i) => {
    const folder = join(root, `nats-${i}`);
    mkdirSync(join(folder, 'docs'), { recursive: true });
    mkdirSync(join(folder, '.regrow'), { recursive: true });
    if (i > 0) for (const [from, name] of [[file, 'nats-secrets.json'], [routes, 'nats-cluster.json']] as const) copyFileSync(from, join(folder, '.regrow', name));
    copyFileSync(join(projectRoot, 'nats.conf'), join(folder, 'nats.conf'));
    const conf = join(folder, 'docs', 'nats-cluster.conf');
    // What only one machine needs: names, addresses, ports.
    writeFileSync(conf, readFileSync(join(projectRoot, 'docs', 'nats-cluster.conf'), 'utf8').replace('$REGROW_NATS_NAME', `nats-${i}`).replace('host: 0.0.0.0', 'host: 127.0.0.1').replace('"0.0.0.0:6222"', `"127.0.0.1:${port}"`));
    return startNatsServer({ path, conf, port: 0 });
  }));
  try {
    const bus = await connectNats({ servers: servers.map(({ url }) => url), ...host }, outside, 10_000);
    const store = createNatsStore(bus, {}, outside);
    await within(untilStore(store, 'ready'), 'the store');
    assert.match(store.detail, /bucket KV_regrow, 3 replicas/);
    await store.create('own.a.1', bytes('me'), long);
    assert.equal(text((await store.get('own.a.1', long))?.value), 'me');
    await store.close();
    await bus.close();
  } finally {
    for (const { pid } of servers) process.kill(pid, 'SIGKILL');
    await Promise.all(servers.map(({ exited }) => exited));
    rmSync(root, { recursive: true, force: true });
  }
});
