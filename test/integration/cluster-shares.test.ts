/** Several hosts with the same actors: each runs its share, and what a host leaves behind is ready elsewhere before it goes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from '../../src/host/connect.js';
import { act, acts, said, stageHost, type HostStage } from '../support/host-stage.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { until } from '../support/waiting.js';

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats.remove());

const thread = { isolation: 'thread', idempotent: true } as const;
const stage = (host: string, prefix: string, ...actors: ReturnType<typeof acts>[]): Promise<HostStage> =>
  stageHost({ host, prefix: `regrow.${prefix}`, nats: { servers: nats.url, ...nats.host }, beatMs: 100, suspectAfterMs: 400, deadAfterMs: 800, actors });
const counts = (stages: readonly HostStage[], actor: string): string => stages.map((each) => `${each.actor(actor).ready}/${each.actor(actor).wanted}`).join(' ');

test('replicas are wanted in the cluster: each of three hosts runs one of three, and all of them answer', { timeout: 30_000 }, async () => {
  await using one = await stage('one', 'three', acts('shared', { ...thread, replicas: 3 }), acts('single', thread));
  await using two = await stage('two', 'three', acts('shared', { ...thread, replicas: 3 }), acts('single', thread));
  await using three = await stage('three', 'three', acts('shared', { ...thread, replicas: 3 }), acts('single', thread));
  const all = [one, two, three];
  // One that was there before the others keeps what it has for half a minute longer.
  await until(() => (all.every((each) => each.actor('shared').ready >= 1) ? true : undefined), 'each has one');
  await until(() => (all.some((each) => each.actor('single').ready === 1) && all.some((each) => each.actor('single').wanted === 0) ? true : undefined), 'one of them has the single one');
  for (const each of all) {
    const { outputs } = await until(() => each.host.infer('single', act('echo', 'x')).catch(() => undefined), 'every host answers for it');
    assert.deepEqual(said(outputs), ['echo', 'x']);
  }
  const without = all.find((each) => each.actor('single').wanted === 0)!;
  assert.match(without.actor('single').reason, /its replicas are on (one|two|three)/);
  assert.equal(without.actor('single').state, 'ready');
});

test('a host that stops leaves when its replicas are ready elsewhere: nobody notices', { timeout: 60_000 }, async () => {
  const actors = [acts('alpha', thread), acts('beta', thread), acts('gamma', thread), acts('delta', thread)];
  const one = await stage('one', 'leave', ...actors);
  await until(() => (actors.every(({ name }) => one.actor(name).ready === 1) ? true : undefined), 'host one runs everything');
  await using two = await stage('two', 'leave', ...actors);
  await until(() => two.host.infer('alpha', act('echo')).catch(() => undefined), 'host two knows host one');
  await using client = await connect({ servers: nats.url, prefix: 'regrow.leave', ...nats.host });
  let stopping = true;
  const failures: string[] = [];
  let answered = 0;
  const load = actors.map(async ({ name }) => {
    while (stopping) {
      // Modules are not repeated by the client: whoever hears a request answers it.
      await client.infer(name, act('echo'), { idempotent: false }).then(() => answered++, (error: Error) => failures.push(`${name}: ${error.message}`));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  await one[Symbol.asyncDispose]();
  await until(() => (actors.every(({ name }) => two.actor(name).ready === 1) ? true : undefined), 'host two runs everything');
  stopping = false;
  await Promise.all(load);
  assert.deepEqual(failures, []);
  assert.ok(answered > 0);
  assert.equal(counts([two], 'alpha'), '1/1');
});
