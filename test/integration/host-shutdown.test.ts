/** How a host process ends: drained by signals with every accepted request answered, or killed with nothing left behind. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, type Client } from '../../src/index.js';
import { act, acts, digits, folder, gate, said } from '../support/host-stage.js';
import { startHostProcess, type HostProcess } from '../support/host-process.js';
import { cpuTicks, eventually } from '../support/lanes.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { slowModel } from '../support/onnx-fixture.js';
import { childrenOf, groupOf } from '../support/processes.js';

let nats: TestNats;
let client: Client;
before(async () => {
  nats = await startTestNats();
  client = await connect({ servers: nats.url });
});
after(async () => {
  await client.close();
  await nats.remove();
});

let hosts = 0;
const start = (actors: ReturnType<typeof acts>[]): Promise<HostProcess> =>
  startHostProcess({ host: `ending-${++hosts}`, nats: { servers: nats.url, ...nats.host }, actors });

const signals = {
  'SIGTERM to the host': (host: HostProcess) => process.kill(host.pid, 'SIGTERM'),
  'SIGINT to its whole group, as from a terminal': (host: HostProcess) => process.kill(-host.pid, 'SIGINT'),
  'SIGTERM to its whole group, then SIGINT': (host: HostProcess) => {
    process.kill(-host.pid, 'SIGTERM');
    process.kill(-host.pid, 'SIGINT');
  },
};

for (const [what, signal] of Object.entries(signals)) {
  test(`${what}: every accepted request is answered, exit 0, nobody is left`, async () => {
    const host = await start([acts('tool', { replicas: 2, timeoutMs: 20_000 }), acts('quick')]);
    const door = gate();
    // More than run at once: some are on the replicas, some wait in the queue, one is nested.
    const accepted = [
      ...Array.from({ length: 6 }, () => client.infer('tool', act('wait', door.file), { timeoutMs: 15_000, idempotent: false })),
      client.infer('tool', act('ask', 'quick', 'echo', 'nested'), { timeoutMs: 15_000, idempotent: false }),
    ];
    await host.stderr.times(2, (line) => line.includes('inside wait'), 'two runs');
    // The status says that all were accepted before the signal comes.
    while ((await client.status()).hosts[0]!.actors[0]!.queue.count < accepted.length - 3) continue;
    signal(host);
    // New ones are not taken any more: the host has left the subject.
    await host.logged('host-draining');
    door.open();
    const answers = await Promise.all(accepted);
    assert.deepEqual(answers.map(({ outputs }) => said(outputs)[0]), [...Array<string>(6).fill('waited'), 'nested'].map((word) => (word === 'nested' ? 'echo' : word)));
    const { code, stdout } = await host.exited();
    assert.equal(code, 0);
    assert.equal(stdout, '', 'stdout is for answers, a host gives none there');
    assert.deepEqual(groupOf(host.pid), []);
  });
}

test('SIGKILL of the host while its cells are in JavaScript and in native code: no cell is left', async () => {
  const slow = join(folder, 'slow.onnx');
  writeFileSync(slow, slowModel(5000));
  const host = await start([
    acts('loops', { hangMs: 60_000 }), { name: 'slow', model: slow, hangMs: 60_000, timeoutMs: 20_000 }, digits(), acts('idle'),
  ]);
  const cells = childrenOf(host.pid);
  assert.equal(cells.length, 4);
  const matrix = { x: { datatype: 'FP32' as const, shape: [512, 512], data: new Float32Array(512 * 512) } };
  const lost = [client.infer('loops', act('spin'), { timeoutMs: 10_000, idempotent: false }), client.infer('slow', matrix, { timeoutMs: 10_000, idempotent: false })];
  const settled = Promise.allSettled(lost.map((call) => Promise.race([call, host.ended])));
  await eventually(() => cells.filter((pid) => cpuTicks(pid) > 60).length >= 2, 'two cells that compute');
  process.kill(host.pid, 'SIGKILL');
  await eventually(() => groupOf(host.pid).length === 0, 'the end of every cell', 1000);
  await settled;
  void Promise.allSettled(lost);
});

test('a thread that never comes back: the rest is stopped, and the process ends all the same', async () => {
  const host = await start([acts('loops', { isolation: 'thread', hangMs: 200, shutdownMs: 200 }), acts('tool')]);
  const lost = client.infer('loops', act('spin'), { timeoutMs: 5000, idempotent: false }).then(() => 'answered', (error: { code: string }) => error.code);
  assert.equal(await lost, 'UNAVAILABLE');
  process.kill(host.pid, 'SIGTERM');
  const { signal } = await host.exited();
  await host.logged('zombies');
  assert.equal(signal, 'SIGKILL', 'nothing else ends a thread inside native code');
  await eventually(() => groupOf(host.pid).length === 0, 'the end of every cell', 1000);
});
