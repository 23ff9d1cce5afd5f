/** The committed digits model: held-out digits, the golden of the host file, and rows of a batch against single runs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { repositoryRoot } from '../support/root.js';

const demo = join(repositoryRoot(), 'demo');
const PIXELS = 28 * 28;

interface Sample {
  readonly digits: readonly { readonly label: number; readonly pixels: string }[];
}
const { digits } = JSON.parse(readFileSync(join(demo, 'models', 'digits-sample.json'), 'utf8')) as Sample;
const images = digits.map(({ pixels }) => Float32Array.from(Buffer.from(pixels, 'base64'), (value) => value / 255));

let session: InferenceSession;
before(async () => {
  session = await InferenceSession.create(join(demo, 'models', 'digits.onnx'), { intraOpNumThreads: 1, interOpNumThreads: 1 });
});

async function score(data: Float32Array): Promise<Float32Array> {
  const { scores } = await session.run({ image: new Tensor('float32', data, [data.length / PIXELS, 1, 28, 28]) });
  return scores!.data as Float32Array;
}

test('digits: names every digit of the sample', async () => {
  for (const [index, { label }] of digits.entries()) {
    const scores = await score(images[index]!);
    assert.equal(scores.indexOf(Math.max(...scores)), label);
  }
});

for (const rows of [2, 5, 10]) {
  test(`digits: a batch of ${rows} rows equals ${rows} single runs bit for bit`, async () => {
    const batch = new Float32Array(rows * PIXELS);
    for (let row = 0; row < rows; row++) batch.set(images[row]!, row * PIXELS);
    const together = await score(batch);
    for (let row = 0; row < rows; row++) assert.deepEqual(together.slice(row * 10, row * 10 + 10), await score(images[row]!));
  });
}

test('digits: answers the golden of demo/host.json', async () => {
  interface Golden {
    readonly inputs: { readonly image: { readonly data: number[] } };
    readonly outputs: { readonly scores: { readonly data: number[] } };
    readonly tolerance: number;
  }
  const host = JSON.parse(readFileSync(join(demo, 'host.json'), 'utf8')) as { actors: { name: string; golden?: Golden }[] };
  const { golden } = host.actors.find(({ name }) => name === 'digits')!;
  const scores = await score(Float32Array.from(golden!.inputs.image.data));
  golden!.outputs.scores.data.forEach((wanted, index) => assert.ok(Math.abs(scores[index]! - wanted) <= golden!.tolerance, `score ${index}`));
});
