/** The desired state as an operator types it: apply, get, diff, push, against a real nats-server with the project's own users. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connectNats, type NatsBus } from '../../src/adapters/nats-bus.js';
import { createNatsObjects } from '../../src/adapters/nats-objects.js';
import { createNatsStore } from '../../src/adapters/nats-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { DesiredState } from '../../src/cluster/desired.js';
import type { DesiredChange } from '../../src/cli/desired-plan.js';
import type { Store } from '../../src/ports.js';
import { acts, digits, folder } from '../support/host-stage.js';
import { hostFile, regrow, regrowSync, startHostProcess, type CommandResult } from '../support/host-process.js';
import { within } from '../support/lanes.js';
import { projectRoot, startTestNats, type TestNats } from '../support/nats-server.js';
import { long, untilStore } from '../support/store-conformance.js';
import { Happenings } from '../support/waiting.js';

const outside = { clock: systemClock, log: { log() {} } };
const passFile = join(folder, 'operator.pass');
const model = join(folder, 'model.onnx');
const sha = createHash('sha256').update(readFileSync(join(projectRoot, 'demo', 'models', 'digits.onnx'))).digest('hex');

let nats: TestNats;
let bus: NatsBus;
let store: Store;
/** As a host sees it. */
let desired: DesiredState;
const seen = new Happenings<Record<string, number>>();

before(async () => {
  nats = await startTestNats();
  writeFileSync(passFile, nats.operator.pass);
  copyFileSync(join(projectRoot, 'demo', 'models', 'digits.onnx'), model);
  bus = await connectNats({ servers: nats.url, ...nats.host }, outside, 10_000);
  store = createNatsStore(bus, {}, outside);
  await untilStore(store, 'ready');
  const revisions = () => Object.fromEntries([...(desired.actors() ?? [])].map(([name, { revision }]) => [name, revision]));
  desired = new DesiredState({ store, ...outside, resyncMs: 60_000, changed: () => seen.add(revisions()) });
});
after(async () => {
  desired?.stop();
  await store?.close();
  await bus?.close();
  await nats?.remove();
});

const run = (...args: string[]): Promise<CommandResult> => within(regrow([...args, '--nats', nats.url]).ended, `regrow ${args.join(' ')}`);
const operate = (...args: string[]): Promise<CommandResult> => run(...args, '--user', 'operator', '--pass-file', passFile, '--inbox-prefix', nats.operator.inboxPrefix);
const hostsSee = (wanted: Record<string, number>) => seen.next((now) => JSON.stringify(now) === JSON.stringify(wanted), `a host that sees ${JSON.stringify(wanted)}`);
const tool = (more: object = {}) => ({ name: 'tool', module: 'acts', ...more });

test('without an operator\'s credentials: exit 1 and the way to give them, for reading as for writing', async () => {
  for (const command of [['get'], ['diff', hostFile([tool()])], ['apply', hostFile([tool()])], ['push', model]]) {
    const { code, stdout, stderr } = await run(...command);
    assert.deepEqual([code, stdout], [1, ''], command[0]);
    assert.match(stderr, /may not publish to \$JS\.API.*needs an operator's credentials\.\n.*--user operator --pass-file/s);
  }
});

test('get of nothing: says how to begin', async () => {
  const { code, stdout } = await operate('get');
  assert.deepEqual([code, stdout], [0, 'no actors; regrow apply FILE names some']);
  assert.equal((await operate('get', '--json')).stdout, '[]');
});

test('a file with problems goes nowhere: each by its path, exit 78', async () => {
  const { code, stderr } = await operate('apply', hostFile({ actors: [tool(), { name: 'x', module: './x.js' }, digits({ model: 'nowhere.onnx' }), tool({ replcas: 2 })] }));
  assert.equal(code, 78);
  assert.match(stderr, /actors\[1\]\.module: "\.\/x\.js" is a path/);
  assert.match(stderr, /actors\[3\]\.replcas: unknown key, did you mean "replicas"/);
  assert.match(stderr, /actors\[3\]\.name: "tool" is the name of actors\[0\] already/);
  const missing = await operate('apply', hostFile({ actors: [digits({ model: 'nowhere.onnx' })] }));
  assert.equal(missing.code, 78);
  assert.match(missing.stderr, /actors\[0\]\.model: there is no file .*nowhere\.onnx/);
});

test('diff before anything is there: exit 1, and nothing is sent', async () => {
  const { code, stdout } = await operate('diff', hostFile({ actors: [tool(), digits({ model: 'model.onnx' })] }));
  assert.deepEqual([code, stdout], [1, 'tool    added      revision 1\ndigits  added      revision 1']);
  assert.deepEqual(await createNatsObjects(bus, {}, systemClock).list(long), []);
});

test('apply: models go ahead and are named by their hash, hosts see it at once', async () => {
  const { code, stdout, stderr } = await operate('apply', hostFile({ actors: [tool(), digits({ model: 'model.onnx', sha256: sha })] }));
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'tool    added      revision 1\ndigits  added      revision 1');
  assert.match(stderr, /nothing but actors: desired state of the whole cluster/);
  assert.match(stderr, /model\.onnx: sending [\d.]+ MB\nmodel\.onnx is in the store/);
  await hostsSee({ digits: 1, tool: 1 });
  assert.equal((desired.actors()!.get('digits')!.document as { model: string }).model, `sha256:${sha}`);
  assert.ok(await createNatsObjects(bus, {}, systemClock).has(sha, long), 'a host finds the model');
});

test('apply again: nothing changes, nothing is sent; the list alone and other actors do not matter', async () => {
  const { stdout, stderr } = await operate('apply', hostFile([digits({ model: 'model.onnx' })]), '--json');
  assert.deepEqual(JSON.parse(stdout), [{ actor: 'digits', change: 'unchanged', revision: 1, differences: [] }]);
  assert.match(stderr, /model\.onnx is in the store already/);
  assert.equal((await operate('diff', hostFile([tool()]))).code, 0);
});

test('a change: diff says which, apply raises the revision of this actor alone', async () => {
  const file = hostFile({ actors: [tool({ replicas: 3, queue: { sizeMax: 10 } })] });
  const difference = 'tool  changed    revision 2\n      queue: (default) -> {"sizeMax":10}\n      replicas: (default) -> 3';
  const diff = await operate('diff', file);
  assert.deepEqual([diff.code, diff.stdout], [1, difference]);
  const { code, stdout } = await operate('apply', file);
  assert.deepEqual([code, stdout], [0, difference]);
  await hostsSee({ digits: 1, tool: 2 });
});

test('get: a line for each, one as its document, an unknown one exit 1', async () => {
  assert.equal((await operate('get')).stdout, `digits  revision 1  model sha256:${sha.slice(0, 12)}  1 replica\ntool    revision 2  module acts  3 replicas`);
  const one = await operate('get', 'tool');
  assert.deepEqual(JSON.parse(one.stdout), { revision: 2, actor: tool({ replicas: 3, queue: { sizeMax: 10 } }) });
  assert.equal((JSON.parse((await operate('get', '--json')).stdout) as unknown[]).length, 2);
  const unknown = await operate('get', 'nobody');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /no actor "nobody"/);
});

test('what get prints can be applied', async () => {
  const documents = (JSON.parse((await operate('get', '--json')).stdout) as { actor: object }[]).map(({ actor }) => actor);
  assert.deepEqual((JSON.parse((await operate('apply', hostFile(documents), '--json')).stdout) as DesiredChange[]).map(({ change }) => change), ['unchanged', 'unchanged']);
});

test('two operators at once: both are written, one after the other', async () => {
  const [one, other] = await Promise.all([operate('apply', hostFile([tool({ replicas: 4 })])), operate('apply', hostFile([tool({ replicas: 5 })]))]);
  assert.deepEqual([one.code, other.code], [0, 0], one.stderr + other.stderr);
  await hostsSee({ digits: 1, tool: 4 });
});

test('--prune: what the file does not name is removed, and comes back with a higher revision', async () => {
  const { stdout } = await operate('apply', hostFile([tool()]), '--prune');
  assert.match(stdout, /^tool {4}changed {4}revision 5\n(.*\n)*digits {2}removed {4}revision 2$/);
  await hostsSee({ tool: 5 });
  assert.match((await operate('get', 'digits')).stderr, /"digits" was removed at revision 2/);
  assert.equal((await operate('diff', hostFile([tool()]), '--prune')).code, 0);
  assert.match((await operate('apply', hostFile([digits({ model: `sha256:${sha}` })]))).stdout, /^digits  added      revision 3$/);
  await hostsSee({ digits: 3, tool: 5 });
});

test('--revision: at least that one, also where nothing else changed', async () => {
  const file = hostFile([tool()]);
  assert.match((await operate('apply', file, '--revision', '20')).stdout, /^tool {2}changed {4}revision 20$/);
  assert.match((await operate('apply', file, '--revision', '20')).stdout, /^tool {2}unchanged {2}revision 20$/);
  assert.equal((await operate('apply', file, '--revision', 'x')).code, 64);
});

test('a key somebody deleted by hand, or filled with nonsense, is written anew', async () => {
  const operator = await connectNats({ servers: nats.url, ...nats.operator }, outside, 10_000);
  const theirs = createNatsStore(operator, {}, outside);
  await untilStore(theirs, 'ready');
  await theirs.delete('desired.tool', long);
  await theirs.put('desired.digits', Buffer.from('nonsense'), long);
  assert.match((await operate('get')).stdout, /^digits {2}cannot be read: it is no JSON$/);
  const { code, stdout, stderr } = await operate('apply', hostFile([tool(), digits({ model: `sha256:${sha}` })]), '--revision', '30');
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'tool    added      revision 30\ndigits  added      revision 30');
  await hostsSee({ digits: 30, tool: 30 });
  await theirs.close();
  await operator.close();
});

test('push: prints the name to use; weights in files of their own and missing files are refused by name', async () => {
  const other = join(folder, 'other.onnx');
  writeFileSync(other, Buffer.concat([readFileSync(model), Buffer.from([0x12, 2, 0x68, 0x69])]));
  const hash = createHash('sha256').update(readFileSync(other)).digest('hex');
  const pushed = await operate('push', other, model);
  assert.deepEqual([pushed.code, pushed.stdout], [0, `sha256:${hash}\nsha256:${sha}`]);
  assert.match((await operate('apply', hostFile([digits({ name: 'other', model: `sha256:${hash}` })]))).stdout, /^other  added/);
  const external = join(folder, 'external.onnx');
  writeFileSync(external, Buffer.from('\n\blocation\u0012\u000cweights.data'));
  const refused = await operate('push', external);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /external\.onnx: its weights lie in files of their own/);
  const applied = await operate('apply', hostFile([digits({ model: 'external.onnx' })]));
  assert.equal(applied.code, 78);
  assert.match(applied.stderr, /actors\[0\]\.model: .*external\.onnx: its weights/);
  assert.match((await operate('push', 'nowhere.onnx')).stderr, /there is no file .*nowhere\.onnx/);
});

test('apply of a hash the store does not have: exit 1, nothing is written', async () => {
  const { code, stderr } = await operate('apply', hostFile([tool({ replicas: 9 }), digits({ name: 'ghost', model: `sha256:${'ab'.repeat(32)}` })]));
  assert.equal(code, 1);
  assert.match(stderr, /actors\[1\]\.model: the store has no model sha256:abab.*; regrow push/);
  assert.equal((await operate('diff', hostFile([tool()]))).code, 0);
});

test('one command, two meanings: other keys than actors, or --host, mean a host; --prune then is a mistake', async () => {
  const one = await operate('apply', hostFile({ host: 'alpha', actors: [] }), '--prune');
  assert.equal(one.code, 64);
  assert.match(one.stderr, /--prune is for the desired state of a cluster; .* is a host file/);
  const named = await operate('apply', hostFile({ actors: [] }), '--host', 'nobody');
  assert.equal(named.code, 69);
  assert.match(named.stderr, /no host "nobody" answers/);
});

test('--wait: returns when a host serves it, and names what is missing when not', async () => {
  const host = await startHostProcess({ host: 'alpha', nats: { servers: nats.url, ...nats.host }, actors: [acts('served', { version: 'v1' })] });
  const { code, stderr } = await operate('apply', hostFile([{ name: 'served', module: 'acts', version: 'v1' }]), '--wait');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /every actor is served/);
  const late = await operate('apply', hostFile([{ name: 'unserved', module: 'none', version: 'v9' }]), '--wait', '--timeout-ms', '1');
  assert.equal(late.code, 1);
  assert.match(late.stderr, /stored, but not served in time: unserved 0\/1 of version v9/);
  host.child.kill('SIGTERM');
  await host.exited();
});

test('a NATS without JetStream: exit 69 and the cure; nobody there: exit 69', async () => {
  const bare = await startTestNats({ conf: 'host: 127.0.0.1' });
  const { code, stderr } = await within(regrow(['get', '--nats', bare.url]).ended, 'get');
  await bare.remove();
  assert.equal(code, 69);
  assert.match(stderr, /no JetStream.*\n.*jetstream \{ store_dir/s);
  assert.equal((await within(regrow(['get', '--nats', bare.url]).ended, 'get')).code, 69);
});

test('usage: what is missing is named', () => {
  for (const [args, words] of [[['diff'], /diff needs a file/], [['push'], /push needs one or several models/], [['apply'], /apply needs a file/]] as const) {
    const { code, stderr } = regrowSync(args);
    assert.equal(code, 64);
    assert.match(stderr, words);
  }
});
