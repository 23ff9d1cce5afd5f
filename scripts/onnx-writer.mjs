/**
 * Writes the part of the ONNX file format that a small feed-forward network needs: float32 weights, operators with
 * integer attributes, one symbolic dimension. Equal input gives equal bytes, so a model can be rebuilt and compared.
 *
 * The format is protobuf; the field numbers are those of onnx.proto (ONNX IR version 8). It deliberately does not
 * check the graph: onnxruntime does that when it loads the file.
 */

/** Unsigned variable-length integer. */
function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, payload) => Buffer.concat([varint((field << 3) | 2), varint(payload.length), payload]);
const string = (field, text) => bytes(field, Buffer.from(text, 'utf8'));
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const FLOAT = 1;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

function attribute([name, value]) {
  return Array.isArray(value)
    ? message(5, string(1, name), ...value.map((item) => integer(8, item)), integer(20, ATTRIBUTE_INTS))
    : message(5, string(1, name), integer(3, value), integer(20, ATTRIBUTE_INT));
}

function node({ operator, inputs, outputs, attributes = {} }) {
  return message(
    1,
    ...inputs.map((name) => string(1, name)),
    ...outputs.map((name) => string(2, name)),
    string(3, outputs[0]),
    string(4, operator),
    ...Object.entries(attributes).map(attribute),
  );
}

function weight({ name, shape, values }) {
  const raw = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => raw.writeFloatLE(value, index * 4));
  return message(5, ...shape.map((size) => integer(1, size)), integer(2, FLOAT), string(8, name), bytes(9, raw));
}

/** A string in `shape` names a free dimension. */
function valueType(field, { name, shape }) {
  const dimensions = shape.map((size) => message(1, typeof size === 'string' ? string(2, size) : integer(1, size)));
  return message(field, string(1, name), message(2, message(1, integer(1, FLOAT), message(2, ...dimensions))));
}

/**
 * @param {{ name: string, opset: number, inputs: {name: string, shape: (number|string)[]}[],
 *   outputs: {name: string, shape: (number|string)[]}[], weights: {name: string, shape: number[], values: Float32Array}[],
 *   nodes: {operator: string, inputs: string[], outputs: string[], attributes?: Record<string, number | number[]>}[] }} graph
 * @returns {Buffer} the bytes of an .onnx file
 */
export function onnxModel(graph) {
  return Buffer.concat([
    integer(1, 8),
    string(2, 'regrow'),
    message(
      7,
      ...graph.nodes.map(node),
      string(2, graph.name),
      ...graph.weights.map(weight),
      ...graph.inputs.map((input) => valueType(11, input)),
      ...graph.outputs.map((output) => valueType(12, output)),
    ),
    message(8, integer(2, graph.opset)),
  ]);
}
