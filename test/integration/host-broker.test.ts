/** The broker goes and comes: calls in memory never notice, sessions stay warm, and serving over NATS resumes. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { connect as connectPlain } from '@nats-io/transport-node';
import { connect } from '../../src/index.js';
import { blankDigit, digits, stageHost } from '../support/host-stage.js';
import { steadyLoad } from '../support/load.js';
import { freePort, startTestNats, type TestNats } from '../support/nats-server.js';

let nats: TestNats | undefined;
after(() => nats?.remove());

test('a host starts before its broker exists, serves in memory meanwhile, and over NATS as soon as it can', async () => {
  const port = await freePort();
  await using stage = await stageHost({ nats: { servers: `nats://127.0.0.1:${port}` }, actors: [digits()] });
  assert.equal(stage.host.status().bus, 'down');
  await stage.host.infer('digits', blankDigit);
  const { pid } = stage.replica('digits');
  const server = await startTestNats({ port, conf: 'host: 127.0.0.1\n' });
  try {
    await stage.events.next(({ type }) => type === 'bus-up', 'the connection');
    assert.equal(stage.host.status().bus, 'up');
    await using client = await connect({ servers: server.url });
    await client.infer('digits', blankDigit);
    assert.equal(stage.replica('digits').pid, pid);
  } finally {
    await server.remove();
  }
});

test('the broker is killed and restarted under load: no call in memory fails, the sessions are the same, NATS serving resumes', async () => {
  nats = await startTestNats();
  await using stage = await stageHost({ nats: { servers: nats.url, ...nats.host }, actors: [digits({ replicas: 2 })] });
  await using client = await connect({ servers: nats.url });
  const pids = (): number[] => stage.actor('digits').replicas.map(({ pid }) => pid);
  const before = pids();
  const inMemory = steadyLoad(() => stage.host.infer('digits', blankDigit));
  await client.infer('digits', blankDigit);
  for (let round = 0; round < 2; round++) {
    const from = stage.events.all.length;
    await nats.kill();
    await stage.events.next(({ type }) => type === 'bus-down', 'bus-down', from);
    assert.equal(stage.host.status().bus, 'down');
    await inMemory.answered(50);
    await nats.start();
    await stage.events.next(({ type }) => type === 'bus-up', 'bus-up', from);
    await inMemory.answered(50);
    // A stranger who comes after the outage.
    const plain = await connectPlain({ servers: nats.url });
    await plain.request('regrow.status', '', { timeout: 5000 });
    const answer = await plain.request('regrow.infer.digits', '{}', { timeout: 5000 });
    assert.equal(answer.headers!.get('Nats-Service-Error-Code'), '400');
    await plain.close();
    // A client that lived through it.
    await client.infer('digits', blankDigit, { timeoutMs: 10_000 });
  }
  const { ok, failures } = await inMemory.stop();
  assert.deepEqual(failures.slice(0, 5), []);
  assert.ok(ok > 200);
  assert.deepEqual(pids(), before);
  assert.deepEqual(stage.events.all.filter(({ type }) => type === 'replica-exit'), []);
});
