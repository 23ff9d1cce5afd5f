/**
 * The error body of an answer as bytes, both directions.
 *
 * Also reads what others write: OIP servers answer `{"error": text}` and nothing more, proxies answer anything. Whatever
 * comes in, a ServeError comes out; decoding an error never fails.
 */
import { errorCodes, ServeError } from '../errors.js';
import type { ErrorCode, ServeErrorOptions } from '../errors.js';

export function encodeError(error: ServeError): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(error.toBody()));
}

export interface ErrorFacts {
  /** From the status line or header: taken when the body has no code. */
  readonly code: ErrorCode;
  /** Text for a body that has none. */
  readonly message?: string;
  readonly retryAfterMs?: number;
  readonly attempts?: number;
}

export function decodeError(bytes: Uint8Array, facts: ErrorFacts): ServeError {
  const body = parsed(bytes);
  const code = typeof body['code'] === 'string' && Object.hasOwn(errorCodes, body['code']) ? (body['code'] as ErrorCode) : facts.code;
  const message = typeof body['error'] === 'string' ? body['error'] : facts.message ?? `answered ${errorCodes[code].number}`;
  const options: ServeErrorOptions = {
    ...(body['outcome'] === 'unknown' && { outcome: 'unknown' as const }),
    ...((body['reason'] === 'guard' || body['reason'] === 'suspect') && { reason: body['reason'] }),
    ...(facts.retryAfterMs !== undefined && { retryAfterMs: facts.retryAfterMs }),
    ...(facts.attempts !== undefined && { attempts: facts.attempts }),
  };
  return new ServeError(code, message, options);
}

function parsed(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
