/** Models of the store as files: whole, verified, fetched once, and kept as long as there is room. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { Models } from '../../src/host/models.js';
import { Pins, draftOf } from '../../src/host/pins.js';
import { StoreError, type Objects } from '../../src/ports.js';
import { desiredSpec } from '../../src/spec/desired.js';
import { parseHost } from '../../src/spec/host.js';

const root = mkdtempSync(join(tmpdir(), 'regrow-models-test-'));
after(() => rmSync(root, { recursive: true, force: true }));

const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const PLENTY_MS = 20_000;
const WATCHDOG = { timeout: 30_000 };

async function* chunks(...texts: (string | Error)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    if (text instanceof Error) throw text;
    yield bytes(text);
  }
}

/** Each `get` takes the next of these; the last one stays. */
function stage(...answers: (() => AsyncIterable<Uint8Array> | undefined)[]) {
  let gets = 0;
  const objects = {
    async get() {
      const answer = answers[Math.min(gets++, answers.length - 1)]!;
      return answer();
    },
  } as unknown as Objects;
  const folder = join(mkdtempSync(join(root, 's-')), 'models');
  const models = new Models({ folder, objects: () => objects, clock: systemClock, random: systemRandom, log: silentLog });
  return { folder, models, gets: () => gets };
}

test('fetched: whole, verified, read-only, by its hash; two who ask at once make one download, and later ones none', WATCHDOG, async () => {
  const { folder, models, gets } = stage(() => chunks('the ', 'model'));
  const hash = sha('the model');
  const [file, same] = await Promise.all([models.ensure(hash, PLENTY_MS), models.ensure(hash, PLENTY_MS)]);
  assert.deepEqual([file, same, gets()], [join(folder, `${hash}.onnx`), models.place(hash), 1]);
  assert.equal(readFileSync(file, 'utf8'), 'the model');
  assert.equal(statSync(file).mode & 0o777, 0o400);
  await models.ensure(hash, PLENTY_MS);
  assert.equal(gets(), 1);
  assert.deepEqual(readdirSync(folder), [`${hash}.onnx`]);
});

test('a transfer that breaks, a store that is down and other bytes are tried again; nothing half is left', WATCHDOG, async () => {
  const { folder, models, gets } = stage(
    () => chunks('the ', new StoreError('UNKNOWN', 'gone in the middle')),
    () => { throw new StoreError('DOWN', 'no store'); },
    () => chunks('other bytes'),
    () => chunks('the model'),
  );
  const file = await models.ensure(sha('the model'), PLENTY_MS);
  assert.equal(readFileSync(file, 'utf8'), 'the model');
  assert.equal(gets(), 4);
  assert.equal(readdirSync(folder).length, 1);
});

test('a copy that rotted is fetched again', WATCHDOG, async () => {
  const { models, gets } = stage(() => chunks('the model'));
  const file = await models.ensure(sha('the model'), PLENTY_MS);
  chmodSync(file, 0o600);
  writeFileSync(file, 'rot');
  await models.ensure(sha('the model'), PLENTY_MS);
  assert.deepEqual([readFileSync(file, 'utf8'), gets()], ['the model', 2]);
});

for (const [what, answer, reason] of [
  ['a model the store does not have', () => undefined, /could not be fetched: the store has no such model; regrow push FILE/],
  ['bytes that are not what the name says', () => chunks('evil'), new RegExp(`has the hash ${sha('evil')}`)],
  ['a store that never answers', () => new Promise(() => {}) as never, /no answer from the store yet/],
] as const) {
  test(`${what}: refused at the deadline with the reason, no file`, WATCHDOG, async () => {
    const { folder, models } = stage(answer);
    await assert.rejects(models.ensure(sha('the model'), 50), reason);
    assert.deepEqual(existsSync(folder) ? readdirSync(folder) : [], []);
  });
}

test('without a dataDir: a folder that goes with the host', WATCHDOG, async () => {
  const objects = { get: async () => chunks('the model') } as unknown as Objects;
  const models = new Models({ folder: undefined, objects: () => objects, clock: systemClock, random: systemRandom, log: silentLog });
  const file = await models.ensure(sha('the model'), PLENTY_MS);
  assert.equal(readFileSync(file, 'utf8'), 'the model');
  await models.close();
  assert.ok(!existsSync(dirname(file)));
});

test('without a store: refused by name', WATCHDOG, async () => {
  const models = new Models({ folder: join(root, 'none'), objects: () => undefined, clock: systemClock, random: systemRandom, log: silentLog });
  await assert.rejects(models.ensure(sha('x'), 10), /no store/);
});

test('a spec of a host file without a dataDir gets its place; other specs stay the very same', () => {
  const { models, folder } = stage(() => undefined);
  const parsed = parseHost({ actors: [{ name: 'm', model: `sha256:${sha('x')}` }, { name: 'n', model: 'n.onnx' }] }, { cores: 1, resolve: (path) => path });
  assert.ok(parsed.ok);
  const [stored, plain] = parsed.spec.actors;
  assert.equal(models.placed(stored!).file, join(folder, `${sha('x')}.onnx`));
  assert.equal(models.placed(plain!), plain);
});

test('what was fetched is what its spec pins', WATCHDOG, async () => {
  const { folder, models } = stage(() => chunks('the model'));
  const hash = sha('the model');
  const parsed = desiredSpec({ name: 'm', model: `sha256:${hash}` }, { cores: 1, modules: {}, modelFile: (sha256) => models.place(sha256) });
  assert.ok(parsed.ok);
  const file = await models.ensure(hash, PLENTY_MS);
  const pin = await new Pins(folder, silentLog).pin(parsed.spec);
  assert.deepEqual([pin.file, pin.keptFile, pin.sha256, pin.version], [file, file, hash, hash.slice(0, 12)]);
});

test('collect: used ones, downloads under way and the unused that were used last stay, up to the bound', async () => {
  const folder = mkdtempSync(join(root, 'c-'));
  const put = (name: string, second: number): string => {
    writeFileSync(join(folder, name), '0123456789');
    utimesSync(join(folder, name), second, second);
    return name;
  };
  const [used, loading, newest, middle] = [put('aa.onnx', 1), put('bb.onnx', 1), put('cc.onnx', 9), put('dd.onnx', 8)];
  put('ee.onnx', 7);
  put('1-1.tmp', 10);
  put('ff.onnx.1.part', 10);
  const draft = draftOf('gg.onnx');
  put(draft, 1);
  const pins = new Pins(folder, silentLog);
  await pins.collect([{ file: '', sha256: 'aa', version: '' }], { alsoUsed: ['bb'], unusedBytesMax: 25 });
  assert.deepEqual(readdirSync(folder).sort(), [used, loading, newest, middle, draft].sort());
});
