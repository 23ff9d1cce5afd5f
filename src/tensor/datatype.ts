/**
 * The datatypes of the Open Inference Protocol and how their elements lie in memory.
 *
 * Everything inside regrow carries tensors as raw little-endian bytes, the form the OIP binary extension puts on the
 * wire, so that a tensor is copied and never converted between a socket and a session.
 */

/** OIP names. BF16 travels as bytes; onnxruntime-node cannot run it, so a model that wants it fails to load by name. */
export type Datatype =
  | 'BOOL'
  | 'UINT8' | 'UINT16' | 'UINT32' | 'UINT64'
  | 'INT8' | 'INT16' | 'INT32' | 'INT64'
  | 'FP16' | 'FP32' | 'FP64' | 'BF16'
  | 'BYTES';

/** Bytes of one element; 0 = variable (BYTES: every element is a 4-byte little-endian length and then its bytes). */
export const elementBytes: Readonly<Record<Datatype, number>> = {
  BOOL: 1,
  UINT8: 1, UINT16: 2, UINT32: 4, UINT64: 8,
  INT8: 1, INT16: 2, INT32: 4, INT64: 8,
  FP16: 2, FP32: 4, FP64: 8, BF16: 2,
  BYTES: 0,
};

export function isDatatype(name: string): name is Datatype {
  return Object.hasOwn(elementBytes, name);
}

/**
 * Bytes with a shape. `data` is little-endian row-major, exactly `elementCount(shape) * elementBytes[datatype]` long
 * for fixed-size types, length-prefixed elements for BYTES. A scalar has shape `[]`; a dimension may be 0.
 */
export interface Tensor {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface NamedTensor extends Tensor {
  readonly name: string;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const dimension of shape) count *= dimension;
  return count;
}

/** What a model says of one of its inputs or outputs. A dimension of -1 is free. */
export interface TensorMetadata {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}
