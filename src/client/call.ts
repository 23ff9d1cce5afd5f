/** One inference over a bus: encode, ask, decode. Rejects with a ServeError; retries belong to the caller of this. */
import { ServeError, isServeError } from '../errors.js';
import type { Bus, BusErrorCode } from '../ports.js';
import { readAnswerHeaders, readErrorHeaders, requestHeaders, type AnswerHeaders } from '../protocol/headers.js';
import { decodeResponse, encodeRequest, joinEncoded } from '../protocol/infer.js';
import type { NamedTensor } from '../tensor/datatype.js';

export interface BusCall {
  readonly inputs: readonly NamedTensor[];
  readonly outputs?: readonly string[] | undefined;
  readonly timeoutMs: number;
  readonly requestId?: string | undefined;
  readonly idempotent?: boolean | undefined;
  readonly priority?: 0 | 1 | undefined;
  readonly attemptsLeft?: number | undefined;
  /** 1: sent on by a host, and not to be sent on again. */
  readonly hops?: number | undefined;
  /** Actors a nested call came through. */
  readonly path?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BusAnswer extends AnswerHeaders {
  readonly outputs: readonly NamedTensor[];
}

/** The answer of a host needs this long to come back after its own deadline said "too late". */
const GRACE_MS = 50;

export async function inferOverBus(bus: Bus, subject: string, call: BusCall): Promise<BusAnswer> {
  const encoded = encodeRequest(call.inputs, { binary: true, ...(call.outputs && { outputs: call.outputs }) });
  const headers = requestHeaders({
    timeoutMs: call.timeoutMs,
    runOnce: call.idempotent === false,
    ...(call.priority && { priority: call.priority }),
    ...(call.requestId !== undefined && { requestId: call.requestId }),
    ...(call.attemptsLeft !== undefined && { attemptsLeft: call.attemptsLeft }),
    ...(call.hops && { hops: call.hops }),
    ...(call.path && { path: call.path }),
    ...(encoded.jsonLength !== undefined && { jsonLength: encoded.jsonLength }),
  });
  const options = { timeoutMs: call.timeoutMs + GRACE_MS, headers, ...(call.signal && { signal: call.signal }) };
  let message;
  try {
    message = await bus.request(subject, joinEncoded(encoded), options);
  } catch (error) {
    throw call.signal?.aborted ? call.signal.reason : asServeError(error, subject, call);
  }
  const failure = readErrorHeaders(message.headers, message.data);
  if (failure) throw failure;
  const facts = readAnswerHeaders(message.headers);
  return { ...facts, outputs: decodeResponse(message.data, facts.jsonLength).outputs };
}

function asServeError(error: unknown, subject: string, call: BusCall): ServeError {
  if (isServeError(error)) return error;
  const { code, message } = error as { code?: BusErrorCode; message?: string };
  // A request that left before the connection was lost may have run.
  const lost = call.idempotent === false ? { outcome: 'unknown' as const } : {};
  switch (code) {
    case 'NO_RESPONDERS':
      return new ServeError('UNAVAILABLE', `nobody answers on ${subject}`, { cause: error });
    case 'TIMEOUT':
      return new ServeError('DEADLINE_EXCEEDED', `no answer on ${subject} within ${Math.round(call.timeoutMs)} ms`, { cause: error });
    case 'PAYLOAD_TOO_LARGE':
      return new ServeError('PAYLOAD_TOO_LARGE', `${message}; send less per request, or use HTTP`, { cause: error });
    case 'PERMISSION':
      return new ServeError('UNAVAILABLE', `not allowed to publish on ${subject}: ${message}`, { cause: error });
    default:
      return new ServeError('UNAVAILABLE', `the connection was lost: ${message ?? String(error)}`, { cause: error, ...lost });
  }
}
