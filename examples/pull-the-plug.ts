/**
 * Three hosts on one nats-server, a request every 100 ms, and one host killed without a warning. The lines with a host's name
 * are events that this host published: who noticed, when, and who took over. Then the host comes back.
 *
 *     npm run build && node dist/examples/pull-the-plug.js      Enter pulls the plug; without a terminal it goes by itself
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect as connectNats } from '@nats-io/transport-node';
import { connect, isServeError, type RegrowEvent } from 'regrow';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'pull-the-plug-'));

// ------------------------------------------------------------------------------------------------- a broker, three hosts

const { getNatsServer, startNatsServer } = await import(join(root, 'scripts/nats-server.mjs'));
const found = await getNatsServer();
if (!found) process.exit(69); // it has said why, and the cure
const nats = await startNatsServer({ path: found.path, port: 0, dataDir: folder });

const hosts = new Map<string, ChildProcess>();
function startHost(id: string): void {
  const file = join(folder, id, 'host.json');
  mkdirSync(join(folder, id), { recursive: true });
  const actors = [{ name: 'digits', model: join(root, 'demo/models/digits.onnx'), replicas: 3 }];
  writeFileSync(file, JSON.stringify({ host: id, nats: { servers: nats.url, ...nats.secrets.host }, actors }));
  hosts.set(id, spawn(process.execPath, [join(root, 'dist/src/cli.js'), 'start', file, '--no-guardian'], { stdio: 'ignore' }));
}
process.once('exit', () => {
  for (const host of hosts.values()) host.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));

const zeroMs = performance.now();
const say = (line: string): void => console.log(`${((performance.now() - zeroMs) / 1000).toFixed(1).padStart(5)} s  ${line}`);
say(`nats-server ${found.version} on ${nats.url}; hosts a, b and c start`);
for (const id of ['a', 'b', 'c']) startHost(id);

// ------------------------------------------------------------------------------------------------------- what they tell

const listener = await connectNats({ servers: nats.url });
void (async () => {
  for await (const message of listener.subscribe('regrow.events.*.*')) {
    const { host, type, replica, reason, detail } = message.json<RegrowEvent>();
    const about = replica ?? detail?.['suspect'] ?? detail?.['dead'] ?? detail?.['gone'] ?? '';
    say(`  ${host}: ${type} ${String(about)} (${reason})`);
  }
})();

const client = await connect({ servers: nats.url });
/** Waits until `count` hosts live and three replicas are ready in all. */
async function whole(count: number): Promise<void> {
  for (;;) {
    const { hosts: seen } = await client.status().catch(() => ({ hosts: [] }));
    const alive = seen.filter(({ liveness }) => liveness === 'alive');
    const ready = alive.flatMap(({ actors }) => actors).reduce((sum, actor) => sum + actor.ready, 0);
    if (alive.length === count && ready >= 3) return;
    await pause(200);
  }
}

// ------------------------------------------------------------------------------------------------------------- requests

const image = { datatype: 'FP32' as const, shape: [1, 1, 28, 28], data: new Float32Array(784).fill(0.5) };
const count = { ok: 0, failed: 0 };
const ask = (): void => void client.infer('digits', { image }, { timeoutMs: 5000 }).then(
  () => count.ok++,
  (error: unknown) => {
    count.failed++;
    say(`FAILED: ${isServeError(error) ? error.code : ''} ${String(error)}`);
  },
);
const soFar = (): void => say(`${count.ok} ok, ${count.failed} failed`);

/** Enter, or by itself after a while where nobody can press it. */
async function enter(what: string, afterMs: number): Promise<void> {
  if (!process.stdin.isTTY) return pause(afterMs);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  terminal.once('SIGINT', () => process.exit(130));
  await terminal.question(`\n        Enter ${what}\n\n`);
  terminal.close();
}

await whole(3);
const asking = setInterval(ask, 100);
const telling = setInterval(soFar, 2000);
await enter('kills host b', 3000);
soFar();
say('host b: SIGKILL');
hosts.get('b')!.kill('SIGKILL');
await whole(2);
say('three replicas again, on two hosts');
await enter('starts it again', 4000);
startHost('b');
await whole(3);
await pause(3000);

clearInterval(asking);
clearInterval(telling);
await pause(500); // for the last answers
soFar();
await Promise.all([client.close(), listener.close()]);
for (const host of hosts.values()) host.kill('SIGKILL');
await nats.stop();
process.exit(count.failed === 0 ? 0 : 1);
