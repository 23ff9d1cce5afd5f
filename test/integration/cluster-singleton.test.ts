/** What may exist only once: one owner, who hands it over when it stops; the state goes along. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from '../../src/host/connect.js';
import type { ActorOptions } from '../../src/spec/actor.js';
import { stageHost, type HostStage } from '../support/host-stage.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { until } from '../support/waiting.js';

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats.remove());

const counter: ActorOptions = {
  name: 'counter', module: fileURLToPath(new URL('../../examples/ledger.js', import.meta.url)), singleton: true, isolation: 'thread',
};
const stage = (host: string, prefix: string, ...actors: ActorOptions[]): Promise<HostStage> => stageHost({
  host, prefix: `regrow.${prefix}`, nats: { servers: nats.url, ...nats.host }, beatMs: 100, suspectAfterMs: 400, deadAfterMs: 800,
  leaseMs: 3000, renewDeadlineMs: 1500, renewMs: 200, resyncMs: 500, actors,
});

test('a singleton runs on one host, every host answers for it, and a stop hands it over with its state: no call is lost', { timeout: 60_000 }, async () => {
  const one = await stage('one', 'once', counter);
  await until(() => (one.actor('counter').ready === 1 ? true : undefined), 'host one owns it');
  assert.deepEqual([one.actor('counter').owner, one.actor('counter').epoch], ['one', 1]);
  await using two = await stage('two', 'once', counter);
  await using client = await connect({ servers: nats.url, prefix: 'regrow.once', ...nats.host });
  const count = async (host?: HostStage): Promise<number> => {
    const booking = { booking: { datatype: 'FP64' as const, shape: [1], data: [1] } };
    const { outputs } = host ? await host.host.infer('counter', booking) : await client.infer('counter', booking, { timeoutMs: 5000 });
    return Number((outputs['balance'] as { data: ArrayLike<number> }).data[0]);
  };
  assert.equal(await until(() => count(two).catch(() => undefined), 'host two knows host one'), 1);
  assert.equal(two.actor('counter').wanted, 0);
  assert.match(two.actor('counter').reason, /one/);
  let stopping = true;
  const seen: number[] = [];
  const failures: string[] = [];
  const load = (async () => {
    while (stopping) {
      await count().then((value) => seen.push(value), (error: Error) => failures.push(error.message));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  await until(() => (seen.length > 5 ? true : undefined), 'it counts');
  await one[Symbol.asyncDispose]();
  await until(() => (two.actor('counter').ready === 1 && two.actor('counter').owner === 'two' ? true : undefined), 'host two owns it');
  const atStop = seen.length;
  await until(() => (seen.length > atStop + 5 ? true : undefined), 'it goes on counting');
  stopping = false;
  await load;
  assert.deepEqual(failures, []);
  assert.deepEqual(seen, seen.map((_, index) => index + 2), 'every call counted once, and none was forgotten');
  assert.equal(two.actor('counter').epoch, 2);
});

test('without a store a singleton stays down and says why', { timeout: 30_000 }, async () => {
  const plain = await startTestNats({ conf: 'host: 127.0.0.1' });
  try {
    await using one = await stageHost({ host: 'one', prefix: 'regrow.storeless', nats: { servers: plain.url }, actors: [counter] });
    await until(() => (/no store/.test(one.actor('counter').reason) ? true : undefined), 'it says why');
    assert.equal(one.actor('counter').ready, 0);
    await assert.rejects(one.host.infer('counter', {}, { timeoutMs: 300 }), { code: 'UNAVAILABLE', message: /no store/ });
  } finally {
    await plain.remove();
  }
});
