/** Bounds of the dead letters, and that they are whole after a restart. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemRandom } from '../../src/adapters/system-clock.js';
import { DeadLetters, type DeadLettersOptions, type Death } from '../../src/host/dead-letters.js';
import { decodeRequest } from '../../src/protocol/infer.js';
import { SimClock } from '../support/sim-clock.js';

const root = mkdtempSync(join(tmpdir(), 'regrow-letters-'));
after(() => rmSync(root, { recursive: true, force: true }));

const limits = { countMax: 3, bytesMax: 1 << 20, keepMs: 60_000 };
const open = (options: Partial<DeadLettersOptions> = {}): DeadLetters =>
  new DeadLetters({ limits, folder: undefined, clock: new SimClock(), random: systemRandom, log: silentLog, ...options });
const death = (name: string, bytes = 8): Death => ({
  actor: 'a', version: 'v', fingerprint: `a:v:${name}`, requestId: name, exit: 'crashed: SIGSEGV', outputs: undefined,
  inputs: [{ name: 'x', datatype: 'UINT8', shape: [bytes], data: new Uint8Array(bytes) }],
});
const names = (letters: DeadLetters): string[] => letters.list().map(({ requestId }) => requestId);

for (const place of ['in memory', 'on disk']) {
  const folder = (): string | undefined => (place === 'on disk' ? mkdtempSync(join(root, 'f-')) : undefined);

  test(`${place}: over countMax the oldest goes`, () => {
    const letters = open({ folder: folder() });
    for (const name of ['1', '2', '3', '4']) letters.add(death(name));
    assert.deepEqual(names(letters), ['4', '3', '2']);
  });

  test(`${place}: over bytesMax the oldest go; one that is larger by itself is kept by its shapes`, async () => {
    const letters = open({ folder: folder(), limits: { ...limits, bytesMax: 3000 } });
    letters.add(death('1', 1000));
    letters.add(death('2', 1000));
    letters.add(death('3', 1000));
    assert.deepEqual(names(letters), ['3', '2']);
    const large = letters.add(death('large', 5000));
    assert.match(large.notKept!, /deadLetters\.bytesMax is 3000/);
    assert.deepEqual(names(letters), ['large', '3', '2']);
    assert.equal(await letters.request(large.id), undefined);
  });

  test(`${place}: after keepMs it is gone, whether anybody looks or not`, async () => {
    const clock = new SimClock();
    const at = folder();
    const letters = open({ folder: at, clock });
    letters.add(death('1'));
    await clock.advance(59_000);
    assert.deepEqual(names(letters), ['1']);
    await clock.advance(2000);
    await letters.close();
    if (at !== undefined) assert.deepEqual(readdirSync(at), []);
    assert.deepEqual(names(letters), []);
  });

  test(`${place}: an equal request is the same letter, now the newest`, () => {
    const letters = open({ folder: folder() });
    const first = letters.add(death('1'));
    letters.add(death('2'));
    const again = letters.add(death('1'));
    assert.deepEqual([again.id, again.times, names(letters)], [first.id, 2, ['1', '2']]);
  });

  test(`${place}: the request comes back as it was`, async () => {
    const letters = open({ folder: folder() });
    const { id, request } = letters.add(death('1', 300));
    const back = decodeRequest((await letters.request(id))!, request!.jsonLength);
    assert.deepEqual([back.id, back.inputs[0]!.shape, back.inputs[0]!.data.byteLength], ['1', [300], 300]);
  });

  test(`${place}: clear takes one, or all`, async () => {
    const at = folder();
    const letters = open({ folder: at });
    const { id } = letters.add(death('1'));
    letters.add(death('2'));
    letters.add(death('3'));
    assert.deepEqual([letters.clear('no such id'), letters.clear(id), names(letters)], [0, 1, ['3', '2']]);
    assert.deepEqual([letters.clear(), names(letters)], [2, []]);
    await letters.close();
    if (at !== undefined) assert.deepEqual(readdirSync(at), []);
  });
}

test('another process finds them, in order, without leftovers; what was cut short is no request', async () => {
  const folder = mkdtempSync(join(root, 'f-'));
  const clock = new SimClock();
  const first = open({ folder, clock });
  const { id } = first.add(death('1'));
  await clock.advance(1000);
  const cut = first.add(death('2'));
  first.replayed(id, 'answered');
  await first.close();
  truncateSync(join(folder, `${cut.id}.oip`), 5);
  writeFileSync(join(folder, 'stranger.oip'), 'x');
  writeFileSync(join(folder, 'broken.json'), '{');
  const second = open({ folder, clock });
  assert.deepEqual(names(second), ['2', '1']);
  assert.equal(second.get(id)!.lastReplay!.result, 'answered');
  assert.equal(decodeRequest((await second.request(id))!, second.get(id)!.request!.jsonLength).id, '1');
  assert.match(second.get(cut.id)!.notKept!, /has 5 bytes/);
  assert.ok(!readdirSync(folder).includes('stranger.oip'));
  await second.close();
});

test('tighter bounds at the next start apply to what is there', async () => {
  const folder = mkdtempSync(join(root, 'f-'));
  const clock = new SimClock();
  const first = open({ folder, clock });
  for (const name of ['1', '2', '3']) first.add(death(name));
  await first.close();
  const second = open({ folder, clock, limits: { ...limits, countMax: 1 } });
  assert.equal(second.list().length, 1);
  await second.close();
  assert.equal(readdirSync(folder).length, 2);
});
