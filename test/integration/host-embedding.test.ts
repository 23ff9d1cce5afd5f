/** A host inside somebody's own program: typed calls, refusals that cost nothing, ends that leave nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createHost, SpecError, type TensorInputs } from '../../src/index.js';
import { act, acts, blankDigit, digits, folder, gate, rejection, said, stageHost, type HostStage } from '../support/host-stage.js';
import { eventually, isAlive, within } from '../support/lanes.js';
import { childrenOf } from '../support/processes.js';

let stage: HostStage;
before(async () => {
  stage = await stageHost({ actors: [digits({ replicas: 2 }), acts('tool'), acts('busy', { queue: { sizeMax: 1 } })] });
});
after(() => stage[Symbol.asyncDispose]());

const image = blankDigit.image;

test('a typed answer, with who gave it', async () => {
  const { outputs, servedBy, attempts, device, modelVersion } = await stage.host.infer('digits', blankDigit);
  const scores = outputs['scores']!;
  assert.ok(scores.datatype === 'FP32' && scores.data instanceof Float32Array);
  assert.deepEqual(scores.shape, [1, 10]);
  assert.ok(Math.abs(scores.data.reduce((sum, value) => sum + value, 0) - 1) < 1e-3, 'probabilities');
  assert.match(servedBy, /^stage\/digits-cpu-[01]#1$/);
  assert.equal(attempts, 1);
  assert.equal(device, 'cpu');
  assert.match(modelVersion, /^[0-9a-f]{12}$/);
});

const refused: Record<string, TensorInputs> = {
  'a wrong datatype': { image: { ...image, datatype: 'FP64', data: new Float64Array(784) } },
  'a wrong rank': { image: { ...image, shape: [1, 784] } },
  'a wrong fixed dimension': { image: { ...image, shape: [1, 1, 56, 14] } },
  'a wrong name': { picture: image },
  'one input too many': { image, more: image },
  'a missing input': {},
  'too few bytes': { image: { ...image, data: new Float32Array(783) } },
  'too many bytes': { image: { ...image, data: new Float32Array(785) } },
  'no tensor at all': { image: 7 as never },
  'a shape of nonsense': { image: { ...image, shape: [1, 1, -28, -28] } },
  'a datatype of nonsense': { image: { ...image, datatype: 'FLOAT' as never } },
};

for (const [what, inputs] of Object.entries(refused)) {
  test(`refused before any replica sees it: ${what}`, async () => {
    const { ok } = stage.actor('digits').requests;
    const error = await rejection(stage.host.infer('digits', inputs));
    assert.equal(error.code, 'INVALID_ARGUMENT', String(error));
    assert.equal(stage.actor('digits').queue.count, 0);
    assert.equal(stage.actor('digits').requests.ok, ok);
    assert.equal(stage.actor('digits').requests.failed, 0);
  });
}

test('an output the model does not have is refused', async () => {
  assert.equal((await rejection(stage.host.infer('digits', blankDigit, { outputs: ['scoress'] }))).code, 'INVALID_ARGUMENT');
});

test('an actor nobody has is NOT_FOUND, and the known ones are named', async () => {
  const error = await rejection(stage.host.infer('digit', blankDigit));
  assert.equal(error.code, 'NOT_FOUND');
  assert.match(error.message, /digits, tool/);
});

test('a signal that was aborted before: its reason, nothing is run', async () => {
  const reason = new Error('never mind');
  const [runs] = said((await stage.host.infer('tool', act('runs'))).outputs);
  assert.equal(await rejection(stage.host.infer('tool', act('echo'), { signal: AbortSignal.abort(reason) })), reason);
  assert.deepEqual(said((await stage.host.infer('tool', act('runs'))).outputs), [String(Number(runs) + 1)]);
  assert.equal(stage.actor('tool').requests.canceled, 1);
});

test('a signal aborted while it runs: its reason at once, the module hears of it, the replica lives on', async () => {
  const reason = new Error('changed my mind');
  const caller = new AbortController();
  const pid = stage.replica('tool').pid;
  const from = stage.logs.all.length;
  const running = rejection(stage.host.infer('tool', act('until-aborted'), { signal: caller.signal }));
  await stage.logs.next(({ event }) => event === 'inside until-aborted', 'the run', from);
  caller.abort(reason);
  assert.equal(await running, reason);
  await stage.logs.next(({ event }) => event === 'aborted', 'the abort inside', from);
  await stage.host.infer('tool', act('echo'));
  assert.equal(stage.replica('tool').pid, pid);
});

test('a signal aborted in the queue: the request never runs', async () => {
  const door = gate();
  const from = stage.logs.all.length;
  const first = stage.host.infer('tool', act('wait', door.file));
  await stage.logs.next(({ event }) => event === 'inside wait', 'the first run', from);
  const caller = new AbortController();
  const second = rejection(stage.host.infer('tool', act('runs'), { signal: caller.signal }));
  caller.abort();
  assert.equal((await second).name, 'AbortError');
  door.open();
  await first;
  assert.equal(stage.actor('tool').queue.count, 0);
});

test('the budget is used up while it runs: DEADLINE_EXCEEDED, and the replica is not hurt', async () => {
  const door = gate();
  const pid = stage.replica('tool').pid;
  const error = await rejection(stage.host.infer('tool', act('wait', door.file), { timeoutMs: 60 }));
  assert.equal(error.code, 'DEADLINE_EXCEEDED');
  assert.match(error.message, /while it ran/);
  door.open();
  await stage.host.infer('tool', act('echo'));
  assert.equal(stage.replica('tool').pid, pid);
  assert.equal(stage.actor('tool').requests.timeout, 1);
});

test('the queue is full: RESOURCE_EXHAUSTED at once, with when to come back', async () => {
  const door = gate();
  const from = stage.logs.all.length;
  const first = stage.host.infer('busy', act('wait', door.file));
  await stage.logs.next(({ event }) => event === 'inside wait', 'the first run', from);
  const second = stage.host.infer('busy', act('echo'));
  const error = await rejection(stage.host.infer('busy', act('echo')));
  assert.equal(error.code, 'RESOURCE_EXHAUSTED');
  assert.ok(error.retryable && error.retryAfterMs! > 0);
  door.open();
  await Promise.all([first, second]);
});

test('what a module throws is INTERNAL with its text; the replica lives on', async () => {
  const error = await rejection(stage.host.infer('tool', act('throw')));
  assert.equal(error.code, 'INTERNAL');
  assert.match(error.message, /cannot read the moon/);
  assert.equal(stage.replica('tool').restarts, 0);
});

test('a listener that throws neither hides an event from others nor keeps the host from stopping', async () => {
  await using broken = await stageHost({ host: 'listener', actors: [acts('one')] });
  broken.host.onEvent(() => {
    throw new Error('the listener is broken');
  });
  const heard: string[] = [];
  broken.host.onEvent(({ type }) => heard.push(type));
  const { pid } = broken.replica('one');
  await within(broken.host.stop(), 'stop');
  assert.ok(heard.includes('host-draining'));
  assert.ok(!isAlive(pid));
});

test('a spec with problems is refused with each of them, and nothing is started', async () => {
  const before = childrenOf(process.pid);
  const error = await rejection(createHost({ actors: [{ name: 'a b', module: 'x.js' }, { name: 'c' }] }));
  assert.ok(error instanceof SpecError);
  assert.deepEqual(error.problems.map(({ path }) => path), ['actors[0].name', 'actors[1]']);
  assert.deepEqual(childrenOf(process.pid), before);
});

test('two hosts of one process cannot share a dataDir; the first is not disturbed', async () => {
  const dataDir = join(folder, 'shared-data');
  await using first = await stageHost({ host: 'auto', dataDir, actors: [] });
  const error = await rejection(createHost({ dataDir, actors: [] }));
  assert.equal(error.name, 'DataDirLocked');
  const { id } = first.host;
  await first.host.stop();
  await using again = await stageHost({ host: 'auto', dataDir, actors: [] });
  assert.equal(again.host.id, id, 'the id outlives the process');
});

test('stopped: no process left, requests are refused, stopping twice is one stop', async () => {
  const own = await stageHost({ host: 'ends', actors: [acts('two', { replicas: 2 }), acts('inside', { isolation: 'thread' })] });
  const pids = own.actor('two').replicas.map(({ pid }) => pid);
  await Promise.all([own.host.stop(), own.host.stop()]);
  assert.deepEqual(pids.filter(isAlive), []);
  assert.equal((await rejection(own.host.infer('two', act('echo')))).code, 'UNAVAILABLE');
  assert.equal(own.actor('two').state, 'down');
  assert.equal(own.actor('two').ready, 0);
});

test('a program that disposed of its host ends by itself, and no process stays', async () => {
  const script = fileURLToPath(new URL('../fixtures/embedding.js', import.meta.url));
  const module = acts('x').module!;
  const program = spawn(process.execPath, [script, module], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  program.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const code = await within(new Promise((resolve) => program.once('close', resolve)), 'the end of the program');
  assert.equal(code, 0);
  assert.match(said, /^echo cell\necho thread\npids \d+ \d+\ndisposed\n$/);
  for (const pid of /pids (.*)/.exec(said)![1]!.split(' ')) await eventually(() => !isAlive(Number(pid)), 'the end of its cells');
});
