/**
 * One OIP message, request or answer alike: JSON that lists tensors, and the binary tensors behind it.
 *
 * Claims (sizes, shapes, counts) are compared with the bytes that are there before anything is allocated by them; binary
 * tensors are views into the message. Everything wrong is a TensorError whose text begins with the path of the value;
 * infer.ts says whose fault it is.
 */
import { ServeError } from '../errors.js';
import { isDatatype } from '../tensor/datatype.js';
import type { NamedTensor, Tensor } from '../tensor/datatype.js';
import { checkShape, describe, TensorError } from '../tensor/shape.js';
import { checkTensor } from '../tensor/typed.js';
import { bytesFromJson, InexactInteger, jsonFromTensor } from './infer-json.js';
import { parseJson } from './json-text.js';
import type { ParsedJson } from './json-text.js';

/** A message on its way out. `jsonLength` is present when binary tensors follow, and then belongs in the header. */
export interface Encoded {
  readonly head: Uint8Array;
  readonly jsonLength?: number;
  readonly chunks: readonly Uint8Array[];
}

export interface DecodeLimits {
  /** Elements of all tensors together. */
  readonly elementsMax?: number;
  readonly tensorsMax?: number;
}

/** JSON numbers need tens of bytes each and one JavaScript string holds at most 512 Mi characters. */
const jsonElementsMax = 16 * 1024 * 1024;
const tensorsMaxDefault = 1024;

// ------------------------------------------------------------------------------------------------------------- decode

export interface MessageJson {
  readonly body: Readonly<Record<string, unknown>>;
  readonly id: string | undefined;
  readonly parameters: Readonly<Record<string, unknown>>;
}

export function decodeMessage(
  bytes: Uint8Array, jsonLength: number | undefined, list: 'inputs' | 'outputs', limits: DecodeLimits,
): { json: MessageJson; tensors: NamedTensor[] } {
  const length = jsonLength ?? bytes.byteLength;
  if (!Number.isSafeInteger(length) || length < 1 || length > bytes.byteLength) {
    throw new TensorError(jsonLength === undefined
      ? 'the message is empty, wanted JSON'
      : `Inference-Header-Content-Length: ${length} is not between 1 and the message's ${bytes.byteLength} bytes`);
  }
  const parsed = parseJson(bytes.subarray(0, length));
  const body = objectAt(parsed.value, 'the JSON');
  const entries = listAt(body[list], list, limits);
  const binary = new BinaryReader(bytes, length);
  const tensors: NamedTensor[] = [];
  const names = new Set<string>();
  let elementsLeft = limits.elementsMax ?? Infinity;
  entries.forEach((entry, index) => {
    const tensor = decodeTensor(entry, `${list}[${index}]`, binary, () => exactData(parsed, list, index), elementsLeft, limits);
    if (names.has(tensor.name)) throw new TensorError(`${list}[${index}].name: ${describe(tensor.name)} comes twice`);
    names.add(tensor.name);
    elementsLeft -= checkShape(tensor.shape);
    tensors.push(tensor);
  });
  binary.end();
  return { json: { body, id: optionalString(body, 'id'), parameters: optionalObject(body['parameters'], 'parameters') }, tensors };
}

/** The views after the JSON, in order. */
class BinaryReader {
  #at: number;
  constructor(readonly bytes: Uint8Array, start: number) {
    this.#at = start;
  }

  take(size: unknown, path: string): Uint8Array {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
      throw new TensorError(`${path}: ${describe(size)} is not a number of bytes`);
    }
    const left = this.bytes.byteLength - this.#at;
    if (size > left) throw new TensorError(`${path}: ${size} bytes claimed, ${left} are left after the JSON (is Inference-Header-Content-Length set?)`);
    this.#at += size;
    return this.bytes.subarray(this.#at - size, this.#at);
  }

  end(): void {
    const left = this.bytes.byteLength - this.#at;
    if (left > 0) throw new TensorError(`${left} bytes follow the last tensor`);
  }
}

function decodeTensor(
  entry: unknown, path: string, binary: BinaryReader, exact: () => unknown, elementsLeft: number, limits: DecodeLimits,
): NamedTensor {
  const fields = objectAt(entry, path);
  const name = nameAt(fields, path);
  const { datatype, data } = fields;
  if (typeof datatype !== 'string' || !isDatatype(datatype)) {
    throw new TensorError(datatype === undefined ? `${path}.datatype is missing` : `${path}.datatype: unknown datatype ${describe(datatype)}`);
  }
  if (fields['shape'] === undefined) throw new TensorError(`${path}.shape is missing`);
  const shape = fields['shape'] as readonly number[];
  const count = at(path, () => checkShape(shape));
  if (count > elementsLeft) {
    throw new ServeError('PAYLOAD_TOO_LARGE', `${path}: ${count} elements, ${elementsLeft} of ${limits.elementsMax} are left for this request; send smaller or fewer tensors`);
  }
  const parameters = optionalObject(fields['parameters'], `${path}.parameters`);
  if (parameters['shared_memory_region'] !== undefined) throw new TensorError(`${path}.parameters.shared_memory_region: shared memory is not supported`);
  const size = parameters['binary_data_size'];
  if (size === undefined) {
    if (data === undefined) throw new TensorError(`${path}: neither data nor parameters.binary_data_size is given`);
    return { name, datatype, shape, data: dataFromJson(data, { datatype, shape, count }, `${path}.data`, exact) };
  }
  if (data !== undefined) throw new TensorError(`${path}: both data and parameters.binary_data_size are given`);
  const tensor = { name, datatype, shape, data: binary.take(size, `${path}.parameters.binary_data_size`) };
  at(path, () => checkTensor(tensor));
  return tensor;
}

function dataFromJson(
  data: unknown, { datatype, shape, count }: Omit<Tensor, 'data'> & { count: number }, path: string, exact: () => unknown,
): Uint8Array {
  try {
    return bytesFromJson(data, datatype, shape, count, path);
  } catch (error) {
    if (!(error instanceof InexactInteger)) throw error;
    return bytesFromJson(exact(), datatype, shape, count, path);
  }
}

/** The same place in the document that has long integers as strings. */
function exactData(parsed: ParsedJson, list: string, index: number): unknown {
  return (parsed.exact() as Record<string, { data?: unknown }[]>)[list]![index]!.data;
}

export function objectAt(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TensorError(`${path}: ${describe(value)} is no object`);
  return value as Readonly<Record<string, unknown>>;
}

export function optionalObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  return value === undefined || value === null ? {} : objectAt(value, path);
}

export function listAt(value: unknown, path: string, limits: DecodeLimits): readonly unknown[] {
  const tensorsMax = limits.tensorsMax ?? tensorsMaxDefault;
  if (value === undefined) throw new TensorError(`${path} is missing`);
  if (!Array.isArray(value)) throw new TensorError(`${path}: ${describe(value)} is no array`);
  if (value.length > tensorsMax) throw new TensorError(`${path}: ${value.length} entries, at most ${tensorsMax} are taken`);
  return value;
}

export function nameAt(fields: Readonly<Record<string, unknown>>, path: string): string {
  const name = fields['name'];
  if (typeof name !== 'string' || name === '') throw new TensorError(name === undefined ? `${path}.name is missing` : `${path}.name: ${describe(name)} is no name`);
  return name;
}

export function optionalString(fields: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new TensorError(`${name}: ${describe(value)} is no string`);
  return value;
}

/** Puts the path before the text of a TensorError. */
function at<T>(path: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof TensorError)) throw error;
    throw new TensorError(error.message.startsWith('shape[') ? `${path}.${error.message}` : `${path}: ${error.message}`);
  }
}

// ------------------------------------------------------------------------------------------------------------- encode

const encoder = new TextEncoder();

export function encodeMessage(
  fields: readonly string[], list: 'inputs' | 'outputs', tensors: readonly { readonly tensor: NamedTensor; readonly binary: boolean }[],
): Encoded {
  const chunks: Uint8Array[] = [];
  const entries = tensors.map(({ tensor, binary }) => {
    const entry = `{"name":${JSON.stringify(tensor.name)},"datatype":"${tensor.datatype}","shape":[${tensor.shape.join(',')}]`;
    if (!binary) return `${entry},"data":${dataText(tensor)}}`;
    chunks.push(tensor.data);
    return `${entry},"parameters":{"binary_data_size":${tensor.data.byteLength}}}`;
  });
  const json = `{${[...fields, `"${list}":[${entries.join(',')}]`].join(',')}}`;
  if (!tensors.some(({ binary }) => binary)) return { head: encoder.encode(json), chunks };
  const unpadded = encoder.encode(json);
  // Trailing spaces put the first tensor on a multiple of 8, so that a receiver whose buffer is aligned need not copy.
  const padding = -unpadded.byteLength & 7;
  const head = padding === 0 ? unpadded : encoder.encode(json + ' '.repeat(padding));
  return { head, jsonLength: head.byteLength, chunks };
}

function dataText(tensor: NamedTensor): string {
  const count = checkShape(tensor.shape);
  if (count > jsonElementsMax) {
    throw new ServeError('PAYLOAD_TOO_LARGE', `${tensor.name}: ${count} elements, JSON carries at most ${jsonElementsMax}; use binary data`);
  }
  try {
    return jsonFromTensor(tensor);
  } catch (error) {
    if (!(error instanceof TensorError)) throw error;
    throw new ServeError('INVALID_ARGUMENT', `${tensor.name}: ${error.message}, JSON cannot carry it; use binary data`, { cause: error });
  }
}
