/** One suite for both lanes: what a supervisor and a dispatcher may rely on, whichever kind they hold. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { NestedReply } from '../../src/protocol/task.js';
import { eventually, factory, fixture, floats, isAlive, laneKinds, named, openLane, openLoaded, stopLane, values, within } from '../support/lanes.js';

const folder = mkdtempSync(join(tmpdir(), 'regrow-lanes-'));
after(() => rmSync(folder, { recursive: true }));
let gates = 0;
const newGate = (): string => join(folder, `gate-${gates++}`);

for (const kind of laneKinds) {
  const lanes = factory(kind);

  describe(`${kind} lane: load`, () => {
    test('a module loads: metadata, runtime, where it runs', async () => {
      const opened = openLane(lanes, { file: fixture('echo') });
      await within(opened.lane.spawned, 'spawn');
      const reply = await within(opened.lane.load(), 'load');
      assert.ok(reply.ok);
      assert.deepEqual(reply.metadata, {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }], outputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }],
      });
      assert.equal(reply.runtime, `node ${process.versions.node}`);
      assert.equal(opened.lane.pid === process.pid, kind === 'thread');
      assert.ok(opened.lane.threadId > 0);
      await stopLane(opened);
    });

    test('load throws: permanent, the lane can still be stopped', async () => {
      const opened = openLane(lanes, { file: fixture('throws-on-load') });
      const reply = await within(opened.lane.load(), 'load');
      assert.deepEqual({ ...reply, message: '' }, { ok: false, message: '', permanent: true, deviceFatal: false });
      assert.match(reply.ok ? '' : reply.message, /throws-on-load\.js: no licence file/);
      assert.equal((await stopLane(opened)).reason, 'shutdown');
    });

    test('load throws with a retryable code: not permanent', async () => {
      const opened = openLane(lanes, { file: fixture('throws-on-load'), spec: { code: 'UNAVAILABLE' } });
      const reply = await within(opened.lane.load(), 'load');
      assert.equal(!reply.ok && reply.permanent, false);
      await stopLane(opened);
    });

    test('not a module of regrow: permanent, every problem named', async () => {
      const opened = openLane(lanes, { file: fixture('no-run') });
      const reply = await within(opened.lane.load(), 'load');
      assert.ok(!reply.ok && reply.permanent);
      assert.match(reply.message, /must export a function `run.*`load` is not a function/);
      await stopLane(opened);
    });

    test('no such file: permanent', async () => {
      const opened = openLane(lanes, { file: join(folder, 'absent.js') });
      const reply = await within(opened.lane.load(), 'load');
      assert.ok(!reply.ok && reply.permanent);
      await stopLane(opened);
    });
  });

  describe(`${kind} lane: run`, () => {
    test('every datatype comes back bit by bit, misaligned, empty and scalar ones too', async () => {
      const opened = await openLoaded(lanes, { file: fixture('faults') });
      const bytes = Uint8Array.from({ length: 64 }, (_, index) => index * 37);
      const inputs = [
        { name: 'odd', datatype: 'UINT8' as const, shape: [3], data: bytes.subarray(0, 3) },
        ...(['FP16', 'BF16', 'FP32', 'FP64', 'INT64', 'UINT64', 'INT32', 'UINT16', 'INT8'] as const).map((datatype) => (
          { name: datatype, datatype, shape: [2, 1], data: bytes.subarray(1, 1 + 2 * { FP16: 2, BF16: 2, FP32: 4, FP64: 8, INT64: 8, UINT64: 8, INT32: 4, UINT16: 2, INT8: 1 }[datatype]) }
        )),
        ...named({
          flag: { datatype: 'BOOL', shape: [2], data: [true, false] },
          words: { datatype: 'BYTES', shape: [2, 1], data: ['', 'Grüße'] },
          scalar: { datatype: 'FP64', shape: [], data: [0.1] },
          empty: { datatype: 'FP32', shape: [0, 7], data: [] },
        }),
      ];
      const reply = await opened.run('echo', {}, { inputs });
      assert.ok(reply?.ok);
      const plain = (list: typeof reply.outputs) => list.map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data).toString('hex') }));
      assert.deepEqual(plain(reply.outputs), plain(inputs));
      await stopLane(opened);
    });

    test('the inputs stay usable after a run: they may have to be replayed', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      const inputs = named({ x: floats(1, 2, 3) });
      for (let round = 0; round < 2; round++) {
        assert.deepEqual(values(await opened.run('again', {}, { inputs }))['x'], [1, 2, 3]);
      }
      await stopLane(opened);
    });

    test('one of two outputs, and one that does not exist', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      assert.deepEqual(values(await opened.run('named', { x: floats(1) }, { outputs: ['requestId'] })), { requestId: ['named'] });
      const reply = await opened.run('named', { x: floats(1) }, { outputs: ['z'] });
      assert.deepEqual(reply, { ok: false, code: 'INVALID_ARGUMENT', message: "the module has no output 'z'" });
      await stopLane(opened);
    });

    test('many posted ahead: run and answered in order', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      const answered: number[] = [];
      const runs = Array.from({ length: 50 }, (_, index) => opened.run(`r${index}`, { x: floats(index) }).then((reply) => {
        answered.push(index);
        return values(reply);
      }));
      const results = await Promise.all(runs);
      assert.deepEqual(answered, results.map((_, index) => index));
      assert.deepEqual(results.map((result) => result['order']), results.map((_, index) => [index + 1]));
      assert.deepEqual(results.map((result) => result['x']), results.map((_, index) => [index]));
      await stopLane(opened);
    });

    test('a tensor of many frames crosses in both directions while pings pass it', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      const data = Float32Array.from({ length: 2_000_000 }, (_, index) => index);
      const large = opened.run('large', { x: { datatype: 'FP32', shape: [data.length], data } });
      assert.equal(await within(opened.lane.ping(), 'ping'), true);
      const reply = await large;
      assert.ok(reply?.ok);
      assert.equal(Buffer.compare(reply.outputs[0]!.data, new Uint8Array(data.buffer)), 0);
      await stopLane(opened);
    });

    test('concurrency 1: one after the other; concurrency 3: three at once and never four', async () => {
      for (const concurrency of [1, 3]) {
        const gate = newGate();
        const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate }, concurrency });
        const runs = Array.from({ length: 6 }, () => opened.run('poll'));
        await opened.logged('inside', concurrency);
        writeFileSync(gate, '');
        const last = (await Promise.all(runs)).map(values).at(-1)!;
        assert.deepEqual(last['activeMax'], [concurrency]);
        await stopLane(opened);
      }
    });
  });

  describe(`${kind} lane: failures that are answers`, () => {
    test('what a run throws is INTERNAL, or the code it carries; the replica lives on', async () => {
      const opened = await openLoaded(lanes, { file: fixture('faults') });
      const answers = {
        'throw': { ok: false, code: 'INTERNAL', message: 'cannot read the moon' },
        'code': { ok: false, code: 'INVALID_ARGUMENT', message: 'page is upside down' },
        'unknown-code': { ok: false, code: 'INTERNAL', message: 'no such file' },
        'not-an-object': { ok: false, code: 'INTERNAL', message: 'run must return an object of named tensors, got undefined' },
      };
      for (const [how, answer] of Object.entries(answers)) assert.deepEqual(await opened.run(how), answer);
      const bad = await opened.run('bad-output');
      assert.ok(bad && !bad.ok && bad.code === 'INTERNAL');
      assert.match(bad.message, /^output 'y': /);
      assert.deepEqual(values(await opened.run('fine', { x: floats(5) })), { x: [5] });
      assert.equal(opened.exits, 0);
      await stopLane(opened);
    });

    test('a malformed tensor is INVALID_ARGUMENT, not the end', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [4], data: new Uint8Array(3) }];
      const reply = await opened.run('short', {}, { inputs });
      assert.equal(reply && !reply.ok && reply.code, 'INVALID_ARGUMENT');
      await stopLane(opened);
    });
  });

  describe(`${kind} lane: deaths`, () => {
    const death = async (how: string, heapMb?: number) => {
      const opened = await openLoaded(factory(kind, heapMb === undefined ? {} : { heapMb }), { file: fixture('faults') });
      const fatal = opened.run(how);
      const ahead = opened.run('posted ahead');
      const exit = await within(opened.exit, `exit by ${how}`);
      assert.equal(await fatal, undefined);
      assert.equal(await ahead, undefined);
      assert.equal(await opened.run('too late'), undefined);
      assert.equal(await opened.lane.ping(), false);
      opened.lane.kill('hung', 'too late');
      opened.lane.stop(1);
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(opened.exits, 1);
      return exit;
    };

    test('throw outside a run', async () => {
      assert.deepEqual(await death('timer'), { reason: 'crashed', detail: 'Error: thrown outside a run' });
    });

    test('unhandled rejection', async () => {
      assert.deepEqual(await death('rejection'), { reason: 'crashed', detail: 'Error: nobody awaited this' });
    });

    test('process.exit in a run', async () => {
      assert.deepEqual(await death('exit'), { reason: 'crashed', detail: 'worker exited with code 7' });
    });

    test('heap out of memory', async () => {
      assert.deepEqual(await death('heap', 16), { reason: 'crashed', detail: 'heap out of memory' });
    });

    test('death while loading: the load is answered, not as permanent', async () => {
      const opened = openLane(lanes, { file: fixture('echo') });
      const load = opened.lane.load();
      opened.lane.kill('killed', 'test');
      const reply = await within(load, 'load');
      assert.deepEqual(!reply.ok && [reply.permanent, reply.deviceFatal], [false, false]);
      assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'killed', detail: 'test' });
    });

    test('a listener that comes after the exit hears it too', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      opened.lane.kill('unproven', 'wrong answer');
      const exit = await within(opened.exit, 'exit');
      const late = await within(new Promise((resolve) => opened.lane.onExit(resolve)), 'late listener');
      assert.deepEqual(late, exit);
      assert.deepEqual(exit, { reason: 'unproven', detail: 'wrong answer' });
    });
  });

  describe(`${kind} lane: nested calls`, () => {
    const answers: Record<string, NestedReply> = {
      ok: { ok: true, outputs: named({ x: floats(42) }) },
      unavailable: { ok: false, code: 'UNAVAILABLE', message: 'draining', outcome: 'unknown' },
    };

    test('answered: the call names its run, inputs, wanted outputs and budget', async () => {
      const opened = await openLoaded(lanes, { file: fixture('nested'), nested: async () => answers['ok']! });
      assert.deepEqual(values(await opened.run('ask', { x: floats(1, 2) })), { x: [42] });
      const { runId, actor, outputs, timeoutMs, inputs } = opened.nestedCalls[0]!;
      assert.deepEqual({ runId, actor, outputs, timeoutMs }, { runId: 1, actor: 'inner', outputs: ['x'], timeoutMs: 50 });
      assert.deepEqual(inputs.map(({ name, shape }) => ({ name, shape })), [{ name: 'x', shape: [2] }]);
      await stopLane(opened);
    });

    test('failed: an Error with code, retryable and outcome; passed on, it answers the run with its code', async () => {
      const opened = await openLoaded(lanes, { file: fixture('nested'), nested: async () => answers['unavailable']! });
      assert.deepEqual(values(await opened.run('ask', {})), { said: ['UNAVAILABLE', 'false', 'unknown', 'inner: draining'] });
      assert.deepEqual(await opened.run('pass-on', {}), {
        ok: false, code: 'UNAVAILABLE', message: 'inner: draining', retryable: false, outcome: 'unknown',
      });
      await stopLane(opened);
    });

    test('the host throws instead of answering: INTERNAL, nobody hangs', async () => {
      const opened = await openLoaded(lanes, { file: fixture('nested'), nested: () => { throw new Error('bug'); } });
      assert.equal(values(await opened.run('ask', {}))['said']![0], 'INTERNAL');
      await stopLane(opened);
    });

    test('given up by the module: its own signal ends the waiting', async () => {
      const opened = await openLoaded(lanes, { file: fixture('nested'), nested: () => new Promise(() => {}) });
      assert.deepEqual(values(await opened.run('impatient', {})), { said: ['changed my mind'] });
      await stopLane(opened);
    });
  });

  describe(`${kind} lane: cancel`, () => {
    test('a run under way: its signal aborts', async () => {
      const opened = await openLoaded(lanes, { file: fixture('waits') });
      const run = opened.run('signal');
      await opened.logged('inside');
      opened.lane.cancel(opened.lastRunId);
      const answer = values(await run);
      assert.deepEqual(answer['reason'], ['the caller is gone']);
      assert.ok((answer['left']![0] as number) > 0);
      await stopLane(opened);
    });

    test('the deadline: the signal aborts by itself, the lane lives', async () => {
      const opened = await openLoaded(lanes, { file: fixture('waits') });
      const answer = values(await opened.run('signal', {}, { budgetMs: 20 }));
      assert.deepEqual([answer['reason'], answer['left']], [['the deadline has passed'], [0]]);
      assert.equal(opened.exits, 0);
      await stopLane(opened);
    });

    test('a run that waits its turn: never begun', async () => {
      const gate = newGate();
      const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate } });
      const first = opened.run('spin');
      const second = opened.run('never');
      opened.lane.cancel(2);
      await opened.logged('inside');
      writeFileSync(gate, '');
      values(await first);
      const reply = await second;
      assert.equal(reply && !reply.ok && reply.code, 'DEADLINE_EXCEEDED');
      assert.equal(opened.logs.length, 1);
      values(await opened.run('next'));
      await stopLane(opened);
    });
  });

  describe(`${kind} lane: stop and kill`, () => {
    test('stop: what was posted is answered, then it unloads and ends with shutdown', async () => {
      const opened = await openLoaded(lanes, { file: fixture('echo') });
      const runs = Array.from({ length: 5 }, (_, index) => opened.run('posted', { x: floats(index) }));
      opened.lane.stop(10_000);
      assert.deepEqual((await Promise.all(runs)).map((reply) => values(reply)['x']), [[0], [1], [2], [3], [4]]);
      assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'shutdown', detail: 'stopped' });
      assert.equal(await opened.run('after'), undefined);
      assert.equal(opened.exits, 1);
    });

    test('stop beyond its budget: killed, the run is settled', async () => {
      const gate = newGate();
      const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate } });
      const run = opened.run('spin');
      await opened.logged('inside');
      opened.lane.stop(10);
      assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'killed', detail: 'did not stop within 10 ms' });
      assert.equal(await run, undefined);
      writeFileSync(gate, '');
      await eventually(() => lanes.zombies === 0, 'no zombies');
    });

    test('kill while a run holds the thread: ended at once, counted as a zombie only where it cannot be killed', async () => {
      const gate = newGate();
      const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate } });
      const run = opened.run('spin');
      const ahead = opened.run('spin');
      await opened.logged('inside');
      opened.lane.kill('hung', 'no answer for 10 s');
      assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'hung', detail: 'no answer for 10 s' });
      assert.deepEqual([await run, await ahead], [undefined, undefined]);
      assert.equal(lanes.zombies, kind === 'thread' ? 1 : 0);
      if (kind === 'cell') assert.equal(isAlive(opened.lane.pid), false);
      writeFileSync(gate, '');
      await eventually(() => lanes.zombies === 0, 'no zombies');
      assert.equal(opened.exits, 1);
      assert.equal(opened.logs.length, 1);
    });

    test('kill while a run only waits: no zombie stays', async () => {
      const opened = await openLoaded(lanes, { file: fixture('waits'), spec: { gate: newGate() } });
      const run = opened.run('poll');
      await opened.logged('inside');
      opened.lane.kill('hung', 'waited too long');
      assert.equal((await within(opened.exit, 'exit')).reason, 'hung');
      assert.equal(await run, undefined);
      await eventually(() => lanes.zombies === 0, 'no zombies');
    });

    test('twenty times open, run, close: no handle, process or thread stays', async () => {
      const count = () => process.getActiveResourcesInfo().filter((name) => name !== 'Timeout' && name !== 'Immediate').length;
      const pids: number[] = [];
      const once = async (index: number) => {
        const opened = await openLoaded(lanes, { file: fixture('echo') });
        pids.push(opened.lane.pid);
        values(await opened.run('x', { x: floats(index) }));
        if (index % 2) await stopLane(opened);
        else {
          opened.lane.kill('killed', 'test');
          await within(opened.exit, 'exit');
        }
      };
      await once(0);
      await new Promise((resolve) => setImmediate(resolve));
      const before = count();
      for (let index = 0; index < 20; index++) await once(index);
      await eventually(() => count() <= before, `resources ${process.getActiveResourcesInfo().join(' ')}`);
      assert.equal(lanes.zombies, 0);
      if (kind === 'cell') assert.deepEqual(pids.filter(isAlive), []);
    });
  });
}
