/**
 * Tiny ONNX models as bytes, written field by field: the tests need every datatype and runs of chosen length, and no
 * real model has them. Only as much protobuf as that takes.
 */

/** onnx.TensorProto.DataType */
export const onnxType = {
  FP32: 1, UINT8: 2, INT8: 3, UINT16: 4, INT16: 5, INT32: 6, INT64: 7, BYTES: 8, BOOL: 9, FP16: 10, FP64: 11, UINT32: 12, UINT64: 13, BF16: 16,
} as const;

interface Value {
  readonly name: string;
  readonly type: keyof typeof onnxType;
  /** A string is a symbolic dimension. */
  readonly shape: readonly (number | string)[];
}

export interface Graph {
  readonly nodes: readonly { readonly op: string; readonly inputs: readonly string[]; readonly outputs: readonly string[] }[];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

export function onnxModel({ nodes, inputs, outputs }: Graph): Buffer {
  const graph = [
    ...nodes.map((node, index) => field(1, Buffer.concat([
      ...node.inputs.map((name) => field(1, name)), ...node.outputs.map((name) => field(2, name)), field(3, `node${index}`), field(4, node.op),
    ]))),
    field(2, 'graph'),
    ...inputs.map((value) => field(11, valueInfo(value))),
    ...outputs.map((value) => field(12, valueInfo(value))),
  ];
  const opset = Buffer.concat([field(1, ''), number(2, 17)]);
  return Buffer.concat([number(1, 8), field(7, Buffer.concat(graph)), field(8, opset)]);
}

/** y = x, of any datatype. */
export function identityModel(type: keyof typeof onnxType, shape: Value['shape']): Buffer {
  return onnxModel({
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: [{ name: 'x', type, shape }],
    outputs: [{ name: 'y', type, shape }],
  });
}

/** Multiplies a square matrix with itself again and again: `steps` native steps of n^3 multiplications each. */
export function slowModel(steps: number): Buffer {
  const shape = ['n', 'n'];
  const name = (step: number): string => (step === 0 ? 'x' : step === steps ? 'y' : `t${step}`);
  return onnxModel({
    nodes: Array.from({ length: steps }, (_, step) => ({ op: 'MatMul', inputs: [name(step), 'x'], outputs: [name(step + 1)] })),
    inputs: [{ name: 'x', type: 'FP32', shape }],
    outputs: [{ name: 'y', type: 'FP32', shape }],
  });
}

function valueInfo({ name, type, shape }: Value): Buffer {
  const dimensions = shape.map((dimension) => field(1, typeof dimension === 'number' ? number(1, dimension) : field(2, dimension)));
  const tensor = Buffer.concat([number(1, onnxType[type]), field(2, Buffer.concat(dimensions))]);
  return Buffer.concat([field(1, name), field(2, field(1, tensor))]);
}

function field(id: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint(id * 8 + 2), varint(bytes.byteLength), bytes]);
}

function number(id: number, value: number): Buffer {
  return Buffer.concat([varint(id * 8), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}
