/** Pinned bytes are kept by hash, and only as long as somebody runs them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../src/adapters/pino-log.js';
import { Pins } from '../../src/host/pins.js';
import { parseHost } from '../../src/spec/host.js';
import type { ActorSpec } from '../../src/spec/actor.js';

const root = mkdtempSync(join(tmpdir(), 'regrow-pins-'));
after(() => rmSync(root, { recursive: true, force: true }));

const sha = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');

function stage(content: string | Buffer = 'bytes'): { readonly dir: string; readonly model: string; readonly models: string; readonly pins: Pins; spec(more?: object): ActorSpec } {
  const dir = mkdtempSync(join(root, 's-'));
  const model = join(dir, 'model.onnx');
  writeFileSync(model, content);
  const models = join(dir, 'models');
  return {
    dir, model, models,
    pins: new Pins(models, silentLog),
    spec(more = {}) {
      const parsed = parseHost({ actors: [{ name: 'm', model, ...more }] }, { cores: 1, resolve: (path) => path });
      assert.ok(parsed.ok);
      return parsed.spec.actors[0]!;
    },
  };
}

test('a model is kept by its hash, read-only, and is another file than the original', async () => {
  const { pins, spec, model, models } = stage();
  const pin = await pins.pin(spec());
  assert.deepEqual([pin.file, pin.sha256, pin.version, pin.keptFile], [model, sha('bytes'), sha('bytes').slice(0, 12), join(models, `${sha('bytes')}.onnx`)]);
  assert.equal(statSync(pin.keptFile!).mode & 0o777, 0o400);
  writeFileSync(model, 'other');
  assert.equal(readFileSync(pin.keptFile!, 'utf8'), 'bytes');
});

test('pinned again: changed bytes are a second copy, and collect leaves only what is in force', async () => {
  const { pins, spec, model, models } = stage();
  const first = await pins.pin(spec());
  writeFileSync(model, 'other');
  const second = await pins.pin(spec());
  assert.notEqual(second.sha256, first.sha256);
  assert.equal(readdirSync(models).length, 2);
  writeFileSync(join(models, '1-1.tmp'), 'a draft somebody died over');
  await pins.collect([second]);
  assert.deepEqual(readdirSync(models), [`${second.sha256}.onnx`]);
});

test('a kept copy that rotted is replaced', async () => {
  const { pins, spec } = stage();
  const { keptFile } = await pins.pin(spec());
  chmodSync(keptFile!, 0o600);
  writeFileSync(keptFile!, 'rot');
  await pins.pin(spec());
  assert.equal(readFileSync(keptFile!, 'utf8'), 'bytes');
});

test('the spec demands a hash the file does not have: the kept copy of it is used, else none', async () => {
  const { pins, spec, model, models } = stage();
  const wanted = sha('bytes');
  await pins.pin(spec());
  writeFileSync(model, 'other');
  assert.equal((await pins.pin(spec({ sha256: wanted }))).keptFile, join(models, `${wanted}.onnx`));
  rmSync(model);
  assert.equal((await pins.pin(spec({ sha256: wanted }))).keptFile, join(models, `${wanted}.onnx`));
  assert.deepEqual([(await pins.pin(spec({ sha256: sha('never seen') }))).keptFile, (await pins.pin(spec())).sha256], [undefined, undefined]);
});

test('weights in files of their own: pinned, not kept, wherever the name of the file lies in the model', async () => {
  const entry = Buffer.from('\n\blocation\u0012\u000cweights.data');
  for (const at of [0, 10, (1 << 20) - 4, 1 << 20]) {
    const { pins, spec, models } = stage(Buffer.concat([Buffer.alloc(at), entry, Buffer.alloc(100)]));
    const pin = await pins.pin(spec());
    assert.equal(pin.sha256?.length, 64);
    assert.equal(pin.keptFile, undefined, `at ${at}`);
    assert.ok(!existsSync(models));
  }
});

test('without a folder nothing is kept; modules never are', async () => {
  const { model, models, pins, spec } = stage();
  assert.equal((await new Pins(undefined, silentLog).pin(spec())).keptFile, undefined);
  assert.equal((await pins.pin(spec({ model: undefined, module: model }))).keptFile, undefined);
  assert.ok(!existsSync(models));
});
