/** The quarantine on its way to the next process. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { quarantineFile } from '../../src/host/quarantine-file.js';
import { SharedServing } from '../../src/serving/shared.js';
import { fastHash } from '../../src/tensor/digest.js';
import { SimClock } from '../support/sim-clock.js';

const folder = mkdtempSync(join(tmpdir(), 'regrow-quarantine-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** One process: its own monotonic clock, and a wall clock that may differ from the last one's. */
function life(path: string, wallMs: number) {
  const sim = new SimClock();
  const clock = Object.assign(Object.create(sim) as SimClock, { wallTime: () => wallMs + sim.now(), now: () => sim.now() });
  const shared = new SharedServing({ clock, queueBytesMax: 1, holdMs: 1, hash: fastHash });
  const logged: string[] = [];
  const file = quarantineFile(path, shared, { clock, log: { log: (_level, event) => void logged.push(event) } });
  return { sim, shared, file, logged, has: (print: string) => shared.isQuarantined(() => print, sim.now()) };
}

const start = Date.parse('2026-01-01T00:00:00Z');

test('restored with the time that is left', async () => {
  const path = join(folder, `${++files}.json`);
  const first = life(path, start);
  first.shared.quarantine('long', 0, 10_000);
  first.shared.quarantine('short', 0, 1000);
  first.file.save();
  const second = life(path, start + 4000);
  second.file.restore();
  assert.deepEqual([second.has('long'), second.has('short'), second.has('other')], [true, false, false]);
  await second.sim.advance(5900);
  assert.equal(second.has('long'), true);
  await second.sim.advance(200);
  assert.equal(second.has('long'), false);
});

test('a wall clock that was set back refuses nobody longer than was decided', async () => {
  const path = join(folder, `${++files}.json`);
  const first = life(path, start);
  first.shared.quarantine('p', 0, 10_000);
  first.file.save();
  const second = life(path, start - 86_400_000);
  second.file.restore();
  assert.equal(second.has('p'), true);
  await second.sim.advance(10_001);
  assert.equal(second.has('p'), false);
});

test('released is released, also for the next process', () => {
  const path = join(folder, `${++files}.json`);
  const first = life(path, start);
  first.shared.quarantine('p', 0, 10_000);
  first.shared.quarantine('q', 0, 10_000);
  assert.deepEqual([first.shared.release('p'), first.shared.release('p')], [true, false]);
  first.file.save();
  const second = life(path, start);
  second.file.restore();
  assert.deepEqual([second.has('p'), second.has('q')], [false, true]);
});

for (const [what, content] of Object.entries({ 'half a file': '[{"fing', 'no list': '{}', 'foreign entries': '[null]' })) {
  test(`${what}: taken for empty, and said`, () => {
    const path = join(folder, `${++files}.json`);
    writeFileSync(path, content);
    const host = life(path, start);
    host.file.restore();
    assert.deepEqual([host.shared.quarantined(), host.logged], [[], ['quarantine-unreadable']]);
  });
}

test('no file yet: nothing to say', () => {
  const host = life(join(folder, 'absent.json'), start);
  host.file.restore();
  assert.deepEqual(host.logged, []);
});
