import assert from 'node:assert/strict';
import { test } from 'node:test';
import { afterFailure, chooseDevice, nextRetryMs, paused, released, RETRY_MAX_MS, type DeviceState, type Pause } from '../../src/policy/devices.js';

const states = (record: Readonly<Record<string, DeviceState['state']>>): Map<string, DeviceState> =>
  new Map(Object.entries(record).map(([id, state]) => [id, { state, reason: 'why' }]));
const failed = (untilMs: number): Pause => ({ failures: 1, failedMs: 0, untilMs, reason: 'gave up' });
const choose = (wanted: string[], devices: Readonly<Record<string, DeviceState['state']>>, pauses: Readonly<Record<string, number>> = {}, present?: string) =>
  chooseDevice({ wanted, states: states(devices), pauses: new Map(Object.entries(pauses).map(([id, untilMs]) => [id, failed(untilMs)])), present }, 1000);

const cell = ['cuda:0', 'cpu'];

test('the first usable device of the list, in the list\'s order', () => {
  assert.deepEqual(choose(cell, { cpu: 'usable', 'cuda:0': 'usable' }), { to: 'device', device: 'cuda:0' });
  assert.deepEqual(choose(['cpu', 'cuda:0'], { cpu: 'usable', 'cuda:0': 'usable' }), { to: 'device', device: 'cpu' });
});

test('a device the host does not have is passed over and degrades nothing', () => {
  assert.deepEqual(choose(cell, { cpu: 'usable' }), { to: 'device', device: 'cpu' });
  assert.deepEqual(choose(['cuda:0'], { cpu: 'usable' }), { to: 'nowhere', reason: 'no usable device: none of [cuda:0] is here' });
});

for (const state of ['fenced', 'unusable'] as const) {
  test(`a device that is ${state} is passed over, and the answers say so`, () => {
    assert.deepEqual(choose(cell, { cpu: 'usable', 'cuda:0': state }), { to: 'device', device: 'cpu', degraded: `cuda:0 ${state}: why, served on cpu` });
    assert.deepEqual(choose(['cuda:0'], { 'cuda:0': state }), { to: 'nowhere', reason: `no usable device: cuda:0 ${state}: why` });
  });
}

test('a device that is being probed is waited for, but not behind a usable one', () => {
  assert.deepEqual(choose(cell, { cpu: 'usable', 'cuda:0': 'probing' }), { to: 'wait', reason: 'cuda:0 is being probed' });
  assert.deepEqual(choose(['cpu', 'cuda:0'], { cpu: 'usable', 'cuda:0': 'probing' }), { to: 'device', device: 'cpu' });
});

test('a placement that failed is passed over until its pause is over', () => {
  assert.deepEqual(choose(cell, { cpu: 'usable', 'cuda:0': 'usable' }, { 'cuda:0': 1001 }), { to: 'device', device: 'cpu', degraded: 'cuda:0 failed: gave up, served on cpu' });
  assert.deepEqual(choose(cell, { cpu: 'usable', 'cuda:0': 'usable' }, { 'cuda:0': 1000 }), { to: 'device', device: 'cuda:0' });
});

test('all usable devices failed: the last resort is where it is, else the last of the list', () => {
  const devices = { cpu: 'usable', 'cuda:0': 'usable' } as const;
  const pauses = { 'cuda:0': 2000, cpu: 2000 };
  assert.deepEqual(choose(cell, devices, pauses, 'cuda:0'), { to: 'last-resort', device: 'cuda:0' }, 'nothing it would rather be on stands against it');
  assert.deepEqual(choose(cell, devices, pauses), { to: 'last-resort', device: 'cpu', degraded: 'cuda:0 failed: gave up, served on cpu' });
  assert.deepEqual(choose(cell, { ...devices, 'cuda:0': 'fenced' }, pauses, 'cuda:0'), { to: 'last-resort', device: 'cpu', degraded: 'cuda:0 fenced: why, served on cpu' });
});

test('pauses: 30 s, doubling to 15 min', () => {
  const waits: number[] = [];
  let pause: Pause | undefined;
  for (let nowMs = 0; waits.length < 8; nowMs = pause!.untilMs) {
    pause = afterFailure(pause, 'x', nowMs);
    waits.push((pause.untilMs - nowMs) / 1000);
  }
  assert.deepEqual(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
});

test('pauses: a failure soon after a return goes on doubling, one after 15 good minutes starts anew', () => {
  const third = afterFailure(afterFailure(afterFailure(undefined, 'x', 0), 'x', 30_000), 'x', 90_000);
  assert.equal(third.failures, 3);
  assert.equal(afterFailure(third, 'x', third.untilMs + RETRY_MAX_MS - 1).failures, 4);
  assert.equal(afterFailure(third, 'x', third.untilMs + RETRY_MAX_MS).failures, 1);
});

test('released: nothing stands against it, and its failures are not forgotten at once', () => {
  const pause = afterFailure(undefined, 'x', 0);
  assert.equal(paused(pause, 1000), true);
  const free = released(pause, 1000);
  assert.deepEqual([paused(free, 1000), afterFailure(free, 'x', 2000).failures], [false, 2]);
});

test('the next look is at the earliest pause on a usable device', () => {
  const pauses = new Map([['cuda:0', failed(5000)], ['cuda:1', failed(3000)], ['cpu', failed(500)]]);
  const at = (record: Readonly<Record<string, DeviceState['state']>>): number | undefined => nextRetryMs({ states: states(record), pauses }, 1000);
  assert.equal(at({ 'cuda:0': 'usable', 'cuda:1': 'usable', cpu: 'usable' }), 2000);
  assert.equal(at({ 'cuda:0': 'usable', 'cuda:1': 'fenced', cpu: 'usable' }), 4000);
  assert.equal(at({ 'cuda:0': 'fenced', 'cuda:1': 'fenced', cpu: 'usable' }), undefined);
});
