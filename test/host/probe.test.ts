/** The probe's model is what it says it is, and the CPU passes it in a real cell. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/adapters/system-clock.js';
import { probeModel } from '../../src/host/probe-model.js';
import { probeDevice } from '../../src/host/probe.js';
import { factory, within } from '../support/lanes.js';
import { onnxModel } from '../support/onnx-fixture.js';

test('the embedded bytes are the model the comment describes', () => {
  const value = (name: string) => ({ name, type: 'FP32' as const, shape: [2, 2] });
  const model = onnxModel({
    nodes: [{ op: 'MatMul', inputs: ['x', 'x'], outputs: ['t'] }, { op: 'Add', inputs: ['t', 'x'], outputs: ['y'] }],
    inputs: [value('x')], outputs: [value('y')],
  });
  assert.equal(probeModel, model.toString('base64'));
});

test('a device that computes answers its probe, and the cell is gone afterwards', async () => {
  const probe = probeDevice('cpu', factory('cell'), systemClock);
  const result = await within(probe.result, 'the probe');
  assert.match(result.reason, /^answered its probe in \d+ ms$/);
  assert.equal(result.usable, true);
  await within(probe.ended, 'the end of the cell');
});

test('a device nobody compiled in is unusable with a reason', async () => {
  const probe = probeDevice('dml:0', factory('cell'), systemClock);
  assert.deepEqual(await within(probe.result, 'the probe'), { usable: false, reason: "device dml:0: this build of onnxruntime has no provider 'dml'" });
  await within(probe.ended, 'the end of the cell');
});

test('canceled: the probe ends at once and says so', async () => {
  const probe = probeDevice('cpu', factory('cell'), systemClock);
  probe.cancel();
  const result = await within(probe.result, 'the probe');
  assert.equal(result.usable, false);
  await within(probe.ended, 'the end of the cell');
});
