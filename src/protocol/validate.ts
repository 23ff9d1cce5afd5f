/**
 * A decoded request against what the actor says of itself, so that a client's error never reaches a replica.
 *
 * Names, datatypes, ranks, fixed dimensions, byte lengths and the element limit, in that order, first problem first. A
 * dimension of -1 is free; dimensions that share a symbol in the model are free one by one, the model itself refuses the
 * odd combination. An actor without metadata (a module that declares none) takes anything well-formed.
 */
import { ServeError } from '../errors.js';
import { elementBytes } from '../tensor/datatype.js';
import type { ModelMetadata, NamedTensor, TensorMetadata } from '../tensor/datatype.js';
import { checkShape, describe, shapeText, TensorError } from '../tensor/shape.js';
import { checkTensor } from '../tensor/typed.js';
import type { InferRequest, RequestedOutput } from './infer.js';
import { nearestName } from './nearest.js';

export interface ValidateLimits {
  /** Elements of one input. */
  readonly elementsMax?: number;
}

/** @throws ServeError INVALID_ARGUMENT naming the input, PAYLOAD_TOO_LARGE beyond `limits.elementsMax` */
export function validateInputs(inputs: readonly NamedTensor[], metadata: ModelMetadata | undefined, limits: ValidateLimits = {}): void {
  const names = new Set<string>();
  for (const input of inputs) {
    if (names.has(input.name)) throw invalid(`input ${describe(input.name)} comes twice`);
    names.add(input.name);
    const known = metadata?.inputs.find(({ name }) => name === input.name);
    if (metadata && !known) throw invalid(`unknown input ${unknownName(input.name, metadata.inputs)}`);
    if (known) checkDeclared(input, known);
    const count = checkedCount(input);
    if (limits.elementsMax !== undefined && count > limits.elementsMax) {
      throw new ServeError('PAYLOAD_TOO_LARGE',
        `input ${describe(input.name)} has ${count} elements, at most ${limits.elementsMax} are taken; send it in parts`);
    }
  }
  const missing = metadata?.inputs.filter(({ name }) => !names.has(name)) ?? [];
  if (missing.length > 0) throw invalid(`missing input${missing.length > 1 ? 's' : ''} ${listed(missing)}`);
}

/**
 * Names of the outputs to compute, in the caller's order; undefined = all of them, also when an empty list was sent.
 * @throws ServeError INVALID_ARGUMENT for a name twice or, with metadata, unknown
 */
export function selectOutputs(
  requested: readonly RequestedOutput[] | undefined, metadata: ModelMetadata | undefined,
): readonly string[] | undefined {
  if (!requested?.length) return undefined;
  const names = requested.map(({ name }) => name);
  validateOutputs(names, metadata);
  return names;
}

/** @throws ServeError INVALID_ARGUMENT for a name twice or, with metadata, unknown */
export function validateOutputs(names: readonly string[], metadata: ModelMetadata | undefined): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw invalid(`output ${describe(name)} is requested twice`);
    seen.add(name);
    if (metadata && !metadata.outputs.some((output) => output.name === name)) {
      throw invalid(`unknown output ${unknownName(name, metadata.outputs)}`);
    }
  }
}

/**
 * A body that is nothing but the bytes of the model's only input (Triton's raw binary request, JSON length 0). The shape
 * is the declared one; one free dimension is deduced from the length, of two the first is a batch of 1. For BYTES
 * the whole body is the one element. Outputs are answered binary.
 * @throws ServeError INVALID_ARGUMENT when the input or its shape cannot be deduced
 */
export function rawRequest(bytes: Uint8Array, metadata: ModelMetadata | undefined): InferRequest {
  const [input, ...others] = metadata?.inputs ?? [];
  if (!input) throw invalid('a raw binary request needs an actor that declares its input');
  if (others.length > 0) throw invalid(`a raw binary request needs an actor with one input, this one has ${listed(metadata!.inputs)}`);
  const { name, datatype, shape } = input;
  if (datatype === 'BYTES' && shape.some((size) => size > 1 || size === 0)) {
    throw invalid(`input ${describe(name)} has the shape ${shapeText(shape)}: a raw request carries exactly one BYTES element`);
  }
  const tensor = datatype === 'BYTES'
    ? { name, datatype, shape: rawShape(input, 1), data: prefixed(bytes) }
    : { name, datatype, shape: rawShape(input, bytes.byteLength / elementBytes[datatype]), data: bytes };
  validateInputs([tensor], metadata);
  return { inputs: [tensor], parameters: {}, binaryOutputDefault: true };
}

function rawShape({ name, shape }: TensorMetadata, elements: number): number[] {
  let free = shape.filter((size) => size < 0).length;
  const batchOfOne = free === 2 && shape[0]! < 0;
  if (batchOfOne) free--;
  if (free > 1) throw invalid(`input ${describe(name)} has the shape ${shapeText(shape)}: more than one free dimension cannot be deduced from a raw request`);
  const fixed = shape.reduce((product, size) => (size < 0 ? product : product * size), 1);
  // A length that does not divide shows in the byte length check, with the numbers.
  const deduced = Math.floor(elements / Math.max(fixed, 1));
  return shape.map((size, axis) => (size >= 0 ? size : batchOfOne && axis === 0 ? 1 : deduced));
}

function prefixed(bytes: Uint8Array): Uint8Array {
  const data = new Uint8Array(4 + bytes.byteLength);
  new DataView(data.buffer).setUint32(0, bytes.byteLength, true);
  data.set(bytes, 4);
  return data;
}

function checkDeclared({ name, datatype, shape }: NamedTensor, known: TensorMetadata): void {
  if (datatype !== known.datatype) throw invalid(`input ${describe(name)} is ${known.datatype}, got ${datatype}`);
  const fits = shape.length === known.shape.length && known.shape.every((size, axis) => size < 0 || size === shape[axis]);
  if (!fits) throw invalid(`input ${describe(name)} has the shape ${shapeText(known.shape)}${known.shape.some((size) => size < 0) ? ' (-1 = any)' : ''}, got ${shapeText(shape)}`);
}

function checkedCount(input: NamedTensor): number {
  try {
    checkShape(input.shape);
    return checkTensor(input);
  } catch (error) {
    throw error instanceof TensorError ? invalid(`input ${describe(input.name)}: ${error.message}`, error) : error;
  }
}

function unknownName(name: string, known: readonly TensorMetadata[]): string {
  const meant = nearestName(name, known.map((each) => each.name));
  return `${describe(name)}${meant === undefined ? '' : `, did you mean ${describe(meant)}?`} (known: ${listed(known)})`;
}

function listed(tensors: readonly TensorMetadata[]): string {
  const shown = tensors.slice(0, 10).map(({ name }) => describe(name)).join(', ');
  return tensors.length > 10 ? `${shown} and ${tensors.length - 10} more` : shown || 'none';
}

function invalid(message: string, cause?: unknown): ServeError {
  return new ServeError('INVALID_ARGUMENT', message, cause === undefined ? {} : { cause });
}
