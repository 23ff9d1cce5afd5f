/** Several hosts on one nats-server: they know each other, answer for each other, and notice who is gone. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from '../../src/host/connect.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import { act, acts, briskRestart, gate, said, stageHost, type HostStage } from '../support/host-stage.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { Happenings, until } from '../support/waiting.js';

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats.remove());

const stage = (host: string, prefix: string, ...actors: ReturnType<typeof acts>[]): Promise<HostStage> =>
  stageHost({ host, prefix: `regrow.${prefix}`, nats: { servers: nats.url, ...nats.host }, beatMs: 100, suspectAfterMs: 400, deadAfterMs: 800, actors });

const thread = { isolation: 'thread', idempotent: true } as const;

test('a host answers for an actor it does not have through one that has it', { timeout: 30_000 }, async () => {
  await using one = await stage('one', 'fwd', acts('here', thread));
  await using two = await stage('two', 'fwd', acts('there', thread));
  const answer = await until(() => one.host.infer('there', act('echo', 'far')).catch(() => undefined), 'host one knows host two');
  assert.deepEqual(said(answer.outputs), ['echo', 'far']);
  assert.match(answer.servedBy, /^two\/there-/);
  await assert.rejects(one.host.infer('nowhere', act('echo')), { code: 'NOT_FOUND' });
  await until(() => two.host.infer('here', act('echo')).catch(() => undefined), 'host two knows host one');
  // A module's nested call goes the same way.
  const nested = await two.host.infer('there', act('ask', 'here', 'echo', 'back'));
  assert.deepEqual(said(nested.outputs), ['echo', 'back']);
});

test('a call that comes back to an actor on its path is refused over hosts as well', { timeout: 30_000 }, async () => {
  await using one = await stage('one', 'loop', acts('here', thread));
  await using two = await stage('two', 'loop', acts('there', thread));
  await until(() => one.host.infer('there', act('echo')).catch(() => undefined), 'host one knows host two');
  await until(() => two.host.infer('here', act('echo')).catch(() => undefined), 'host two knows host one');
  const { outputs } = await one.host.infer('here', act('ask', 'there', 'ask', 'here', 'echo'));
  assert.match(said(outputs)[0]!, /INVALID_ARGUMENT: .*path/);
});

test('requests of a host whose only replica died are answered by the other one, at once', { timeout: 30_000 }, async () => {
  const slow = gate();
  await using one = await stage('one', 'lost', acts('shared', { ...thread, isolation: 'process', restart: briskRestart }));
  await using two = await stage('two', 'lost', acts('shared', thread));
  await until(() => one.host.infer('shared', act('echo')).catch(() => undefined), 'it serves');
  const running = one.host.infer('shared', act('wait', slow.file));
  await one.logs.next(({ event }) => event === 'inside wait', 'the run is under way');
  process.kill(one.replica('shared').pid, 'SIGKILL');
  slow.open();
  const answer = await running;
  assert.deepEqual(said(answer.outputs), ['waited']);
  assert.ok(answer.attempts >= 1 && answer.attempts <= 3);
  assert.equal(two.actor('shared').state, 'ready');
});

test('a host that stops leaves the picture of the others', { timeout: 30_000 }, async () => {
  await using one = await stage('one', 'gone', acts('here', thread));
  const two = await stage('two', 'gone', acts('there', thread));
  const events = new Happenings<RegrowEvent>();
  one.host.onEvent((event) => events.add(event));
  await using client = await connect({ servers: nats.url, prefix: 'regrow.gone', ...nats.host });
  const both = await until(async () => {
    const { hosts } = await client.status();
    return hosts.length === 2 && hosts.every(({ actors }) => actors[0]?.ready === 1) ? hosts : undefined;
  }, 'a host shows both');
  // Which one was asked is chance; the first must know the second before it can miss it.
  await until(() => one.host.infer('there', act('echo')).catch(() => undefined), 'host one knows host two');
  assert.deepEqual(both.map(({ id, liveness }) => `${id} ${liveness}`), ['one alive', 'two alive']);
  await two[Symbol.asyncDispose]();
  const gone = await events.next(({ type }) => type === 'host-gone', 'the other host said goodbye');
  assert.equal(gone.detail?.['gone'], 'two');
  assert.ok(!events.all.some(({ type }) => type === 'host-suspect' || type === 'host-dead'), 'nobody had to wait for its silence');
});
