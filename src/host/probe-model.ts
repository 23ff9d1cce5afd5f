/**
 * The smallest question that shows a device computing: y = x * x + x over a 2 x 2 matrix. The bytes are an ONNX model
 * (IR 8, opset 17: MatMul, then Add), written by test/support/onnx-fixture.ts; test/host/probe.test.ts writes them again
 * and compares.
 */
import type { NamedTensor } from '../tensor/datatype.js';
import { fromTyped } from '../tensor/typed.js';

export const probeModel =
  'CAg6YgoYCgF4CgF4EgF0GgVub2RlMCIGTWF0TXVsChUKAXQKAXgSAXkaBW5vZGUxIgNBZGQSBWdyYXBoWhMKAXgSDgoMCAESCAoCCAIKAggC' +
  'YhMKAXkSDgoMCAESCAoCCAIKAggCQgQKABAR';

const matrix = (name: string, ...data: number[]): NamedTensor => ({ name, ...fromTyped({ datatype: 'FP32', shape: [2, 2], data }) });

export const probeInputs: readonly NamedTensor[] = [matrix('x', 1, 2, 3, 4)];
export const probeOutputs: readonly NamedTensor[] = [matrix('y', 8, 12, 18, 26)];
