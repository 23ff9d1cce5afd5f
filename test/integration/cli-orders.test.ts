/** Orders as an operator types them, and SIGHUP: against `regrow start` and a real nats-server with the project's own users. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ReplayResult } from '../../src/host/dead-letter-orders.js';
import type { DeadLetter } from '../../src/host/dead-letters.js';
import type { StatusDocument } from '../../src/protocol/status.js';
import type { HostOptions } from '../../src/spec/host.js';
import { acts, briskRestart, digits, folder } from '../support/host-stage.js';
import { hostFile, regrow, startHostProcess, type CommandResult, type HostProcess } from '../support/host-process.js';
import { within } from '../support/lanes.js';
import { projectRoot, startTestNats, type TestNats } from '../support/nats-server.js';

let nats: TestNats;
let host: HostProcess;
const model = join(folder, 'model.onnx');
const passFile = join(folder, 'operator.pass');
const spec = (actors: HostOptions['actors'], more: HostOptions = {}): HostOptions => ({ host: 'alpha', nats: { servers: nats.url, ...nats.host }, actors, ...more });
const tool = () => acts('tool', { idempotent: true, replicas: 2, restart: briskRestart });

before(async () => {
  nats = await startTestNats();
  writeFileSync(passFile, nats.operator.pass);
  copyFileSync(join(projectRoot, 'demo', 'models', 'digits.onnx'), model);
  host = await startHostProcess(spec([digits({ model }), tool()]));
});
after(async () => {
  host?.child.kill('SIGTERM');
  await host?.ended;
  await nats?.remove();
});

const run = (...args: string[]): Promise<CommandResult> => within(regrow([...args, '--nats', nats.url]).ended, `regrow ${args.join(' ')}`);
const operate = (...args: string[]): Promise<CommandResult> => run(...args, '--user', 'operator', '--pass-file', passFile, '--inbox-prefix', nats.operator.inboxPrefix);
const status = async (): Promise<StatusDocument['hosts'][number]> => (JSON.parse((await run('status', '--json')).stdout) as StatusDocument).hosts[0]!;

test('without an operator\'s credentials: exit 1, and the way to give them', async () => {
  const { code, stdout, stderr } = await run('restart', 'tool');
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /may not publish to regrow\.control\.alpha\.restart.*\n.*--user operator --pass-file/s);
});

test('a host that is not there: exit 69', async () => {
  const { code, stderr } = await operate('restart', 'tool', '--host', 'beta');
  assert.equal(code, 69);
  assert.match(stderr, /no host "beta" answers/);
});

test('apply: a file with problems goes nowhere, exit 78', async () => {
  const { code, stderr } = await operate('apply', hostFile({ actors: [{ name: 'x', modle: 'y' }] }));
  assert.equal(code, 78);
  assert.match(stderr, /actors\[0\]\.modle: unknown key, did you mean "module"/);
});

test('apply: new bytes are rolled in, the answer is a table, exit 0', async () => {
  const { version: before } = (await status()).actors[0]!;
  writeFileSync(model, Buffer.concat([readFileSync(model), Buffer.from([0x12, 2, 0x68, 0x69])]));
  // Relative to the file, wherever the command or the host was started.
  const { code, stdout, stderr } = await operate('apply', hostFile({ host: 'alpha', actors: [digits({ model: 'model.onnx' }), tool()] }));
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`^digits  rolled     version ${before} to [0-9a-f]{12}\ntool    unchanged  `));
  assert.match(stderr, /replica-ready {2}digits/, 'progress');
  assert.notEqual((await status()).actors[0]!.version, before);
});

test('apply: a model that does not load is refused, exit 1, and the host keys that need a restart are named', async () => {
  writeFileSync(join(folder, 'broken.onnx'), 'no model');
  const { version: before } = (await status()).actors[0]!;
  const { code, stdout } = await operate('apply', hostFile({ host: 'alpha', holdMs: 1, actors: [digits({ model: 'broken.onnx' }), tool()] }));
  assert.equal(code, 1);
  assert.match(stdout, /^digits  refused .*the old version serves on\n/);
  assert.match(stdout, /not changed before the host is started again: holdMs$/m);
  assert.equal((await status()).actors[0]!.version, before);
});

test('restart and eject: other replicas afterwards; an unknown name is NOT_FOUND', async () => {
  const before = (await status()).actors[1]!.replicas.map(({ pid }) => pid);
  const restarted = await operate('restart', 'tool');
  assert.equal(restarted.code, 0, restarted.stderr);
  const replicas = (await status()).actors[1]!.replicas;
  assert.ok(replicas.every(({ pid }) => !before.includes(pid)));
  const ejected = await operate('eject', replicas[0]!.id);
  assert.deepEqual([ejected.code, ejected.stdout], [0, `${replicas[0]!.id} was replaced on alpha`]);
  const unknown = await operate('eject', 'nobody');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /NOT_FOUND/);
});

test('dead-letters: none, then one: listed, shown, replayed, cleared', async () => {
  const none = await operate('dead-letters');
  assert.deepEqual([none.code, none.stdout, none.stderr], [0, 'no dead letters on alpha', '']);
  const poison = await run('infer', 'tool', '--in', 'act=@exit');
  assert.match(poison.stderr, /POISON/);
  const [letter] = JSON.parse((await operate('dead-letters', '--json')).stdout) as DeadLetter[];
  assert.match((await operate('dead-letters', 'list')).stdout, new RegExp(`^${letter!.id}  .*  tool  1 death  crashed: .*  act BYTES\\[1\\]  \\d+ bytes$`));
  const shown = await operate('dead-letters', 'show', letter!.id);
  assert.match(shown.stdout, /Inference-Header-Content-Length: \d+/);
  const replayed = await operate('dead-letters', 'replay', letter!.id, '--json');
  assert.equal(replayed.code, 1);
  assert.equal((JSON.parse(replayed.stdout) as ReplayResult).ok, false);
  assert.equal((await operate('dead-letters', 'clear')).stdout, '1 cleared on alpha');
  assert.equal((await operate('dead-letters', 'show')).code, 64);
});

test('SIGHUP: a bad file changes nothing and every problem is logged; a good one is applied', async () => {
  const file = hostFile(spec([acts('one')], { host: 'delta' }));
  const other = regrow(['start', file, '--no-guardian'], { REGROW_DATA_DIR: join(folder, 'data-hup'), NATS_URL: nats.url });
  const logged = async (event: string, from: number): Promise<Record<string, unknown>> => JSON.parse(await other.stderr.next((line) => line.includes(`"msg":"${event}"`), event, from)) as Record<string, unknown>;
  await logged('host-ready', 0);
  let from = other.stderr.all.length;
  writeFileSync(file, JSON.stringify({ holdMss: 3, actors: [{ name: 'one' }] }));
  other.child.kill('SIGHUP');
  for (const path of ['holdMss', 'actors[0]']) await other.stderr.next((line) => line.includes('reload-refused') && line.includes(`"path":"${path}"`), `the problem of ${path}`, from);
  from = other.stderr.all.length;
  writeFileSync(file, JSON.stringify(spec([acts('one'), acts('two')], { host: 'delta', holdMs: 1 })));
  other.child.kill('SIGHUP');
  const change = await other.stderr.next((line) => line.includes('reload-change') && line.includes('"two"'), 'the change', from);
  assert.match(change, /"change":"added"/);
  assert.deepEqual((await logged('reload-needs-restart', from))['keys'], ['holdMs']);
  assert.equal((await logged('reloaded', from))['changed'], 1);
  other.child.kill('SIGTERM');
  assert.equal((await within(other.ended, 'its end')).code, 0);
});

test('several hosts: --host is asked for, both are named', async () => {
  const beta = await startHostProcess({ ...spec([acts('one')]), host: 'beta' });
  const { code, stderr } = await operate('restart', 'tool');
  assert.equal(code, 64);
  assert.match(stderr, /several hosts.*alpha, beta/);
  const drained = await operate('drain', 'beta');
  assert.deepEqual([drained.code, drained.stdout], [0, 'beta has drained and stopped']);
  assert.equal((await beta.exited()).code, 0);
});

test('drain under a guardian: exit 0 is passed on, nothing is restarted', async () => {
  const guarded = regrow(['start', hostFile({ ...spec([acts('one')]), host: 'gamma', dataDir: 'data-gamma' })]);
  await guarded.stderr.next((line) => line.includes('"msg":"host-ready"'), 'the host');
  assert.equal((await operate('drain', 'gamma')).code, 0);
  const { code, stderr } = await within(guarded.ended, 'the end of the guardian');
  assert.equal(code, 0);
  assert.ok(!stderr.includes('guardian-restarts-host'));
});
