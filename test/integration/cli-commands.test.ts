/** The `regrow` command as people and scripts meet it: exit codes, answers on stdout, everything else on stderr. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { StatusDocument } from '../../src/protocol/status.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import { acts, blankDigit, digits, folder, stageHost, type HostStage } from '../support/host-stage.js';
import { hostFile, regrow, regrowSync, startHostProcess, type CommandResult } from '../support/host-process.js';
import { isAlive, within } from '../support/lanes.js';
import { freePort, startTestNats, type TestNats } from '../support/nats-server.js';
import { childrenOf, groupOf } from '../support/processes.js';

let nats: TestNats;
let empty: TestNats;
let stage: HostStage;
let nowhere: string;
const image = join(folder, 'image.json');
before(async () => {
  [nats, empty] = await Promise.all([startTestNats(), startTestNats()]);
  stage = await stageHost({ nats: { servers: nats.url, ...nats.host }, actors: [digits(), acts('tool'), { name: 'broken', model: 'absent.onnx' }] });
  nowhere = `nats://127.0.0.1:${await freePort()}`;
  writeFileSync(image, JSON.stringify({ ...blankDigit.image, data: [...blankDigit.image.data] }));
});
after(async () => {
  await stage?.[Symbol.asyncDispose]();
  await Promise.all([nats?.remove(), empty?.remove()]);
});

const run = (args: string[], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> => within(regrow(args, env).ended, `regrow ${args.join(' ')}`);
const asked = (...args: string[]): Promise<CommandResult> => run([...args, '--nats', nats.url]);

test('--help and --version answer on stdout, exit 0', () => {
  const help = regrowSync(['--help']);
  assert.deepEqual([help.code, help.stderr], [0, '']);
  assert.match(help.stdout, /regrow infer ACTOR/);
  assert.match(regrowSync(['--version']).stdout, /^\d+\.\d+\.\d+\n$/);
});

const misuse: Record<string, string[]> = {
  'no command': [],
  'an unknown command': ['inferr'],
  'an unknown option': ['status', '--jsn'],
  'infer without an actor': ['infer'],
  'infer with an input that names no file': ['infer', 'tool', '--in', 'act'],
  'infer with a file that is not there': ['infer', 'tool', '--in', 'act=/no/such/file'],
  'infer with a budget that is no number': ['infer', 'tool', '--timeout-ms', 'soon'],
  'check without a file': ['check'],
};
for (const [what, args] of Object.entries(misuse)) {
  test(`usage: ${what}: exit 64`, () => {
    assert.equal(regrowSync(args).code, 64);
  });
}

test('status --json: the document of the contract, and nothing else on stdout', async () => {
  const { code, stdout, stderr } = await asked('status', '--json');
  assert.deepEqual([code, stderr], [0, '']);
  const document = JSON.parse(stdout) as StatusDocument;
  assert.deepEqual([document.prefix, document.bus, document.hosts.length], ['regrow', 'up', 1]);
  const [host] = document.hosts;
  assert.equal(host!.id, 'stage');
  assert.match(host!.incarnation, /^[0-9A-HJKMNP-TV-Z]{26}$/, 'a ULID');
  assert.deepEqual(host!.actors.map(({ name, kind, state }) => [name, kind, state]), [['digits', 'model', 'ready'], ['tool', 'module', 'ready'], ['broken', 'model', 'down']]);
  const [replica] = host!.actors[0]!.replicas;
  assert.deepEqual([replica!.id, replica!.phase, replica!.device, replica!.isolation, replica!.restarts], ['digits-cpu-0', 'ready', 'cpu', 'process', 0]);
  assert.ok(isAlive(replica!.pid));
});

test('status for people: a tree with the reason of what is down', async () => {
  const { code, stdout } = await asked('status');
  assert.equal(code, 0);
  assert.match(stdout, /└─ stage/);
  assert.match(stdout, /digits ready 1\/1/);
  assert.match(stdout, /broken down 0\/1 .*absent\.onnx/);
  assert.doesNotMatch(stdout, /\u001b/, 'no colours into a pipe');
});

test('infer: outputs on stdout, for people and as JSON', async () => {
  const people = await asked('infer', 'digits', '--in', `image=${image}`);
  assert.equal(people.code, 0, people.stderr);
  assert.match(people.stdout, /^scores: FP32 \[1, 10\]\n/);
  const json = await asked('infer', 'digits', '--in', `image=${image}`, '--json');
  const { outputs, servedBy } = JSON.parse(json.stdout) as { outputs: { scores: { data: number[] } }; servedBy: string };
  assert.equal(outputs.scores.data.length, 10);
  assert.match(servedBy, /^stage\/digits-cpu-0#1$/);
  const words = await asked('infer', 'tool', '--in', 'act=@echo', '--output', 'said');
  assert.match(words.stdout, /^said: BYTES \[1\]\n {2}echo\n/);
});

const failing: Record<string, [string[], RegExp]> = {
  'a request the actor refuses': [['infer', 'digits', '--in', 'image=@text'], /INVALID_ARGUMENT \(400\)/],
  'a request that fails inside': [['infer', 'tool', '--in', 'act=@throw'], /INTERNAL \(500\): .*cannot read the moon/],
  'an actor nobody has': [['infer', 'nobody'], /NOT_FOUND \(404\): .*digits/],
  'an actor that is down': [['infer', 'broken', '--timeout-ms', '300'], /UNAVAILABLE \(503\)/],
};
for (const [what, [args, message]] of Object.entries(failing)) {
  test(`${what}: exit 1, code and text on stderr, nothing on stdout`, async () => {
    const { code, stdout, stderr } = await asked(...args);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, message);
  });
}

for (const command of [['status'], ['infer', 'digits'], ['events']]) {
  test(`${command[0]}, and no broker there: exit 69 with the address it tried`, async () => {
    const { code, stdout, stderr } = await run([...command, '--nats', nowhere]);
    assert.deepEqual([code, stdout], [69, '']);
    assert.ok(stderr.includes(nowhere), stderr);
  });
}

for (const command of [['status'], ['infer', 'digits', '--timeout-ms', '500']]) {
  test(`${command[0]}, a broker and no host: exit 69`, async () => {
    const { code, stderr } = await run(command, { NATS_URL: empty.url });
    assert.equal(code, 69, stderr);
    assert.match(stderr, /no host/);
  });
}

test('events: follows what happens, until it is told to end', async () => {
  const follower = regrow(['events', '--json', '--nats', nats.url]);
  await follower.stderr.next((line) => line.startsWith('bus up'), 'the connection');
  // The subscription is confirmed by an answer that comes after it on the broker; status needs none, so kill until seen.
  const from = stage.events.all.length;
  process.kill(stage.replica('tool').pid, 'SIGKILL');
  await stage.events.next(({ type }) => type === 'replica-ready', 'the replica back', from);
  await follower.stdout.next((line) => line.includes('"replica-ready"'), 'the event');
  process.kill(follower.pid, 'SIGINT');
  const { code } = await within(follower.ended, 'the end of events');
  assert.equal(code, 0);
  const types = follower.stdout.all.map((line) => (JSON.parse(line) as RegrowEvent).type);
  assert.deepEqual(types, ['replica-exit', 'replica-restart', 'replica-ready']);
});

test('check: a good file is exit 0 with its actors; a bad one 78 with every problem by its path', () => {
  const good = regrowSync(['check', hostFile({ actors: [acts('tool', { replicas: 2 })] })]);
  assert.deepEqual([good.code, good.stderr], [0, '']);
  assert.match(good.stdout, /is valid: 1 actor \(tool x2\)/);
  const bad = regrowSync(['check', hostFile({ hots: 'a', actors: [{ name: 'a', module: 'a.js', replcas: 2 }, { name: 'b', model: 'b.onnx', queue: { sizMax: 1 } }, { name: 'c' }] })]);
  assert.deepEqual([bad.code, bad.stdout], [78, '']);
  for (const line of [
    'hots: unknown key, did you mean "host"?',
    'actors[0].replcas: unknown key, did you mean "replicas"?',
    'actors[1].queue.sizMax: unknown key, did you mean "sizeMax"?',
    'actors[2]: needs exactly one of "model"',
  ]) assert.ok(bad.stderr.includes(line), `${line} is not in ${bad.stderr}`);
});

test('check: a file that is not there, or is no JSON: exit 78 and its name', () => {
  const absent = regrowSync(['check', join(folder, 'absent.json')]);
  assert.equal(absent.code, 78);
  assert.match(absent.stderr, /absent\.json/);
  writeFileSync(join(folder, 'half.json'), '{"actors": [');
  const half = regrowSync(['check', join(folder, 'half.json')]);
  assert.equal(half.code, 78);
  assert.match(half.stderr, /half\.json is no JSON/);
});

test('start: a bad file is exit 78 and starts nothing; a dataDir in use is exit 78 as well', async () => {
  const bad = await run(['start', '--no-guardian', hostFile({ actors: [{ name: 'a b', module: 'x.js' }] })]);
  assert.equal(bad.code, 78);
  assert.match(bad.stderr, /actors\[0\]\.name/);
  const first = await startHostProcess({ dataDir: 'locked', actors: [acts('tool')] });
  const second = await run(['start', '--no-guardian', hostFile({ dataDir: 'locked', actors: [acts('tool')] })]);
  assert.equal(second.code, 78, second.stderr);
  assert.match(second.stderr, new RegExp(`in use by process ${first.pid}`));
  assert.equal(childrenOf(first.pid).length, 1);
  process.kill(first.pid, 'SIGTERM');
  assert.equal((await first.exited()).code, 0);
  assert.deepEqual(groupOf(first.pid), []);
});
