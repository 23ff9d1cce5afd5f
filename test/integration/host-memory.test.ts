/** A module that leaks is replaced before it hurts anybody: with overlap, under load, nothing fails. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { stageHost } from '../support/host-stage.js';
import { eventually } from '../support/lanes.js';
import { steadyLoad } from '../support/load.js';

const MiB = 1024 * 1024;
const bytesMax = 200 * MiB;

test('a leaking module is recycled with overlap: no request fails, none runs twice', async () => {
  await using stage = await stageHost({
    actors: [{ name: 'leaks', module: fileURLToPath(new URL('../fixtures/modules/leaks.js', import.meta.url)), memory: { bytesMax } }],
  });
  const victim = stage.replica('leaks');
  const x = { datatype: 'FP32' as const, shape: [1], data: [1] };
  const attempts = new Set<number>();
  const load = steadyLoad(async () => attempts.add((await stage.host.infer('leaks', { x })).attempts));
  const recycled = await stage.events.next(({ type }) => type === 'replica-ejected', 'the recycling');
  assert.match(recycled.reason, /^memory: \d+ MiB resident, bytesMax is 200 MiB$/);
  assert.equal(recycled.replica, victim.id);
  await load.answered(50);
  const { ok, failures } = await load.stop();
  assert.deepEqual(failures, []);
  assert.ok(ok > 200, `${ok} answers`);
  assert.deepEqual([...attempts], [1]);
  assert.deepEqual(stage.events.all.filter(({ type }) => type === 'replica-exit'), [], 'nothing ended by itself');
  // Proven first, then the other drains: never without a replica.
  const ready = stage.events.all.findIndex(({ type, replica }) => type === 'replica-ready' && replica !== victim.id);
  assert.ok(ready >= 0 && ready < stage.events.all.indexOf(recycled));
  await eventually(() => stage.replica('leaks')?.memoryBytes > 0 && stage.actor('leaks').replicas.length === 1, 'the old one off the board');
  const now = stage.replica('leaks');
  assert.notEqual(now.pid, victim.pid);
  assert.ok(now.memoryBytes < bytesMax, `${now.memoryBytes / MiB} MiB`);
});
