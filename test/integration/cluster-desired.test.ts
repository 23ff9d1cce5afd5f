/** The desired state of a cluster: hosts without actors of their own take up what the store wants, get its models, and follow changes. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connectNats } from '../../src/adapters/nats-bus.js';
import { createNatsObjects } from '../../src/adapters/nats-objects.js';
import { createNatsStore } from '../../src/adapters/nats-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Store } from '../../src/ports.js';
import { desiredKey, encodeDesired } from '../../src/protocol/desired.js';
import { act, blankDigit, folder, said, stageHost, type HostStage } from '../support/host-stage.js';
import { projectRoot, startTestNats, type TestNats } from '../support/nats-server.js';
import { until } from '../support/waiting.js';
import { fileURLToPath } from 'node:url';

const LONG = { timeoutMs: 20_000 };
const acts = fileURLToPath(new URL('../fixtures/modules/acts.js', import.meta.url));
const quiet = { clock: systemClock, log: { log() {} } };

let nats: TestNats;
let operator: Awaited<ReturnType<typeof connectNats>>;
let store: Store;
before(async () => {
  nats = await startTestNats();
  operator = await connectNats({ servers: nats.url, ...nats.operator }, quiet, 10_000);
  store = createNatsStore(operator, { prefix: 'regrow' }, quiet);
});
after(async () => {
  await store.close();
  await operator.close();
  await nats.remove();
});

const stage = (host: string): Promise<HostStage> => stageHost({
  host, nats: { servers: nats.url, ...nats.host }, dataDir: join(folder, `desired-${host}`), beatMs: 100, suspectAfterMs: 400, deadAfterMs: 800, resyncMs: 500,
  modules: { acts }, actors: [],
});
const want = (name: string, revision: number, actor: Record<string, unknown> | null): Promise<number> =>
  store.put(desiredKey(name), encodeDesired({ revision, actor: actor && { name, ...actor } } as Parameters<typeof encodeDesired>[0]), LONG);
const ready = (stages: readonly HostStage[], actor: string): number => stages.reduce((sum, each) => sum + (each.actor(actor)?.ready ?? 0), 0);

test('hosts take up what is wanted, fetch its model, follow a change, and let go of what is wanted no more', { timeout: 90_000 }, async () => {
  await using one = await stage('one');
  await using two = await stage('two');
  const both = [one, two];
  const model = readFileSync(join(projectRoot, 'demo', 'models', 'digits.onnx'));
  const sha256 = createHash('sha256').update(model).digest('hex');
  await createNatsObjects(operator, { prefix: 'regrow' }, systemClock).put(sha256, [model], LONG);
  await want('digits', 1, { model: `sha256:${sha256}`, replicas: 2 });
  await want('deeds', 1, { module: 'acts', isolation: 'thread', idempotent: true });
  await want('nobodys', 1, { module: 'missing', isolation: 'thread' });
  await until(() => (one.actor('digits')?.ready === 1 && two.actor('digits')?.ready === 1 ? true : undefined), 'each host has one of two');
  await until(() => (ready(both, 'deeds') === 1 ? true : undefined), 'one of them runs the module');
  assert.equal(one.actor('digits').version, sha256.slice(0, 12));
  assert.ok(both.every((each) => !each.actor('nobodys')), 'whose module no host names runs nowhere');
  for (const each of both) {
    const { outputs } = await each.host.infer('digits', blankDigit);
    assert.equal(Object.values(outputs)[0]!.shape.length, 2);
    assert.deepEqual(said((await each.host.infer('deeds', act('echo', 'x'))).outputs), ['echo', 'x']);
  }
  await want('deeds', 2, { module: 'acts', isolation: 'thread', idempotent: true, replicas: 2, version: 'second' });
  await until(() => (both.every((each) => each.actor('deeds')?.version === 'second' && each.actor('deeds').ready === 1) ? true : undefined), 'the change is everywhere');
  await want('digits', 2, null);
  await until(() => (both.every((each) => !each.actor('digits')) ? true : undefined), 'nobody runs what is wanted no more');
  assert.deepEqual(said((await one.host.infer('deeds', act('echo', 'y'))).outputs), ['echo', 'y']);
});

test('poison that one host confirmed is refused by the others', { timeout: 60_000 }, async () => {
  const actor = { name: 'brittle', module: acts, idempotent: true, replicas: 2 } as const;
  const host = (id: string): Promise<HostStage> => stageHost({
    host: id, nats: { servers: nats.url, ...nats.host }, dataDir: join(folder, `poison-${id}`), beatMs: 100, suspectAfterMs: 400, deadAfterMs: 800, resyncMs: 500, actors: [actor],
  });
  await using one = await host('p1');
  await using two = await host('p2');
  await until(() => (one.actor('brittle').ready >= 1 && two.actor('brittle').ready >= 1 ? true : undefined), 'both have a replica');
  await assert.rejects(one.host.infer('brittle', act('exit'), { timeoutMs: 20_000 }), { code: 'POISON' });
  const before = two.events.all.filter(({ type }) => type === 'replica-exit').length;
  await until(() => two.host.infer('brittle', act('exit'), { timeoutMs: 20_000 }).then(() => undefined, (error: { code: string; attempts?: number }) => (error.code === 'POISON' && (error.attempts ?? 0) === 0 ? true : undefined)), 'the other host refuses it unheard');
  assert.ok(two.events.all.filter(({ type }) => type === 'replica-exit').length - before <= 2);
});
