/** The NATS bus against real servers: all a Bus must do, then what only a network, a version or a permission can do to it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect, nkeys } from '@nats-io/transport-node';
import { connectNats, createNatsBus, type NatsBus, type NatsOptions } from '../../src/adapters/nats-bus.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Log } from '../../src/ports.js';
import { microInfo, microPing, microStats, microSubjects } from '../../src/protocol/micro.js';
import { subjects } from '../../src/protocol/subjects.js';
import { busConformance, bytes, rejectsWith, text, untilState } from '../support/bus-conformance.js';
import { freePort, startTestNats, type NatsRole, type TestNats } from '../support/nats-server.js';

const WATCHDOG = { timeout: 30_000 };
const LONG_MS = 60_000;
const quiet: Log = { log() {} };
const outside = { clock: systemClock, log: quiet };
const s = subjects();

busConformance('NATS, as the host of nats.conf', async () => {
  const nats = await startTestNats();
  return {
    connect: () => connectNats({ servers: nats.url, ...nats.host }, outside, 10_000),
    stop: () => nats.stop(),
    start: () => nats.start(),
    remove: () => nats.remove(),
  };
});

/** Collects log lines; `until` resolves with the fields of the first line that fits. */
function listeningLog(): Log & { until(event: string, fits: (fields: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> } {
  const lines: { event: string; fields: Record<string, unknown> }[] = [];
  const waiting = new Set<() => void>();
  return {
    log(_level, event, fields = {}) {
      lines.push({ event, fields });
      for (const look of waiting) look();
    },
    until(event, fits) {
      return new Promise((resolve) => {
        const look = (): void => {
          const line = lines.find((each) => each.event === event && fits(each.fields));
          if (!line) return;
          waiting.delete(look);
          resolve(line.fields);
        };
        waiting.add(look);
        look();
      });
    },
  };
}

describe('NATS bus: connecting', () => {
  test('start before the server exists: down at once, up later, with the subscriptions made meanwhile', WATCHDOG, async () => {
    const port = await freePort();
    const bus = createNatsBus({ servers: `127.0.0.1:${port}` }, outside);
    assert.equal(bus.state, 'down');
    bus.subscribe('early', (message) => message.respond(bytes('here')));
    await rejectsWith(bus.request('early', bytes(''), { timeoutMs: LONG_MS }), 'DISCONNECTED');
    bus.publish('early', bytes('dropped'));
    // A plain conf: the default user of nats.conf may not subscribe to this.
    const nats = await startTestNats({ port, conf: 'host: 127.0.0.1' });
    await untilState(bus, 'up');
    assert.match(bus.detail, /^nats-server \d+\.\d+\.\d+\S* at 127\.0\.0\.1:\d+$/);
    assert.equal(text((await bus.request('early', bytes(''), { timeoutMs: LONG_MS })).data), 'here');
    await bus.close();
    await nats.remove();
  });

  test('unsubscribe: what the server has sent already is handled, and nothing that was asked vanishes', WATCHDOG, async () => {
    const nats = await startTestNats({ conf: 'host: 127.0.0.1' });
    const worker = await connectNats({ servers: nats.url }, outside, 10_000);
    const caller = await connectNats({ servers: nats.url }, outside, 10_000);
    let handled = 0;
    const subscription = worker.subscribe('work', (message) => {
      message.respond(bytes('done'));
      if (++handled === 50) subscription.unsubscribe();
    }, { queue: 'workers' });
    await worker.flush(LONG_MS);
    const results = await Promise.allSettled(Array.from({ length: 2000 }, () => caller.request('work', bytes(''), { timeoutMs: 5000 })));
    const codes = new Set(results.flatMap((result) => (result.status === 'rejected' ? [(result.reason as { code: string }).code] : [])));
    assert.deepEqual([...codes], handled === 2000 ? [] : ['NO_RESPONDERS']);
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, handled);
    await Promise.all([worker.close(), caller.close()]);
    await nats.remove();
  });

  test('close before the server exists: ends at once', WATCHDOG, async () => {
    const bus = createNatsBus({ servers: `127.0.0.1:${await freePort()}` }, outside);
    await bus.close();
    assert.equal(bus.state, 'closed');
  });

  test('connectNats: nobody there is DISCONNECTED with the cause in its text', WATCHDOG, async () => {
    const servers = `127.0.0.1:${await freePort()}`;
    await assert.rejects(connectNats({ servers }, outside, 300), { code: 'DISCONNECTED', message: /connection refused/ });
  });

  test('server older than 2.11: closed, and says which versions', WATCHDOG, async () => {
    const old = createServer((socket) => {
      socket.write('INFO {"server_id":"OLD","version":"2.10.29","proto":1,"headers":true,"max_payload":1048576,"client_id":1}\r\n');
      socket.on('data', (chunk) => void (chunk.includes('PING') && socket.write('PONG\r\n')));
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => old.listen(0, '127.0.0.1', resolve));
    const servers = `127.0.0.1:${(old.address() as AddressInfo).port}`;
    await assert.rejects(connectNats({ servers }, outside, LONG_MS), { code: 'CLOSED', message: /2\.10\.29 at .* is too old: regrow needs 2\.11 or newer/ });
    old.close();
  });

  test('server killed and restarted: the bus follows', WATCHDOG, async () => {
    const nats = await startTestNats();
    const bus = await connectNats({ servers: nats.url, ...nats.host }, outside, 10_000);
    bus.subscribe(s.infer('echo'), (message) => message.respond(message.data), { queue: s.queueGroup });
    await Promise.all([nats.kill(), untilState(bus, 'down')]);
    await Promise.all([nats.start(), untilState(bus, 'up')]);
    assert.equal(text((await bus.request(s.infer('echo'), bytes('x'), { timeoutMs: LONG_MS })).data), 'x');
    await bus.close();
    await nats.remove();
  });

  test('nkey seed from a file: admitted; without it the bus stays down and says why', WATCHDOG, async () => {
    const user = nkeys.createUser();
    const nats = await startTestNats({ conf: `host: 127.0.0.1\nauthorization { users: [ { nkey: ${user.getPublicKey()} } ] }` });
    const nkeySeedFile = join(nats.dataDir, 'seed');
    writeFileSync(nkeySeedFile, `${new TextDecoder().decode(user.getSeed())}\n`);
    const bus = await connectNats({ servers: nats.url, nkeySeedFile }, outside, 10_000);
    await bus.flush(LONG_MS);
    await bus.close();
    await assert.rejects(connectNats({ servers: nats.url }, outside, 300), { code: 'DISCONNECTED', message: /authorization violation/i });
    await nats.remove();
  });
});

describe('nats.conf: what each role may do', () => {
  let nats: TestNats;
  const opened: NatsBus[] = [];
  const logs = new Map<NatsBus, ReturnType<typeof listeningLog>>();
  const as = async (role: NatsRole | undefined, more: Partial<NatsOptions> = {}): Promise<NatsBus> => {
    const log = listeningLog();
    const bus = await connectNats({ servers: nats.url, ...role, ...more }, { clock: systemClock, log }, 10_000);
    opened.push(bus);
    logs.set(bus, log);
    return bus;
  };
  const refusedToPublish = (bus: NatsBus, subject: string): Promise<void> => rejectsWith(bus.request(subject, bytes(''), { timeoutMs: LONG_MS }), 'PERMISSION');
  const refusedToSubscribe = async (bus: NatsBus, subject: string): Promise<void> => {
    bus.subscribe(subject, () => assert.fail(`heard ${subject}`));
    await logs.get(bus)!.until('bus-permission', (fields) => fields['operation'] === 'subscription' && fields['subject'] === subject);
  };

  let host: NatsBus;
  let client: NatsBus;
  let operator: NatsBus;

  before(async () => {
    nats = await startTestNats();
    [host, client, operator] = await Promise.all([as(nats.host), as(undefined), as(nats.operator)]);
    for (const subject of [s.infer('digits'), s.hostInfer('h1', 'digits'), s.status, s.statusOf('h1'), s.controlOf('h1'), ...microSubjects('PING', 'h1')]) {
      host.subscribe(subject, (message) => message.respond(bytes(message.subject)));
    }
    await host.flush(LONG_MS);
  }, WATCHDOG);
  after(async () => {
    await Promise.all(opened.map((bus) => bus.close()));
    await nats.remove();
  }, WATCHDOG);

  const answered = async (bus: NatsBus, subject: string): Promise<void> => {
    assert.equal(text((await bus.request(subject, bytes(''), { timeoutMs: LONG_MS })).data), subject);
  };

  test('client: asks for inference and status, finds services', WATCHDOG, async () => {
    for (const subject of [s.infer('digits'), s.hostInfer('h1', 'digits'), s.status, '$SRV.PING.regrow']) await answered(client, subject);
  });

  test('client: hears events and status', WATCHDOG, async () => {
    const heard = new Promise<string>((resolve) => void client.subscribe(s.eventsOfAll, (message) => resolve(message.subject)));
    const told = new Promise<string>((resolve) => void client.subscribe(s.statusOfAll, (message) => resolve(message.subject)));
    await client.flush(LONG_MS);
    host.publish(s.events('h1', 'moved'), bytes('{}'));
    host.publish(s.statusOf('h1'), bytes('{}'));
    assert.deepEqual(await Promise.all([heard, told]), [s.events('h1', 'moved'), s.statusOf('h1')]);
  });

  test('client: gives no orders, speaks for no host, stores nothing', WATCHDOG, async () => {
    for (const subject of [s.control('h1', 'drain'), s.statusOf('h1'), s.beat('h1'), s.events('h1', 'moved'), '$JS.API.INFO', '$KV.regrow.x']) {
      await refusedToPublish(client, subject);
    }
  });

  test('client: answers for no host and reads no private inbox', WATCHDOG, async () => {
    const nosy = await as(undefined);
    for (const subject of [s.infer('digits'), s.beatOfAll, s.controlOf('h1'), '$SRV.PING', '_INBOX_host.>', '>']) await refusedToSubscribe(nosy, subject);
  });

  test('client: with somebody else\'s inbox prefix every request says what to change', WATCHDOG, async () => {
    const lost = await as(undefined, { inboxPrefix: '_INBOX_operator' });
    await rejectsWith(lost.request(s.status, bytes(''), { timeoutMs: LONG_MS }), 'PERMISSION');
    await rejectsWith(lost.request(s.status, bytes(''), { timeoutMs: LONG_MS }), 'PERMISSION');
  });

  test('operator: gives orders and asks everything', WATCHDOG, async () => {
    for (const subject of [s.control('h1', 'drain'), s.infer('digits'), s.status, s.statusOf('h1')]) await answered(operator, subject);
  });

  test('operator: speaks for no host', WATCHDOG, async () => {
    for (const subject of [s.beat('h1'), s.events('h1', 'moved')]) await refusedToPublish(operator, subject);
  });

  test('host: gives no orders, reads nobody\'s answers', WATCHDOG, async () => {
    await refusedToPublish(host, s.control('h1', 'drain'));
    const nosy = await as(nats.host);
    for (const subject of ['_INBOX.>', '_INBOX_operator.>']) await refusedToSubscribe(nosy, subject);
  });

  test('host: reaches JetStream', WATCHDOG, async () => {
    const info = JSON.parse(text((await host.request('$JS.API.STREAM.INFO.KV_regrow', bytes(''), { timeoutMs: LONG_MS })).data)) as { type: string };
    assert.equal(info.type, 'io.nats.jetstream.api.v1.stream_info_response');
  });

  test('system: kicks a connection, which comes back, and can do nothing else', WATCHDOG, async () => {
    const system = await as(nats.system);
    const frozen = await as(nats.host);
    const { serverId, clientId } = frozen.identity!;
    const down = untilState(frozen, 'down');
    await system.request(`$SYS.REQ.SERVER.${serverId}.KICK`, bytes(JSON.stringify({ cid: clientId })), { timeoutMs: LONG_MS });
    await down;
    await untilState(frozen, 'up');
    assert.notEqual(frozen.identity!.clientId, clientId);
    for (const subject of ['$SYS.REQ.SERVER.PING', `$SYS.REQ.SERVER.${serverId}.RELOAD`, s.infer('digits')]) await refusedToPublish(system, subject);
  });

  test('wrong password: never admitted', WATCHDOG, async () => {
    await assert.rejects(connectNats({ servers: nats.url, ...nats.operator, pass: 'guess' }, outside, 300), { code: 'DISCONNECTED', message: /authorization violation/i });
    await assert.rejects(connectNats({ servers: nats.url, user: 'host' }, outside, 300), { code: 'DISCONNECTED' });
  });

  test('limits: the server takes 8 MiB, and the bus knows', () => {
    assert.equal(client.payloadBytesMax, 8 * 1024 * 1024);
  });

  test('headers: their names go out as written', WATCHDOG, async () => {
    const plain = await connect({ servers: nats.url, ...nats.operator });
    const subscription = plain.subscribe('regrow.events.>', { max: 1 });
    await plain.flush();
    host.publish(s.events('h1', 'moved'), bytes(''), { 'Timeout-Ms': '250', 'traceparent': '00-1', 'X-MiXed': 'é' });
    for await (const message of subscription) {
      assert.deepEqual([...message.headers!], [['Timeout-Ms', ['250']], ['traceparent', ['00-1']], ['X-MiXed', ['é']]]);
    }
    await plain.close();
  });

  test('micro: every instance answers PING, INFO and STATS of the service', WATCHDOG, async () => {
    const service = { id: 'h2', version: '0.1.0', description: 'd', metadata: {}, started: '2026-01-01T00:00:00.000Z' };
    const endpoints = [{ actor: 'digits', subject: s.infer('digits'), metadata: {}, requests: 1, errors: 0, lastError: '', processingMs: 1 }];
    const answers = { PING: microPing(service), INFO: microInfo(service, endpoints), STATS: microStats(service, endpoints) };
    const second = await as(nats.host);
    for (const [verb, answer] of Object.entries(answers)) {
      for (const subject of microSubjects(verb as 'PING', 'h2')) second.subscribe(subject, (message) => message.respond(bytes(JSON.stringify(answer))));
    }
    await second.flush(LONG_MS);
    for (const verb of ['PING', 'INFO', 'STATS'] as const) {
      const { data } = await client.request(`$SRV.${verb}.regrow.h2`, bytes(''), { timeoutMs: LONG_MS });
      assert.deepEqual(JSON.parse(text(data)), answers[verb]);
    }
  });
});
