/** The script that finds, gets and runs a nats-server, and the secrets and configuration it runs with. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { projectRoot, startTestNats } from '../support/nats-server.js';

const WATCHDOG = { timeout: 30_000 };
const url = (name: string): string => pathToFileURL(join(projectRoot, 'scripts', name)).href;

interface Found { path: string; version: string; source: string }
interface Scripts {
  findNatsServer(options: { log?: (line: string) => void; env?: Record<string, string>; cacheDir?: string }): Promise<Found | null>;
  getNatsServer(options?: { log?: (line: string) => void; env?: Record<string, string>; cacheDir?: string; via?: string[] }): Promise<Found | null>;
}
const { findNatsServer, getNatsServer } = (await import(url('nats-server.mjs'))) as Scripts;
const { ensureNatsSecrets } = (await import(url('nats-secrets.mjs'))) as { ensureNatsSecrets(dataDir: string): { file: string; host: { pass: string } } };

let folder: string;
let real: string;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'regrow-find-'));
  real = (await getNatsServer())!.path;
}, { timeout: 600_000 });
after(() => rmSync(folder, { recursive: true, force: true }));

/** A folder with a nats-server that only knows its version. */
function pretend(version: string): string {
  const bin = join(folder, version);
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'nats-server'), `#!/bin/sh\necho "nats-server: v${version}"\n`, { mode: 0o755 });
  return bin;
}

test('find: NATS_SERVER before PATH before the cache, each with its source', WATCHDOG, async () => {
  const env = { NATS_SERVER: join(pretend('2.20.0'), 'nats-server'), PATH: pretend('2.19.0') };
  const cacheDir = pretend('2.18.0');
  assert.deepEqual(await findNatsServer({ env, cacheDir }), { path: env.NATS_SERVER, version: '2.20.0', source: 'NATS_SERVER' });
  assert.equal((await findNatsServer({ env: { PATH: env.PATH }, cacheDir }))?.source, 'PATH');
  assert.equal((await findNatsServer({ env: { PATH: '' }, cacheDir }))?.source, 'cache');
});

test('find: older than 2.11 is passed over by name, 2.11.0 is not', WATCHDOG, async () => {
  const lines: string[] = [];
  const env = { PATH: [pretend('2.9.10'), pretend('2.10.99'), pretend('2.11.0')].join(':') };
  assert.equal((await findNatsServer({ env, cacheDir: folder, log: (line) => lines.push(line) }))?.version, '2.11.0');
  assert.equal(lines.length, 2);
  assert.match(lines[0]!, /2\.9\.10\/nats-server \(PATH\) is 2\.9\.10, regrow needs 2\.11\.0 or newer/);
});

test('get: with no way left it says what to do, and gives null', WATCHDOG, async () => {
  const lines: string[] = [];
  assert.equal(await getNatsServer({ env: { PATH: '' }, cacheDir: join(folder, 'empty'), via: [], log: (line) => lines.push(line) }), null);
  assert.match(lines.join('\n'), /Cure: install nats-server 2\.11 or newer/);
});

test('get: a way whose tool is missing is named, and the process ends with 69 instead of waiting', WATCHDOG, () => {
  const { status, stderr } = spawnSync(process.execPath, [join(projectRoot, 'scripts', 'nats-server.mjs'), '--via', 'brew'], { env: { PATH: folder }, encoding: 'utf8', timeout: 20_000 });
  assert.equal(status, 69, stderr);
  assert.match(stderr, /not by brew \(needs Homebrew\): brew is not installed/);
});

test('start: a port in use is told in the server\'s own words', WATCHDOG, async () => {
  const nats = await startTestNats();
  await assert.rejects(startTestNats({ port: nats.port }), /nats-server ended at once .*address already in use/s);
  await nats.remove();
});

test('start: a server ends when the process that started it is killed', WATCHDOG, async () => {
  const parent = spawn(process.execPath, ['--input-type=module', '-e', `
    const { startNatsServer } = await import(${JSON.stringify(url('nats-server.mjs'))});
    const { port } = await startNatsServer({ path: ${JSON.stringify(real)}, port: 0, dataDir: ${JSON.stringify(join(folder, 'orphan'))} });
    console.log(port);
    setInterval(() => {}, 1000);
  `], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const socket = connect(Number(line.toString()), '127.0.0.1');
  await once(socket, 'data');
  parent.kill('SIGKILL');
  await once(socket, 'close');
});

test('secrets: made once, for their owner alone, the same for everybody who asks', WATCHDOG, () => {
  const dataDir = join(folder, 'secrets');
  const first = ensureNatsSecrets(dataDir);
  assert.equal(statSync(first.file).mode & 0o777, 0o600);
  assert.ok(first.host.pass.length >= 32);
  assert.deepEqual(ensureNatsSecrets(dataDir), first);
  assert.notEqual(ensureNatsSecrets(join(folder, 'others')).host.pass, first.host.pass);
});

test('nats.conf: valid as it lies in the repository once the secrets are made, and names them when they are not', WATCHDOG, () => {
  const here = join(folder, 'clone');
  mkdirSync(here);
  copyFileSync(join(projectRoot, 'nats.conf'), join(here, 'nats.conf'));
  const check = (): { status: number | null; stderr: string } => spawnSync(real, ['-c', 'nats.conf', '-t'], { cwd: here, encoding: 'utf8' });
  const before = check();
  assert.notEqual(before.status, 0);
  assert.match(before.stderr, /nats-secrets\.json/);
  ensureNatsSecrets(join(here, '.regrow'));
  const made = check();
  assert.equal(made.status, 0, made.stderr);
});
