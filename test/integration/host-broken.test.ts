/** Actors that cannot run: the host stays up, says why, and serves the others; what is repaired comes back by itself. */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect as connectPlain, type NatsConnection } from '@nats-io/transport-node';
import { act, acts, blankDigit, briskRestart, digits, folder, gate, rejection, stageHost, type HostStage } from '../support/host-stage.js';
import { startTestNats, projectRoot, type TestNats } from '../support/nats-server.js';
import { identityModel } from '../support/onnx-fixture.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/modules/${name}.js`, import.meta.url));
const truth = join(projectRoot, 'demo', 'models', 'digits.onnx');
const file = (name: string): string => join(folder, name);
const golden = (value: number) => ({
  inputs: { x: { datatype: 'FP32' as const, shape: [1], data: [1] } },
  outputs: { y: { datatype: 'FP32' as const, shape: [1], data: [value] } },
});
/** Gives up after the third failure, and tries one replica again after 300 ms, for ever. */
const impatient = { intensity: 2, periodMs: 60_000, backoff: { minMs: 300, maxMs: 300, factor: 1, jitter: 0 } };

writeFileSync(file('no.onnx'), 'this is no model');
writeFileSync(file('identity.onnx'), identityModel('FP32', [1]));
copyFileSync(truth, file('replaced.onnx'));
const door = gate();
const tyre = gate();

let nats: TestNats;
let stage: HostStage;
let plain: NatsConnection;
before(async () => {
  nats = await startTestNats();
  stage = await stageHost({
    nats: { servers: nats.url, ...nats.host },
    holdMs: 100,
    startsParallelMax: 8,
    actors: [
      digits(),
      { name: 'missing', model: 'absent.onnx' },
      { name: 'garbage', model: 'no.onnx' },
      { name: 'corrupt', model: truth, sha256: 'a'.repeat(64) },
      { name: 'wrong', model: 'identity.onnx', golden: golden(2) },
      { name: 'right', model: 'identity.onnx', golden: golden(1) },
      { name: 'no-module', module: 'absent.js' },
      { name: 'no-exports', module: fixture('no-run') },
      { name: 'throws', module: fixture('throws-on-load') },
      { name: 'replaced', model: 'replaced.onnx', restart: briskRestart },
      acts('repaired', { options: { throwOnLoad: tyre.file }, restart: impatient }),
      acts('slow-start', { options: { awaitFile: door.file }, startTimeoutMs: 300, restart: impatient }),
    ],
  });
  plain = await connectPlain({ servers: nats.url });
});
after(async () => {
  await plain.close();
  await stage[Symbol.asyncDispose]();
  await nats.remove();
});

const reasons: Record<string, RegExp> = {
  'missing': /load-failed: .*absent\.onnx/,
  'garbage': /load-failed: .*no\.onnx.*protobuf/i,
  'corrupt': /load-failed: .*(sha256|hash|changed)/i,
  'wrong': /unproven: answered its golden input wrong: .*y/,
  'no-module': /load-failed: .*absent\.js/,
  'no-exports': /load-failed: .*must export a function `run/,
  'throws': /load-failed: .*no licence file/,
  'slow-start': /load-failed: not ready within startTimeoutMs \(300\)/,
};

for (const [name, reason] of Object.entries(reasons)) {
  test(`${name}: down with a reason, requests are refused at once`, async () => {
    const { state, ready, reason: why, replicas } = stage.actor(name);
    assert.deepEqual([state, ready], ['down', 0]);
    assert.match(`${replicas[0]!.lastExit!.reason}: ${replicas[0]!.lastExit!.detail}`, reason);
    assert.match(why, /load-failed|unproven|loading|proving|backoff/);
    const error = await rejection(stage.host.infer(name, act('echo')));
    assert.equal(error.code, 'UNAVAILABLE');
    const silence = await rejection(plain.request(`regrow.infer.${name}`, '{}', { timeout: 5000 }));
    assert.match(String(silence), /no responders/i, 'the broker itself says that nobody is there');
  });
}

test('the others serve', async () => {
  await stage.host.infer('digits', blankDigit);
  assert.equal(stage.replica('right').proof, 'golden');
  assert.equal(stage.actor('right').state, 'ready');
  assert.equal(stage.host.status().hosts[0]!.reason, 'serving');
});

test('a model replaced on disk: the running replica is untouched, its successor refuses the other bytes', async () => {
  copyFileSync(file('identity.onnx'), file('replaced.onnx'));
  await stage.host.infer('replaced', blankDigit);
  const from = stage.events.all.length;
  process.kill(stage.replica('replaced').pid, 'SIGKILL');
  const refused = await stage.events.next(({ type, actor, reason }) => type === 'replica-exit' && actor === 'replaced' && reason.startsWith('load-failed'), 'the refusal', from);
  assert.match(refused.reason, /model changed on disk/);
  assert.equal(stage.actor('replaced').state, 'down');
  // The right bytes back in place: the next attempt serves again.
  copyFileSync(truth, file('replaced.onnx'));
  await stage.events.next(({ type, actor }) => type === 'replica-ready' && actor === 'replaced', 'its return', from);
  await stage.host.infer('replaced', blankDigit);
});

test('a module that fails to load until something is repaired: the pool gives up, says so, and comes back by itself', async () => {
  await stage.events.next(({ type, actor }) => type === 'pool-gave-up' && actor === 'repaired', 'giving up');
  await stage.events.next(({ type, actor }) => type === 'pool-retry' && actor === 'repaired', 'the retry');
  assert.match(stage.actor('repaired').reason, /tyre is flat/);
  const from = stage.events.all.length;
  tyre.open();
  await stage.events.next(({ type, actor }) => type === 'replica-ready' && actor === 'repaired', 'its return', from);
  assert.equal(stage.actor('repaired').state, 'ready');
  await stage.host.infer('repaired', act('echo'));
});

test('down beyond holdMs: the subject is left, and taken again with the first replica', async () => {
  // The same bytes at the same place again, but first nothing at all: no start can succeed.
  rmSync(file('replaced.onnx'));
  const from = stage.events.all.length;
  process.kill(stage.replica('replaced').pid, 'SIGKILL');
  await stage.events.next(({ type, actor, reason }) => type === 'replica-exit' && actor === 'replaced' && reason.startsWith('load-failed'), 'a failed start', from);
  const held = await rejection(stage.host.infer('replaced', blankDigit, { timeoutMs: 5000 }));
  assert.equal(held.code, 'UNAVAILABLE', 'waited for holdMs at most');
  await plain.flush();
  assert.match(String(await rejection(plain.request('regrow.infer.replaced', '{}', { timeout: 5000 }))), /no responders/i);
  copyFileSync(truth, file('replaced.onnx'));
  await stage.events.next(({ type, actor }) => type === 'replica-ready' && actor === 'replaced', 'its return', from);
  // The status comes over the same connection as the new subscription, after it.
  await plain.request('regrow.status', '', { timeout: 5000 });
  const answer = await plain.request('regrow.infer.replaced', '{}', { timeout: 5000 });
  assert.equal(answer.headers!.get('Nats-Service-Error-Code'), '400', 'somebody reads it again');
});
