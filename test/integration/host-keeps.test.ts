/**
 * What outlives a replica, and a host process: dead letters, the quarantine, pinned model bytes. Orders go over a real
 * nats-server with the project's own users: the operator may give them, a client may not.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connectNats, type NatsBus } from '../../src/adapters/nats-bus.js';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { ReplayResult } from '../../src/host/dead-letter-orders.js';
import type { DeadLetter } from '../../src/host/dead-letters.js';
import { readErrorHeaders } from '../../src/protocol/headers.js';
import { decodeRequest } from '../../src/protocol/infer.js';
import { text } from '../../src/tensor/typed.js';
import { act, acts, blankDigit, briskRestart, digits, folder, gate, rejection, said, stageHost, type HostStage } from '../support/host-stage.js';
import { steadyLoad } from '../support/load.js';
import { projectRoot, startTestNats, type NatsRole, type TestNats } from '../support/nats-server.js';

let nats: TestNats;
let operator: NatsBus;
const connectAs = (role: Partial<NatsRole> = {}): Promise<NatsBus> => connectNats({ servers: nats.url, ...role }, { clock: systemClock, log: silentLog });
before(async () => {
  nats = await startTestNats();
  operator = await connectAs(nats.operator);
});
after(async () => {
  await operator.close();
  await nats.remove();
});

/** An order to the host on the stage; rejects with the ServeError it is refused with. */
async function order<T>(verb: string, request: object = {}): Promise<T> {
  const { data, headers } = await operator.request(`regrow.control.stage.${verb}`, Buffer.from(JSON.stringify(request)), { timeoutMs: 20_000 });
  const refusal = readErrorHeaders(headers, data);
  if (refusal) throw refusal;
  return JSON.parse(Buffer.from(data).toString()) as T;
}
const deadLetters = <T>(action: string, id?: string): Promise<T> => order<T>('dead-letters', { action, ...(id !== undefined && { id }) });
const letters = async (): Promise<DeadLetter[]> => (await deadLetters<{ letters: DeadLetter[] }>('list')).letters;

const dataFolder = (): string => mkdtempSync(join(folder, 'data-'));
const authenticated = () => ({ servers: nats.url, ...nats.host });
/** A module that a request can kill. */
let editions = 0;
/** A version of its own, because what is poison to one is in the store for every host that runs the same. */
const fragile = (more = {}) => acts('fragile', { idempotent: true, restart: briskRestart, version: `edition-${++editions}`, ...more });
const poison = (stage: HostStage, requestId = 'p1'): Promise<Error & { code?: string }> => rejection(stage.host.infer('fragile', act('exit'), { requestId }));

test('a poison request is a dead letter: listed, shown, sent again by any client, replayed, cleared', async () => {
  const dataDir = dataFolder();
  await using stage = await stageHost({ dataDir, nats: authenticated(), actors: [fragile({ replicas: 2 })] });
  assert.equal((await poison(stage)).code, 'POISON');
  const { deadLetter } = (await stage.events.next(({ type }) => type === 'quarantined', 'the quarantine')).detail as { deadLetter: string };

  const [letter, ...more] = await letters();
  assert.equal(more.length, 0);
  assert.deepEqual([letter!.id, letter!.actor, letter!.requestId, letter!.times], [deadLetter, 'fragile', 'p1', 1]);
  assert.match(letter!.exit, /^crashed: /);
  assert.deepEqual(letter!.inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })), [{ name: 'act', datatype: 'BYTES', shape: [1] }]);

  const { content } = await deadLetters<{ content: string }>('show', deadLetter);
  const kept = readFileSync(join(dataDir, 'dead-letters', `${deadLetter}.oip`));
  assert.equal(content, kept.toString('base64'));
  const request = decodeRequest(kept, letter!.request!.jsonLength);
  assert.deepEqual([request.id, text(request.inputs[0]!)], ['p1', ['exit']]);

  // As any client sends it: refused, because it is in quarantine.
  const sent = await operator.request('regrow.infer.fragile', kept, { timeoutMs: 5000, headers: { 'Inference-Header-Content-Length': String(letter!.request!.jsonLength) } });
  assert.equal(readErrorHeaders(sent.headers, sent.data)?.code, 'POISON');

  await stage.events.times(2, ({ type }) => type === 'replica-ready', 'both replicas back');
  const again = await deadLetters<ReplayResult>('replay', deadLetter);
  assert.deepEqual([again.ok, again.code, again.quarantine], [false, 'POISON', 'in force']);
  const [twice] = await letters();
  assert.deepEqual([twice!.id, twice!.times], [deadLetter, 2]);
  assert.match(twice!.lastReplay!.result, /^POISON/);

  assert.deepEqual(await deadLetters('clear', deadLetter), { cleared: 1 });
  assert.deepEqual(await letters(), []);
  assert.equal((await rejection(deadLetters('show', deadLetter))).code, 'NOT_FOUND');
});

test('a replay of an actor with one replica: it runs on a second one, which dies, and the first serves on without a gap', async () => {
  await using stage = await stageHost({ dataDir: dataFolder(), nats: authenticated(), actors: [fragile()] });
  await poison(stage);
  await stage.events.times(2, ({ type }) => type === 'replica-ready', 'the replica back after both deaths');
  const from = stage.events.all.length;
  const serving = stage.replica('fragile');
  const load = steadyLoad(() => stage.host.infer('fragile', act('echo')));
  const [letter] = await letters();
  const result = await deadLetters<ReplayResult>('replay', letter!.id);
  await load.answered(20);
  assert.deepEqual((await load.stop()).failures, []);
  assert.equal(result.code, 'POISON');
  const exits = stage.events.all.slice(from).filter(({ type }) => type === 'replica-exit');
  assert.ok(exits.every(({ replica }) => replica !== 'fragile-cpu-0') && exits.length === 1, JSON.stringify(exits));
  assert.deepEqual(stage.actor('fragile').replicas.map(({ id, pid }) => [id, pid]), [['fragile-cpu-0', serving.pid]], 'the spare one is gone, the old one untouched');
});

test('a replay that is answered lifts the quarantine, and equal requests are taken again', async () => {
  const { file, open } = gate();
  await using stage = await stageHost({ dataDir: dataFolder(), nats: authenticated(), actors: [fragile({ replicas: 2 })] });
  // Ends the replica until the gate is open.
  const ask = () => stage.host.infer('fragile', act('exit-unless', file));
  assert.equal((await rejection(ask())).code, 'POISON');
  assert.equal((await rejection(ask())).code, 'POISON');
  await stage.events.times(2, ({ type }) => type === 'replica-ready', 'both replicas back');
  open();
  assert.equal((await rejection(ask())).code, 'POISON', 'the quarantine knows nothing of gates');
  const [letter] = await letters();
  const result = await deadLetters<ReplayResult>('replay', letter!.id);
  assert.deepEqual([result.ok, result.quarantine, result.outputs?.[0]?.name], [true, 'lifted', 'said']);
  assert.deepEqual(said((await ask()).outputs), ['spared']);
});

test('the quarantine and the dead letters survive a restart of the host', async () => {
  const dataDir = dataFolder();
  const options = { dataDir, nats: authenticated(), actors: [fragile({ replicas: 2 })] };
  const first = await stageHost(options);
  await poison(first);
  await first[Symbol.asyncDispose]();
  await using second = await stageHost(options);
  const refused = await poison(second, 'p2');
  assert.equal(refused.code, 'POISON');
  assert.match(refused.message, /an equal request ended/);
  assert.deepEqual(second.events.all.filter(({ type }) => type === 'replica-exit'), [], 'nothing had to die for it');
  const [letter] = await letters();
  const { content } = await deadLetters<{ content: string }>('show', letter!.id);
  assert.match(Buffer.from(content, 'base64').toString(), /exit/);
  await second.host.infer('fragile', act('echo'));
});

test('deadLetters false: hash and shapes only', async () => {
  const dataDir = dataFolder();
  await using stage = await stageHost({ dataDir, deadLetters: false, nats: authenticated(), actors: [fragile({ replicas: 2 })] });
  await rejection(stage.host.infer('fragile', act('exit', 'private')));
  const [letter] = await letters();
  assert.deepEqual([letter!.request, letter!.inputs[0]!.shape], [undefined, [2]]);
  assert.equal((await rejection(deadLetters('replay', letter!.id))).code, 'NOT_FOUND');
  assert.deepEqual(readdirSync(join(dataDir, 'dead-letters')), [`${letter!.id}.json`]);
  assert.ok(!readFileSync(join(dataDir, 'dead-letters', `${letter!.id}.json`), 'utf8').includes('private'));
});

// ---------------------------------------------------------------------------------------------------------------- pins

const digitsFile = join(projectRoot, 'demo', 'models', 'digits.onnx');
/** The same model with a word of producer metadata: other bytes, equal answers. */
function otherEdition(file: string): void {
  const word = Buffer.from('edited');
  writeFileSync(file, Buffer.concat([readFileSync(digitsFile), Buffer.from([0x12, word.length]), word]));
}

test('a model overwritten on disk: a restarted replica serves the pinned bytes, and status says so', async () => {
  const dataDir = dataFolder();
  const model = join(dataDir, 'model.onnx');
  copyFileSync(digitsFile, model);
  await using stage = await stageHost({ dataDir, actors: [digits({ model, restart: briskRestart })] });
  const { version } = stage.actor('digits');
  assert.equal(stage.actor('digits').notice, undefined);
  writeFileSync(model, 'no model at all');
  const victim = stage.replica('digits');
  process.kill(victim.pid, 'SIGKILL');
  await stage.events.next(({ type, replica }) => type === 'replica-ready' && replica === victim.id, 'the replica back', stage.events.all.length);
  const told = await stage.events.next(({ type }) => type === 'model-changed', 'the event');
  assert.equal(told.replica, victim.id);
  const { state, notice, reason } = stage.actor('digits');
  assert.equal(state, 'ready');
  assert.match(notice!, /^model changed on disk: .*model\.onnx has sha256 .*; serving the kept copy of the pinned version$/);
  assert.ok(reason.includes(notice!));
  assert.equal((await stage.host.infer('digits', blankDigit)).modelVersion, version);

  rmSync(model);
  process.kill(stage.replica('digits').pid, 'SIGKILL');
  await stage.events.next(({ reason: why }) => why.startsWith('model is gone from disk'), 'the event of the deleted file');
});

test('without a dataDir nothing is kept: the changed file fails the load by name', async () => {
  const model = join(dataFolder(), 'model.onnx');
  copyFileSync(digitsFile, model);
  await using stage = await stageHost({ actors: [digits({ model, restart: briskRestart })] });
  writeFileSync(model, 'no model at all');
  process.kill(stage.replica('digits').pid, 'SIGKILL');
  const exit = await stage.events.next(({ type, reason }) => type === 'replica-exit' && reason.startsWith('load-failed'), 'the failed load');
  assert.match(exit.reason, /model changed on disk/);
});

// -------------------------------------------------------------------------------------------------------------- orders

test('apply under load: the actor rolls to other bytes, no request fails, and the old copy is forgotten', async () => {
  const dataDir = dataFolder();
  const model = join(dataDir, 'other.onnx');
  otherEdition(model);
  await using stage = await stageHost({ dataDir, nats: authenticated(), actors: [digits({ replicas: 2 })] });
  const before = stage.actor('digits').version;
  const load = steadyLoad(() => stage.host.infer('digits', blankDigit));
  await load.answered(20);
  const { changes, needRestart } = await order<{ changes: { change: string }[]; needRestart: string[] }>('apply', { spec: { host: 'stage', actors: [digits({ model, replicas: 2 })] } });
  assert.deepEqual([changes.map(({ change }) => change), needRestart], [['rolled'], []]);
  await load.answered(20);
  assert.deepEqual((await load.stop()).failures, []);
  const { version, ready } = stage.actor('digits');
  assert.notEqual(version, before);
  assert.equal(ready, 2);
  assert.deepEqual(readdirSync(join(dataDir, 'models')).map((name) => name.slice(0, 12)), [version]);
});

test('apply of a model that does not load: refused with its reason, the old one serves on', async () => {
  const dataDir = dataFolder();
  const model = join(dataDir, 'broken.onnx');
  writeFileSync(model, 'no model at all');
  await using stage = await stageHost({ dataDir, nats: authenticated(), actors: [digits()] });
  const { version } = stage.actor('digits');
  const load = steadyLoad(() => stage.host.infer('digits', blankDigit));
  const { changes: [change] } = await order<{ changes: { change: string; reason: string }[] }>('apply', { spec: { actors: [digits({ model })] } });
  assert.equal(change!.change, 'refused');
  assert.match(change!.reason, /did not prove: load-failed: .*broken\.onnx/);
  assert.deepEqual((await load.stop()).failures, []);
  assert.equal(stage.actor('digits').version, version);
  assert.deepEqual(readdirSync(join(dataDir, 'models')).map((name) => name.slice(0, 12)), [version]);
});

test('orders: a client may not give them, and a host without credentials does not hear them', async () => {
  await using _stage = await stageHost({ nats: authenticated(), actors: [digits()] });
  const client = await connectAs();
  assert.equal((await rejection(client.request('regrow.control.stage.restart', Buffer.from('{"actor":"digits"}'), { timeoutMs: 5000 }))).code, 'PERMISSION');
  await client.close();
  await using open = await startTestNats({ conf: 'host: 127.0.0.1\n' }).then((server) => ({ server, [Symbol.asyncDispose]: () => server.remove() }));
  await using _deaf = await stageHost({ host: 'deaf', nats: { servers: open.server.url }, actors: [digits()] });
  const anybody = await connectNats({ servers: open.server.url }, { clock: systemClock, log: silentLog });
  assert.equal((await rejection(anybody.request('regrow.control.deaf.drain', new Uint8Array(), { timeoutMs: 5000 }))).code, 'NO_RESPONDERS');
  await anybody.close();
});

test('eject: says when it did not happen', async () => {
  await using stage = await stageHost({ nats: authenticated(), actors: [digits()] });
  const { id } = stage.replica('digits');
  await order('eject', { replica: id });
  assert.notEqual(stage.replica('digits').id, id);
  const refused = await rejection(order('eject', { replica: stage.replica('digits').id }));
  assert.match(refused.message, /was not replaced: a replica of digits was ejected less than/);
});
