/**
 * Several requests as one, and one answer as several: concat and split along an axis per tensor.
 *
 * Bit-exact, no padding: only requests of equal shape share a batch (`batchKey`), because padding changes what
 * convolutions answer. A tensor without an axis (null) is shared: every request must bring the same bytes. Does not
 * decide when to batch; along the outermost axis splitting makes views, not copies.
 */
import { elementBytes } from './datatype.js';
import type { NamedTensor, Tensor } from './datatype.js';
import { decodeBytes, encodeBytes } from './bytes.js';
import { equalBytes } from './compare.js';
import { fastHash } from './digest.js';
import { checkShape, shapeText, TensorError } from './shape.js';

/** Axis per tensor name; null = shared by the whole batch; 0 for names that are not there. */
export type BatchAxes = Readonly<Record<string, number | null>>;

export interface Batch {
  readonly inputs: readonly NamedTensor[];
  /** How much of the batch axis each request brought, in order. */
  readonly rows: readonly number[];
}

function axisOf(axes: BatchAxes, name: string): number | null {
  return Object.hasOwn(axes, name) ? axes[name]! : 0;
}

/** Requests with the same key may share a batch: same names, types, shapes, and the same bytes where shared. */
export function batchKey(inputs: readonly NamedTensor[], axes: BatchAxes): string {
  return JSON.stringify(inputs.map(({ name, datatype, shape, data }) =>
    axisOf(axes, name) === null ? [name, datatype, shape, fastHash([data])] : [name, datatype, shape]));
}

/**
 * One set of inputs for all requests. Every request has the same names in the same order.
 * @throws TensorError when names, types or dimensions differ, or a shared tensor's bytes do.
 */
export function joinInputs(requests: readonly (readonly NamedTensor[])[], axes: BatchAxes): Batch {
  const first = requests[0];
  if (!first) throw new TensorError('a batch needs at least one request');
  const rows = requests.map((inputs) => rowsOf(inputs, axes));
  if (requests.length === 1) return { inputs: first, rows };
  const inputs = first.map((model, position) => {
    const parts = requests.map((request) => {
      const part = request[position];
      if (request.length !== first.length || part?.name !== model.name) throw new TensorError('requests of one batch name different inputs');
      return part;
    });
    const axis = axisOf(axes, model.name);
    return { name: model.name, ...(axis === null ? shared(model, parts) : concat(parts, axis)) };
  });
  return { inputs, rows };
}

/** The answer of a batch, one set of outputs per request. Shared outputs go to every request as the same bytes. */
export function splitOutputs(outputs: readonly NamedTensor[], axes: BatchAxes, rows: readonly number[]): NamedTensor[][] {
  if (rows.length === 1) return [[...outputs]];
  const answers: NamedTensor[][] = rows.map(() => []);
  for (const output of outputs) {
    const axis = axisOf(axes, output.name);
    const parts = axis === null ? rows.map((): Tensor => output) : split(output, axis, rows);
    parts.forEach((part, index) => answers[index]!.push({ name: output.name, datatype: part.datatype, shape: part.shape, data: part.data }));
  }
  return answers;
}

/** What a request adds along the batch axis; all its batched inputs must agree. 1 when everything is shared. */
export function rowsOf(inputs: readonly NamedTensor[], axes: BatchAxes): number {
  let rows: number | undefined;
  for (const { name, shape } of inputs) {
    const axis = axisOf(axes, name);
    if (axis === null) continue;
    const size = shape[axis];
    if (size === undefined) throw new TensorError(`${name}: shape ${shapeText(shape)} has no axis ${axis} to batch along`);
    if (rows !== undefined && rows !== size) throw new TensorError(`${name}: ${size} rows along axis ${axis}, other inputs bring ${rows}`);
    rows = size;
  }
  return rows ?? 1;
}

function shared(model: Tensor, parts: readonly Tensor[]): Tensor {
  const same = parts.every((part) =>
    part.datatype === model.datatype && shapeText(part.shape) === shapeText(model.shape) && equalBytes(part.data, model.data));
  if (!same) throw new TensorError('requests of one batch bring different bytes for a shared input');
  return { datatype: model.datatype, shape: model.shape, data: model.data };
}

/** Joins tensors that differ at most along `axis`. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0];
  if (!first) throw new TensorError('nothing to concatenate');
  let rows = 0;
  for (const { datatype, shape } of parts) {
    const fits = datatype === first.datatype && shape.length === first.shape.length && axis >= 0 && axis < shape.length &&
      shape.every((size, at) => at === axis || size === first.shape[at]);
    if (!fits) {
      throw new TensorError(`${datatype} ${shapeText(shape)} and ${first.datatype} ${shapeText(first.shape)} do not join along axis ${axis}`);
    }
    rows += shape[axis]!;
  }
  const shape = first.shape.with(axis, rows);
  const outer = checkShape(first.shape.slice(0, axis));
  if (first.datatype === 'BYTES') return { datatype: 'BYTES', shape, data: concatBytes(parts, axis, outer) };
  // One copy per part and outer index; along the outermost axis that is one copy per part.
  const data = new Uint8Array(checkShape(shape) * elementBytes[first.datatype]);
  const strides = parts.map((part) => part.data.byteLength / Math.max(outer, 1));
  let at = 0;
  for (let index = 0; index < outer; index++) {
    for (let part = 0; part < parts.length; part++) {
      const stride = strides[part]!;
      data.set(outer === 1 ? parts[part]!.data : parts[part]!.data.subarray(index * stride, (index + 1) * stride), at);
      at += stride;
    }
  }
  return { datatype: first.datatype, shape, data };
}

/** The reverse of `concat`. @throws TensorError unless `rows` add up to the axis. */
export function split(tensor: Tensor, axis: number, rows: readonly number[]): Tensor[] {
  const { datatype, shape, data } = tensor;
  const total = rows.reduce((sum, count) => sum + count, 0);
  if (shape[axis] !== total) {
    throw new TensorError(`shape ${shapeText(shape)} does not have the batch's ${total} rows along axis ${axis}`);
  }
  const outer = checkShape(shape.slice(0, axis));
  if (datatype === 'BYTES') return splitBytes(tensor, axis, rows, outer);
  const rowBytes = checkShape(shape.slice(axis + 1)) * elementBytes[datatype];
  let from = 0;
  return rows.map((count) => {
    const start = from * rowBytes;
    from += count;
    const part = { datatype, shape: shape.with(axis, count) };
    if (outer === 1) return { ...part, data: data.subarray(start, start + count * rowBytes) };
    const copy = new Uint8Array(outer * count * rowBytes);
    for (let index = 0; index < outer; index++) {
      const at = index * total * rowBytes + start;
      copy.set(data.subarray(at, at + count * rowBytes), index * count * rowBytes);
    }
    return { ...part, data: copy };
  });
}

function concatBytes(parts: readonly Tensor[], axis: number, outer: number): Uint8Array {
  const all = parts.map((part) => decodeBytes(part.data, checkShape(part.shape)));
  const elements: Uint8Array[] = [];
  for (let index = 0; index < outer; index++) {
    for (const part of all) {
      const stride = part.length / outer;
      for (let at = index * stride; at < (index + 1) * stride; at++) elements.push(part[at]!);
    }
  }
  return encodeBytes(elements);
}

function splitBytes({ shape, data }: Tensor, axis: number, rows: readonly number[], outer: number): Tensor[] {
  const elements = decodeBytes(data, checkShape(shape));
  const inner = checkShape(shape.slice(axis + 1));
  const stride = shape[axis]! * inner;
  let from = 0;
  return rows.map((count) => {
    const part: Uint8Array[] = [];
    for (let index = 0; index < outer; index++) {
      const start = index * stride + from * inner;
      for (let at = start; at < start + count * inner; at++) part.push(elements[at]!);
    }
    from += count;
    return { datatype: 'BYTES', shape: shape.with(axis, count), data: encodeBytes(part) };
  });
}
