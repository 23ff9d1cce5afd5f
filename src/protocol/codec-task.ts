/**
 * What the host and its codec thread say to each other: one OIP message to decode or to encode. Errors are values, because
 * their properties do not survive a thread boundary.
 */
import type { ErrorCode } from '../errors.js';
import type { Encoded, InferRequest, InferResponse } from './infer.js';

export type CodecTask =
  | { readonly do: 'decode'; readonly bytes: Uint8Array; readonly jsonLength: number | undefined }
  | { readonly do: 'encode'; readonly response: InferResponse; readonly request: InferRequest };

export type CodecReply =
  | { readonly ok: true; readonly request: InferRequest }
  | { readonly ok: true; readonly encoded: Encoded }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** JSON larger than this is handled off the loop: below it, the way to a thread and back costs more than it saves. */
export const OFF_LOOP_BYTES = 64 * 1024;

/** Rough size of a number in JSON, for deciding before writing it. */
const BYTES_PER_ELEMENT = 12;

export function jsonBytesOf(response: InferResponse, request: Pick<InferRequest, 'outputs' | 'binaryOutputDefault'>): number {
  let bytes = 0;
  for (const tensor of response.outputs) {
    const binary = request.outputs?.find(({ name }) => name === tensor.name)?.binary ?? request.binaryOutputDefault ?? false;
    if (binary) continue;
    bytes += tensor.datatype === 'BYTES' ? tensor.data.byteLength : tensor.shape.reduce((count, size) => count * size, 1) * BYTES_PER_ELEMENT;
  }
  return bytes;
}
