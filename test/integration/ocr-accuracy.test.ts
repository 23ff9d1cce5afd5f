/**
 * The sample pages, read by the whole demo: a host, four actors, real models, nested calls.
 *
 * The bounds are those the README promises; spaces count. What the models read is the same on every machine up to
 * rounding, so the distance to the bounds is wide and the test asserts nothing finer.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createHost } from '../../src/index.js';
import type { ReceivedTensors, Tensors } from '../../demo/ocr/inference.js';
import { characterAccuracy, characterAccuracyWithoutSpaces, pageFile, readTruth } from '../support/accuracy.js';
import { repositoryRoot } from '../support/root.js';

type Infer = (actor: string, inputs: Tensors) => Promise<{ readonly outputs: ReceivedTensors }>;

const pages = [
  { file: 'invoice.png', atLeast: 0.98 },
  { file: 'columns.png', atLeast: 0.98 },
  { file: 'scan.jpg', atLeast: 0.93 },
];

const models = join(repositoryRoot(), 'node_modules', '@gutenye', 'ocr-models', 'assets');
const actors = [
  { name: 'ocr-det', model: join(models, 'ch_PP-OCRv4_det_infer.onnx') },
  { name: 'ocr-cls', model: join(models, 'ch_ppocr_mobile_v2.0_cls_infer.onnx') },
  { name: 'ocr-rec', model: join(models, 'ch_PP-OCRv4_rec_infer.onnx'), replicas: 2 },
  // The compiled module lies beside this compiled test, whichever folder both were compiled into.
  { name: 'ocr-page', module: fileURLToPath(new URL('../../demo/ocr/ocr-page.js', import.meta.url)), timeoutMs: 30_000, hangMs: 30_000 },
];

const image = (bytes: Uint8Array): Tensors => ({ image: { datatype: 'BYTES', shape: [1], data: [bytes] } });

function texts(outputs: ReceivedTensors, name: string): string[] {
  const data = outputs[name]?.data;
  assert.ok(Array.isArray(data), `${name}: a BYTES tensor`);
  return data.map((bytes: Uint8Array) => Buffer.from(bytes).toString('utf8'));
}

function numbers(outputs: ReceivedTensors, name: string): Float32Array {
  const data = outputs[name]?.data;
  assert.ok(data instanceof Float32Array, `${name}: an FP32 tensor`);
  return data;
}

async function readPage(file: string, infer: Infer): Promise<{ lines: string[]; outputs: ReceivedTensors }> {
  const { outputs } = await infer('ocr-page', image(readFileSync(pageFile(file))));
  return { lines: texts(outputs, 'text'), outputs };
}

test('ocr-page: the demo reads its sample pages', { timeout: 180_000 }, async (t) => {
  await using host = await createHost({ actors });
  const infer: Infer = (actor, inputs) => host.infer(actor, inputs, { timeoutMs: 30_000 });
  const read = new Map<string, { lines: string[]; outputs: ReceivedTensors }>();
  for (const { file } of pages) read.set(file, await readPage(file, infer));

  for (const { file, atLeast } of pages) {
    await t.test(`${file}: at least ${atLeast} of the characters`, async () => {
      const { lines, outputs } = read.get(file)!;
      const truth = readTruth(file.replace(/\..*/, ''));
      const text = lines.join('\n');
      const accuracy = characterAccuracy(text, truth);
      t.diagnostic(`${file}: ${accuracy.toFixed(4)}, without spaces ${characterAccuracyWithoutSpaces(text, truth).toFixed(4)}`);
      assert.ok(accuracy >= atLeast, `read with accuracy ${accuracy}:\n${text}`);

      const confidence = numbers(outputs, 'confidence');
      assert.deepEqual(outputs['confidence']?.shape, [lines.length]);
      assert.ok(confidence.every((value) => value >= 0.5 && value <= 1));
      assert.deepEqual(outputs['boxes']?.shape, [lines.length, 4, 2]);
      assert.deepEqual(texts(outputs, 'stages'), ['decode', 'detect', 'classify', 'recognise', 'total']);
      assert.ok(numbers(outputs, 'stage_ms').every((ms) => ms > 0));
    });
  }

  await t.test('columns.png: the left column is read to its end before the right one', () => {
    const { lines } = read.get('columns.png')!;
    const text = lines.join('').replace(/\s/g, '');
    const [title, leftEnd, rightStart, rightEnd] = ['KeepingtheLight', 'boatcouldland.', 'Withthreemen', 'GannetPoint'].map((part) => text.indexOf(part));
    assert.ok(title! >= 0 && leftEnd! > title! && rightStart! > leftEnd! && rightEnd! > rightStart!, lines.join('\n'));
  });

  await t.test('scan.jpg: boxes lie along the skewed text', () => {
    const boxes = numbers(read.get('scan.jpg')!.outputs, 'boxes');
    // Top left to top right of the first line, on a page that was turned by 2.6 degrees against the clock.
    const degrees = (Math.atan2(boxes[3]! - boxes[1]!, boxes[2]! - boxes[0]!) * 180) / Math.PI;
    assert.ok(degrees < -1.6 && degrees > -3.6, `${degrees} degrees`);
  });

  await t.test('bytes that are no picture: INVALID_ARGUMENT', async () => {
    await assert.rejects(infer('ocr-page', image(Buffer.from('%PDF-1.7 is not a picture'))), { code: 'INVALID_ARGUMENT' });
  });
});
