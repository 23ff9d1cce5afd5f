/** Devices that are not there: WebGPU is compiled in and finds no adapter on a machine without a GPU. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectPlain, type NatsConnection } from '@nats-io/transport-node';
import { connect } from '../../src/host/connect.js';
import { blankDigit, digits, rejection, stageHost, type HostStage } from '../support/host-stage.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';

let nats: TestNats;
let plain: NatsConnection;
let stage: HostStage;
before(async () => {
  nats = await startTestNats();
  plain = await connectPlain({ servers: nats.url });
  stage = await stageHost({
    nats: { servers: nats.url, ...nats.host },
    devices: ['webgpu:0', 'cuda:0', 'cpu'],
    actors: [
      digits({ name: 'prefers', devices: ['webgpu:0', 'cpu'] }),
      digits({ name: 'insists', devices: ['cuda:0', 'webgpu:0'] }),
      digits({ name: 'content' }),
    ],
  });
});
after(async () => {
  await plain.close();
  await stage[Symbol.asyncDispose]();
  await nats.remove();
});

/** A machine with a GPU makes the same file another test: then the device must be used. */
const gpu = (): boolean => stage.host.status().hosts[0]!.devices.find(({ id }) => id === 'webgpu:0')!.state === 'usable';

test('devices are probed: status says which can be used, and why one cannot', () => {
  const { devices } = stage.host.status().hosts[0]!;
  assert.deepEqual(devices.map(({ id }) => id), ['webgpu:0', 'cuda:0', 'cpu']);
  assert.equal(devices[2]!.state, 'usable');
  for (const { id, state, reason } of devices.slice(0, 2)) {
    if (state === 'usable') assert.match(reason, /^answered its probe in \d+ ms$/);
    else assert.ok(state === 'unusable' && reason.length > 10 && !reason.includes('\n'), `${id}: ${state} ${reason}`);
  }
});

test('an actor falls to the next device of its list: answers say Degraded over NATS, by the client and in process', async (t) => {
  if (gpu()) return t.skip('this machine has a GPU');
  const why = /^webgpu:0 unusable: .*adapter.*, served on cpu$/i;
  const { ready, state, reason, replicas } = stage.actor('prefers');
  assert.deepEqual([ready, state], [1, 'degraded']);
  assert.match(reason, why);
  assert.deepEqual(replicas.map(({ id }) => id), ['prefers-cpu-0']);

  const inProcess = await stage.host.infer('prefers', blankDigit);
  assert.equal(inProcess.device, 'cpu');
  assert.match(inProcess.degraded!, why);

  const body = JSON.stringify({ inputs: [{ name: 'image', datatype: 'FP32', shape: [1, 1, 28, 28], data: Array<number>(784).fill(0) }] });
  const answer = await plain.request('regrow.infer.prefers', body, { timeout: 5000 });
  assert.equal(answer.headers!.get('Device'), 'cpu');
  assert.match(answer.headers!.get('Degraded'), why);

  await using client = await connect({ servers: nats.url });
  assert.match((await client.infer('prefers', blankDigit)).degraded!, why);
});

test('an actor on its first choice says nothing of it', async () => {
  assert.equal((await stage.host.infer('content', blankDigit)).degraded, undefined);
  assert.equal(stage.actor('content').state, 'ready');
});

test('an actor without a usable device is down with the reason, and the host serves the others', async (t) => {
  if (gpu()) return t.skip('this machine has a GPU');
  const { ready, state, reason, replicas } = stage.actor('insists');
  assert.deepEqual([ready, state, replicas.length], [0, 'down', 0]);
  assert.match(reason, /^no usable device: cuda:0 unusable: .*; webgpu:0 unusable: /);
  const refusal = await rejection(stage.host.infer('insists', blankDigit));
  assert.equal(refusal.code, 'UNAVAILABLE');
  assert.match(refusal.message, /no usable device/);
  await stage.host.infer('content', blankDigit);
});
