/** Field types that more than one part of the spec uses. */
import { z } from 'zod';
import { isDatatype, type Datatype } from '../tensor/datatype.js';

/** A duration. setTimeout cannot wait longer than 2^31-1 ms (24.8 days), so neither can a spec. */
export const milliseconds = z.number().max(2_147_483_647);

export const bytes = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

/** One NATS subject token that is also safe in file names and URLs. */
export const token = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, {
  error: (issue) => `"${String(issue.input)}" must be 1 to 64 of A-Z a-z 0-9 _ - (it becomes a NATS subject token)`,
});

/** `cpu`, `cuda:0`, `webgpu:0`: an execution provider and, but for the cpu, which one of its devices. */
export const deviceId = z.string().regex(/^(cpu|(cuda|webgpu|tensorrt|migraphx|coreml|dml):\d{1,3})$/, {
  error: (issue) => `"${String(issue.input)}" is no device; expected "cpu", or a provider and a number such as "cuda:0" or "webgpu:0"`,
});

export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, { error: 'must be 64 lower-case hex digits (SHA-256)' });

/** How a spec says that a model comes from the store; its SHA-256 follows. */
export const STORED_MODEL = 'sha256:';

/** The hash in `sha256:…`; undefined for a path, and for what only begins like a hash. */
export function storedSha256(model: string): string | undefined {
  const hash = model.startsWith(STORED_MODEL) ? model.slice(STORED_MODEL.length) : '';
  return /^[0-9a-f]{64}$/.test(hash) ? hash : undefined;
}

const element = z.union([z.number(), z.string(), z.boolean()]);

/** A tensor written in a host file: OIP names, flat data in row-major order. */
export const tensorLiteral = z.strictObject({
  datatype: z.custom<Datatype>((value) => typeof value === 'string' && isDatatype(value), {
    error: 'must be an OIP datatype such as FP32, INT64 or BYTES',
  }).describe('OIP datatype.'),
  shape: z.array(z.number().int().min(0)).describe('Dimensions; [] for a scalar.'),
  data: z.array(element).describe('Elements in row-major order.'),
});

export type TensorLiteral = z.output<typeof tensorLiteral>;
