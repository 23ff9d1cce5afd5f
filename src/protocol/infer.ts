/**
 * The Open Inference Protocol v2 as bytes: requests and answers, JSON with the binary tensor extension, both directions.
 *
 * A message is JSON, or `jsonLength` bytes of JSON and then the binary tensors in the order the JSON names them; the
 * same bytes on NATS and HTTP. Binary tensors are views into the message, never copies, and may be misaligned. What is
 * claimed (sizes, shapes) is compared with what is there before anything is allocated by it. Knows nothing of a
 * model's metadata: that is validate.ts.
 */
import { ServeError } from '../errors.js';
import type { ErrorCode } from '../errors.js';
import type { NamedTensor } from '../tensor/datatype.js';
import { describe, TensorError } from '../tensor/shape.js';
import { decodeMessage, encodeMessage, listAt, nameAt, objectAt, optionalObject, optionalString } from './infer-message.js';
import type { DecodeLimits, Encoded } from './infer-message.js';

export type { DecodeLimits, Encoded } from './infer-message.js';

export interface RequestedOutput {
  readonly name: string;
  /** `binary_data`; absent = the request's default. */
  readonly binary?: boolean;
}

export interface InferRequest {
  readonly id?: string;
  readonly inputs: readonly NamedTensor[];
  /** Absent = all the model has. */
  readonly outputs?: readonly RequestedOutput[];
  /** As they came; regrow itself acts on none but `binary_data_output`. Values are untrusted, of any kind and depth. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** `binary_data_output`; absent = JSON. */
  readonly binaryOutputDefault?: boolean;
}

export interface InferResponse {
  readonly modelName?: string;
  readonly modelVersion?: string;
  readonly id?: string;
  readonly outputs: readonly NamedTensor[];
}

/** @throws ServeError INVALID_ARGUMENT naming the path, PAYLOAD_TOO_LARGE beyond `limits.elementsMax` */
export function decodeRequest(bytes: Uint8Array, jsonLength?: number, limits: DecodeLimits = {}): InferRequest {
  return translated('INVALID_ARGUMENT', '', () => {
    if (jsonLength === 0) throw new TensorError('a raw binary request (Inference-Header-Content-Length: 0) is not taken here, send JSON and then the tensors');
    const { json, tensors } = decodeMessage(bytes, jsonLength, 'inputs', limits);
    const { binary_data_output: binaryOutput } = json.parameters;
    if (binaryOutput !== undefined && typeof binaryOutput !== 'boolean') {
      throw new TensorError(`parameters.binary_data_output: ${describe(binaryOutput)} is neither true nor false`);
    }
    const outputs = requestedOutputs(json.body['outputs'], limits);
    return {
      ...(json.id !== undefined && { id: json.id }),
      inputs: tensors,
      ...(outputs && { outputs }),
      parameters: json.parameters,
      ...(binaryOutput !== undefined && { binaryOutputDefault: binaryOutput }),
    };
  });
}

/** @throws ServeError INTERNAL when the answer is malformed: its sender is at fault, not the caller */
export function decodeResponse(bytes: Uint8Array, jsonLength?: number, limits: DecodeLimits = {}): InferResponse {
  return translated('INTERNAL', 'malformed answer: ', () => {
    const { json, tensors } = decodeMessage(bytes, jsonLength, 'outputs', limits);
    const modelName = optionalString(json.body, 'model_name');
    const modelVersion = optionalString(json.body, 'model_version');
    return {
      ...(modelName !== undefined && { modelName }),
      ...(modelVersion !== undefined && { modelVersion }),
      ...(json.id !== undefined && { id: json.id }),
      outputs: tensors,
    };
  });
}

/**
 * The answer in the form the request asked for: requested outputs only and in that order, each binary or JSON.
 * @throws ServeError INTERNAL when a requested output is missing, INVALID_ARGUMENT when BYTES that are not UTF-8 were asked
 * for as JSON, PAYLOAD_TOO_LARGE when an output is beyond what JSON can carry
 */
export function encodeResponse(
  response: InferResponse, request: Pick<InferRequest, 'outputs' | 'binaryOutputDefault'> & { readonly id?: string },
): Encoded {
  const byDefault = request.binaryOutputDefault ?? false;
  const wanted = request.outputs?.length ? request.outputs : response.outputs;
  const tensors = wanted.map((output: RequestedOutput) => {
    const tensor = response.outputs.find(({ name }) => name === output.name);
    if (!tensor) throw new ServeError('INTERNAL', `the answer lacks the requested output ${describe(output.name)}`);
    return { tensor, binary: output.binary ?? byDefault };
  });
  const id = response.id ?? request.id;
  const fields = [
    ...(response.modelName === undefined ? [] : [`"model_name":${JSON.stringify(response.modelName)}`]),
    ...(response.modelVersion === undefined ? [] : [`"model_version":${JSON.stringify(response.modelVersion)}`]),
    ...(id === undefined ? [] : [`"id":${JSON.stringify(id)}`]),
  ];
  return encodeMessage(fields, 'outputs', tensors);
}

export interface EncodeRequestOptions {
  /** Inputs as binary (default) or as JSON. */
  readonly binary?: boolean;
  readonly id?: string;
  readonly outputs?: readonly (string | RequestedOutput)[];
  /** Outputs as binary; by default like the inputs. */
  readonly binaryOutput?: boolean;
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** @throws ServeError INVALID_ARGUMENT for BYTES that are not UTF-8 with `binary: false`, PAYLOAD_TOO_LARGE as above */
export function encodeRequest(inputs: readonly NamedTensor[], options: EncodeRequestOptions = {}): Encoded {
  const binary = options.binary ?? true;
  const parameters = { ...options.parameters, ...((options.binaryOutput ?? binary) && { binary_data_output: true }) };
  const outputs = options.outputs?.map((output) => {
    if (typeof output === 'string') return { name: output };
    return { name: output.name, ...(output.binary !== undefined && { parameters: { binary_data: output.binary } }) };
  });
  const fields = [
    ...(options.id === undefined ? [] : [`"id":${JSON.stringify(options.id)}`]),
    ...(Object.keys(parameters).length === 0 ? [] : [`"parameters":${JSON.stringify(parameters)}`]),
    ...(outputs?.length ? [`"outputs":${JSON.stringify(outputs)}`] : []),
  ];
  return encodeMessage(fields, 'inputs', inputs.map((tensor) => ({ tensor, binary })));
}

/** Total size on the wire. */
export function encodedBytes({ head, chunks }: Encoded): number {
  return chunks.reduce((sum, chunk) => sum + chunk.byteLength, head.byteLength);
}

/** One buffer, one copy; none when there is only JSON. */
export function joinEncoded(encoded: Encoded): Uint8Array {
  if (encoded.chunks.length === 0) return encoded.head;
  const bytes = new Uint8Array(encodedBytes(encoded));
  bytes.set(encoded.head);
  let at = encoded.head.byteLength;
  for (const chunk of encoded.chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

function requestedOutputs(value: unknown, limits: DecodeLimits): RequestedOutput[] | undefined {
  if (value === undefined) return undefined;
  const names = new Set<string>();
  return listAt(value, 'outputs', limits).map((entry, index) => {
    const path = `outputs[${index}]`;
    const fields = objectAt(entry, path);
    const name = nameAt(fields, path);
    if (names.has(name)) throw new TensorError(`${path}.name: ${describe(name)} comes twice`);
    names.add(name);
    const parameters = optionalObject(fields['parameters'], `${path}.parameters`);
    // Extensions that change what an answer means must not be ignored in silence.
    for (const unsupported of ['classification', 'shared_memory_region']) {
      if (parameters[unsupported] !== undefined) throw new TensorError(`${path}.parameters.${unsupported} is not supported`);
    }
    const binary = parameters['binary_data'];
    if (binary === undefined) return { name };
    if (typeof binary !== 'boolean') throw new TensorError(`${path}.parameters.binary_data: ${describe(binary)} is neither true nor false`);
    return { name, binary };
  });
}

function translated<T>(code: ErrorCode, prefix: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof TensorError ? new ServeError(code, prefix + error.message, { cause: error }) : error;
  }
}
