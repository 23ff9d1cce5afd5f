/** Decoding, ordering of work and the borders of the demo's page reader, with models that are a few lines long. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import sharp from 'sharp';
import { decodeCtc } from '../../demo/ocr/ctc.js';
import { loadDictionary, parseDictionary } from '../../demo/ocr/dictionary.js';
import { inOrder } from '../../demo/ocr/in-order.js';
import type { Infer, Tensors } from '../../demo/ocr/inference.js';
import { run } from '../../demo/ocr/ocr-page.js';
import { characterAccuracy, characterAccuracyWithoutSpaces, readTruth } from '../support/accuracy.js';

const dictionary = parseDictionary('a\nb\nc\n');

/** One step per character of `best` ('-' = blank), each with `space` as the probability of a space. */
function steps(best: string, space: readonly number[] = []): Float32Array {
  const columns = ['-', 'a', 'b', 'c', ' '];
  return Float32Array.from([...best].flatMap((wanted, step) => columns.map((column) => (column === wanted ? 0.9 : column === ' ' ? (space[step] ?? 0) : 0))));
}

test('parseDictionary: blank first, space last, any line ending', () => {
  assert.deepEqual(parseDictionary('x\r\ny'), ['', 'x', 'y', ' ']);
});

test('loadDictionary: as many characters as the model has columns', async () => {
  assert.equal((await loadDictionary()).length, 6625);
});

for (const [best, text] of [['aab-bc', 'abbc'], ['--a--', 'a'], ['-----', ''], ['a a', 'a a'], [' ab', 'ab'], ['ab ', 'ab']] as const) {
  test(`decodeCtc: "${best}" is "${text}"`, () => {
    assert.equal(decodeCtc(steps(best), best.length, dictionary).text, text);
  });
}

test('decodeCtc: a space that is likely enough is read though it is nowhere the likeliest', () => {
  assert.equal(decodeCtc(steps('a-b-c', [0, 0.2, 0, 0.01, 0]), 5, dictionary).text, 'a bc');
});

test('decodeCtc: confidence is the mean of the characters, 0 without any', () => {
  assert.ok(Math.abs(decodeCtc(steps('a-b'), 3, dictionary).confidence - 0.9) < 1e-6);
  assert.equal(decodeCtc(steps('---'), 3, dictionary).confidence, 0);
});

test('characterAccuracy: line ends are spaces, runs of spaces are one, each edit costs one character', () => {
  assert.equal(characterAccuracy('ab  cd\n', 'ab\ncd'), 1);
  assert.equal(characterAccuracy('abcd', 'ab cd'), 0.8);
  assert.equal(characterAccuracyWithoutSpaces('abcd', 'ab cd'), 1);
  assert.equal(characterAccuracy('xyz', 'abc'), 0);
  assert.equal(characterAccuracy('much longer than the truth', 'abc'), 0);
  assert.equal(characterAccuracy('kitten', 'sitting'), 1 - 3 / 7);
});

test('readTruth: every page has its text', () => {
  for (const page of ['invoice', 'columns', 'scan']) assert.ok(readTruth(page).length > 500, page);
});

test('inOrder: results in order of the list, never more at once than asked for', async () => {
  const release: (() => void)[] = [];
  let busy = 0;
  let busiest = 0;
  const results = inOrder([0, 1, 2, 3, 4], 2, async (item) => {
    busiest = Math.max(busiest, ++busy);
    await new Promise<void>((resolve) => release.push(resolve));
    busy--;
    return item * 10;
  });
  // The latest to start ends first, until all have run.
  for (let ended = 0; ended < 5; ended++) {
    release.pop()!();
    await new Promise(setImmediate);
  }
  assert.deepEqual(await results, [0, 10, 20, 30, 40]);
  assert.equal(busiest, 2);
});

test('inOrder: the first failure is thrown and nothing new is started', async () => {
  const started: number[] = [];
  const work = inOrder([0, 1, 2, 3], 1, async (item) => {
    started.push(item);
    if (item === 1) throw new Error('model lost');
  });
  await assert.rejects(work, /model lost/);
  assert.deepEqual(started, [0, 1]);
});

const signal = new AbortController().signal;
const page = (bytes: Uint8Array): Tensors => ({ image: { datatype: 'BYTES', shape: [1], data: [bytes] } });
const white = (width: number, height: number): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 3, background: '#fff' } }).png().toBuffer();

/** `ocr-det` sees one bar of text where `bar` says, `ocr-cls` finds it upright, `ocr-rec` reads what it is told. */
function models(best: string, bar?: { left: number; right: number; top: number; bottom: number }): { infer: Infer; asked: string[] } {
  const asked: string[] = [];
  const answer = (shape: number[], data: Float32Array): { outputs: Tensors } => ({ outputs: { out: { datatype: 'FP32', shape, data } } });
  const infer: Infer = async (actor, inputs) => {
    const [rows = 0, , height = 0, width = 0] = inputs['x']!.shape;
    asked.push(`${actor} ${inputs['x']!.shape.join('x')}`);
    if (actor === 'ocr-cls') return answer([rows, 2], Float32Array.from({ length: rows * 2 }, (_, index) => (index % 2 === 0 ? 1 : 0)));
    if (actor === 'ocr-rec') return answer([1, best.length, 5], steps(best));
    const map = new Float32Array(width * height);
    for (let y = bar?.top ?? 1; y <= (bar?.bottom ?? 0); y++) map.fill(1, y * width + bar!.left, y * width + bar!.right + 1);
    return answer([1, 1, height, width], map);
  };
  return { infer, asked };
}

test('ocr-page: an empty sheet is no text, not an error, and asks no further models', async () => {
  const { infer, asked } = models('');
  const outputs = await run({ dictionary }, page(await white(320, 160)), { infer, signal });
  assert.deepEqual(outputs['text'], { datatype: 'BYTES', shape: [0], data: [] });
  assert.deepEqual(outputs['boxes']?.shape, [0, 4, 2]);
  assert.deepEqual(asked, ['ocr-det 1x3x160x320']);
});

test('ocr-page: one bar of text becomes one line with a wider box around it', async () => {
  const { infer, asked } = models('a-b', { left: 100, right: 200, top: 60, bottom: 70 });
  const outputs = await run({ dictionary }, page(await white(320, 160)), { infer, signal });
  assert.deepEqual((outputs['text']!.data as Uint8Array[]).map((bytes) => Buffer.from(bytes).toString()), ['ab']);
  // A core of 100 x 10 is widened by 100 * 10 / 220 * 1.6 = 7.27 on each side.
  const corners = [...(outputs['boxes']!.data as Float32Array)].map((value) => Math.round(value));
  assert.deepEqual(corners, [93, 53, 207, 53, 207, 77, 93, 77]);
  assert.deepEqual(asked, ['ocr-det 1x3x160x320', 'ocr-cls 1x3x48x192', 'ocr-rec 1x3x48x320']);
});

const refused: readonly [string, () => Promise<Uint8Array>, RegExp][] = [
  ['no bytes', async () => new Uint8Array(0), /empty/],
  ['bytes that are no picture', async () => Buffer.from('hello'), /not a PNG or JPEG/],
  ['a picture in another format', () => sharp({ create: { width: 40, height: 40, channels: 3, background: '#fff' } }).webp().toBuffer(), /webp is not read/],
  ['a file that ends too early', async () => (await sharp({ create: { width: 200, height: 200, channels: 3, background: '#fff', noise: { type: 'gaussian', mean: 128, sigma: 30 } } }).png().toBuffer()).subarray(0, 5000), /damaged/],
  ['a sliver', () => white(5, 300), /too small/],
  ['more pixels than the bound', () => white(9000, 5000), /more than 40000000 pixels/],
];
for (const [name, bytes, message] of refused) {
  test(`ocr-page: ${name}: INVALID_ARGUMENT`, async () => {
    const { infer, asked } = models('');
    await assert.rejects(run({ dictionary }, page(await bytes()), { infer, signal }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'INVALID_ARGUMENT');
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(asked, []);
  });
}

test('ocr-page: what a model refuses reaches the caller unchanged', async () => {
  const lost = Object.assign(new Error('ocr-det: nothing ready'), { code: 'UNAVAILABLE' });
  const infer: Infer = async () => {
    throw lost;
  };
  await assert.rejects(run({ dictionary }, page(await white(64, 64)), { infer, signal }), lost);
});
