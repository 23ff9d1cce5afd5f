/** What only cells can do: die of native faults alone, be killed at once, and never outlive their host. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCellLanes } from '../../src/adapters/cell-lane.js';
import type { LoadTask } from '../../src/protocol/task.js';
import { cpuTicks, eventually, factory, fixture, floats, isAlive, openLane, openLoaded, session, stopLane, values, within } from '../support/lanes.js';
import { slowModel } from '../support/onnx-fixture.js';

const folder = mkdtempSync(join(tmpdir(), 'regrow-cells-'));
after(() => rmSync(folder, { recursive: true }));
const lanes = factory('cell');

test('a native fault ends the cell and nothing else', async () => {
  const opened = await openLoaded(lanes, { file: fixture('faults') });
  const run = opened.run('abort');
  assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'crashed', detail: 'SIGABRT' });
  assert.equal(await run, undefined);
  assert.equal(opened.exits, 1);
});

test('SIGKILL from outside: killed, pending runs settled', async () => {
  const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate: join(folder, 'never') } });
  const run = opened.run('spin');
  await opened.logged('inside');
  process.kill(opened.lane.pid, 'SIGKILL');
  assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'killed', detail: 'SIGKILL' });
  assert.equal(await run, undefined);
});

test('what was answered before the death is delivered', async () => {
  const opened = await openLoaded(lanes, { file: fixture('faults') });
  const large = { x: { datatype: 'FP32' as const, shape: [300_000], data: new Float32Array(300_000) } };
  const answered = opened.run('fine', large);
  const fatal = opened.run('exit');
  assert.equal(values(await answered)['x']?.length, 300_000);
  assert.equal(await fatal, undefined);
  assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'crashed', detail: 'worker exited with code 7' });
});

test('signals to the whole group are ignored: terminal and service manager', async () => {
  const opened = await openLoaded(lanes, { file: fixture('echo') });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(opened.lane.pid, signal);
  assert.equal(await within(opened.lane.ping(), 'ping'), true);
  assert.deepEqual(values(await opened.run('x', { x: floats(1) }))['x'], [1]);
  assert.equal((await stopLane(opened)).reason, 'shutdown');
});

test('pings are answered with memory while a run holds the thread', async () => {
  const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate: join(folder, 'never') } });
  void opened.run('spin');
  await opened.logged('inside');
  assert.equal(await within(opened.lane.ping(), 'ping'), true);
  assert.ok(opened.lane.memoryBytes > 10_000_000);
  opened.lane.kill('killed', 'test');
  await within(opened.exit, 'exit');
});

test('a frozen cell answers no ping, and can be killed', async () => {
  const opened = await openLoaded(lanes, { file: fixture('echo') });
  process.kill(opened.lane.pid, 'SIGSTOP');
  const ping = opened.lane.ping();
  opened.lane.kill('hung', 'no ping for 2 s');
  assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'hung', detail: 'no ping for 2 s' });
  assert.equal(await ping, false);
});

test('a message longer than the bound ends the lane, not the host', async () => {
  const opened = await openLoaded(createCellLanes({ messageBytesMax: 4096 }), { file: fixture('echo') });
  const run = opened.run('x', { x: { datatype: 'FP32', shape: [4096], data: new Float32Array(4096) } });
  const exit = await within(opened.exit, 'exit');
  assert.equal(exit.reason, 'crashed');
  assert.match(exit.detail, /^protocol error: message of \d+ bytes, the bound is 4096$/);
  assert.equal(await run, undefined);
});

test('an entry that does not exist: the lane ends, the load is answered', async () => {
  const cells = createCellLanes({ entries: { cell: new URL('./absent.js', import.meta.url) } });
  const opened = openLane(cells, { file: fixture('echo') });
  const load = await within(opened.lane.load(), 'load');
  assert.equal(load.ok, false);
  assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'crashed', detail: 'exit code 1' });
});

test('a process that cannot be made: an exit like any other, nothing throws', async () => {
  const opened = openLane(createCellLanes({ env: { BROKEN: 'a\0b' } }), { file: fixture('echo') });
  await assert.rejects(opened.lane.spawned, /no process/);
  const load = await within(opened.lane.load(), 'load');
  assert.deepEqual(!load.ok && [load.permanent, load.deviceFatal], [false, false]);
  const exit = await within(opened.exit, 'exit');
  assert.equal(exit.reason, 'crashed');
  assert.match(exit.detail, /^no process: /);
  assert.equal(await opened.run('x'), undefined);
});

test('a host with a model in a cell has no native inference code in its own memory', { skip: process.platform !== 'linux' }, async () => {
  const file = join(folder, 'one.onnx');
  writeFileSync(file, slowModel(1));
  const opened = await openLoaded(lanes, { kind: 'model', file });
  const mapped = (pid: number): boolean => readFileSync(`/proc/${pid}/maps`, 'utf8').includes('onnxruntime_binding');
  assert.deepEqual([mapped(opened.lane.pid), mapped(process.pid)], [true, false]);
  await stopLane(opened);
});

const doomed = {
  'JavaScript': { kind: 'module', file: fixture('waits') },
  'native code': { kind: 'model', file: join(folder, 'slow.onnx'), side: 512 },
} as const;

for (const [what, { kind, file, ...matrix }] of Object.entries(doomed)) {
  test(`the host is killed while a cell is inside ${what}: no cell stays`, async () => {
    // Longer than the watchdog below on any machine of this decade.
    if (kind === 'model') writeFileSync(file, slowModel(5000));
    const load: LoadTask = { actor: 'doomed', kind, file, device: 'cpu', session, spec: { gate: join(folder, 'never') } };
    const run = { id: 1, requestId: 'spin', budgetMs: 1000, path: ['doomed'] };
    const script = fileURLToPath(new URL('../fixtures/doomed-host.js', import.meta.url));
    const host = spawn(process.execPath, [script, JSON.stringify({ load, run, ...matrix })], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    host.stdout.on('data', (text: Buffer) => (said += text.toString()));
    await eventually(() => said.includes('pid '), 'a loaded cell');
    const pid = Number(/pid (\d+)/.exec(said)![1]);
    const before = cpuTicks(pid);
    await eventually(() => cpuTicks(pid) > before + 15, 'a run that computes');
    host.kill('SIGKILL');
    await eventually(() => !isAlive(pid), 'the end of the cell', 5000);
  });
}
