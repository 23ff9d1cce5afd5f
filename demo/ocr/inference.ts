/**
 * The part of a module's world that the page reader uses, written down as types.
 *
 * Tensors have the form regrow gives modules: FP32 data is a Float32Array, BYTES data one Uint8Array per element. What
 * comes from outside may be of any other type, so it is looked at before it is used. This file deliberately imports
 * nothing: a test can stand in for the host with a dozen lines.
 */

/** What the page reader sends. */
export type Tensor =
  | { readonly datatype: 'FP32'; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly datatype: 'BYTES'; readonly shape: readonly number[]; readonly data: readonly Uint8Array[] };

export type Tensors = Readonly<Record<string, Tensor>>;

/** What it gets. */
export type ReceivedTensors = Readonly<Record<string, { readonly datatype: string; readonly shape: readonly number[]; readonly data: unknown }>>;

/** Asks another actor. Rejects when it cannot answer within this request's deadline, and when `signal` aborts. */
export type Infer = (
  actor: string,
  inputs: Tensors,
  options?: { readonly signal?: AbortSignal },
) => Promise<{ readonly outputs: ReceivedTensors }>;

export interface ModuleContext {
  readonly infer: Infer;
  /** Aborts when the caller is gone or its deadline has passed. */
  readonly signal: AbortSignal;
}

export function floats(shape: readonly number[], data: Float32Array): Tensor {
  return { datatype: 'FP32', shape, data };
}

const utf8 = new TextEncoder();

export function strings(texts: readonly string[]): Tensor {
  return { datatype: 'BYTES', shape: [texts.length], data: texts.map((text) => utf8.encode(text)) };
}

/** The FP32 output of a model with a single output, whatever its name is. */
export function onlyOutput(actor: string, outputs: ReceivedTensors): { readonly shape: readonly number[]; readonly data: Float32Array } {
  const [tensor, ...rest] = Object.values(outputs);
  if (tensor === undefined || rest.length > 0 || !(tensor.data instanceof Float32Array)) {
    throw new Error(`${actor} answered ${Object.keys(outputs).join(', ') || 'nothing'}; wanted one FP32 tensor`);
  }
  return { shape: tensor.shape, data: tensor.data };
}

/** Fails in the caller's language: the code travels to the caller of the page reader. */
export function invalidArgument(message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code: 'INVALID_ARGUMENT' });
}
