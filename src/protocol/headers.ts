/**
 * The headers of a request and of its answer, the same on NATS and HTTP (contract, section 4).
 *
 * Names are looked up in lower case, written as the contract spells them. A bad value is INVALID_ARGUMENT naming the
 * header, except `traceparent`, which W3C says to ignore when malformed. Values never carry control characters: what
 * would end a header line becomes a space. Does not decide what a header does.
 */
import { errorCodes, ServeError } from '../errors.js';
import type { ErrorCode } from '../errors.js';
import { describe } from '../tensor/shape.js';
import { decodeError } from './error-body.js';
import { isToken } from './subjects.js';

type Headers = ReadonlyMap<string, string>;

export interface RequestHeaders {
  /** Remaining budget; absent = the actor's default. */
  readonly timeoutMs?: number;
  /** True when the caller forbids running twice; a header may only forbid, never allow. */
  readonly runOnce: boolean;
  readonly priority: 0 | 1;
  readonly requestId?: string;
  /** How often the request was forwarded between hosts. */
  readonly hops: number;
  /** Executions still allowed over all layers. */
  readonly attemptsLeft?: number;
  readonly traceparent?: string;
  /** Actors a nested call came through on other hosts, outermost first. */
  readonly path?: readonly string[];
  /** `Inference-Header-Content-Length`: bytes of JSON before the binary tensors; 0 = raw binary request. */
  readonly jsonLength?: number;
}

export const requestIdLengthMax = 128;

/** @throws ServeError INVALID_ARGUMENT naming the header */
export function readRequestHeaders(headers: Headers): RequestHeaders {
  const timeoutMs = timeoutOf(headers.get('timeout-ms'));
  const requestId = requestIdOf(headers.get('request-id'));
  const attemptsLeft = wholeNumber(headers, 'Attempts-Left', 1_000_000);
  const traceparent = traceparentOf(headers.get('traceparent'));
  const jsonLength = wholeNumber(headers, 'Inference-Header-Content-Length', Number.MAX_SAFE_INTEGER);
  const path = pathOf(headers.get('actor-path'));
  return {
    runOnce: runOnceOf(headers.get('idempotent')),
    priority: priorityOf(headers.get('priority')),
    hops: wholeNumber(headers, 'Hops', 255) ?? 0,
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(requestId !== undefined && { requestId }),
    ...(attemptsLeft !== undefined && { attemptsLeft }),
    ...(traceparent !== undefined && { traceparent }),
    ...(path !== undefined && { path }),
    ...(jsonLength !== undefined && { jsonLength }),
  };
}

/** The same facts for a request on its way to another host. A budget is rounded down: a rounded-up one would be a promise nobody made. */
export function requestHeaders(request: Partial<RequestHeaders>): Record<string, string> {
  return {
    ...(request.timeoutMs !== undefined && { 'Timeout-Ms': String(Math.max(1, Math.floor(request.timeoutMs))) }),
    ...(request.runOnce && { Idempotent: 'false' }),
    ...(request.priority && { Priority: String(request.priority) }),
    ...(request.requestId !== undefined && { 'Request-Id': headerValue(request.requestId) }),
    ...(request.hops && { Hops: String(request.hops) }),
    ...(request.attemptsLeft !== undefined && { 'Attempts-Left': String(request.attemptsLeft) }),
    ...(request.traceparent !== undefined && { traceparent: headerValue(request.traceparent) }),
    ...(request.path !== undefined && request.path.length > 0 && { 'Actor-Path': request.path.join(',') }),
    ...(request.jsonLength !== undefined && { 'Inference-Header-Content-Length': String(request.jsonLength) }),
  };
}

export interface AnswerHeaders {
  /** `<host>/<replica>#<incarnation>`; a host that refuses before it chose a replica gives its own id. */
  readonly servedBy?: string;
  /** Executions used. */
  readonly attempts?: number;
  readonly modelVersion?: string;
  readonly device?: string;
  /** Why the answer is second best. */
  readonly degraded?: string;
  readonly epoch?: number;
  readonly jsonLength?: number;
}

export function answerHeaders(answer: AnswerHeaders): Record<string, string> {
  return {
    ...(answer.servedBy !== undefined && { 'Served-By': headerValue(answer.servedBy) }),
    ...(answer.attempts !== undefined && { Attempts: String(answer.attempts) }),
    ...(answer.modelVersion !== undefined && { 'Model-Version': headerValue(answer.modelVersion) }),
    ...(answer.device !== undefined && { Device: headerValue(answer.device) }),
    ...(answer.degraded !== undefined && { Degraded: headerValue(answer.degraded) }),
    ...(answer.epoch !== undefined && { Epoch: String(answer.epoch) }),
    ...(answer.jsonLength !== undefined && { 'Inference-Header-Content-Length': String(answer.jsonLength) }),
  };
}

/** `Nats-Service-Error`, `Nats-Service-Error-Code` and `Retry-After`; the body says the same and more. */
export function errorHeaders(error: ServeError): Record<string, string> {
  return {
    'Nats-Service-Error': headerValue(error.message),
    'Nats-Service-Error-Code': String(error.number),
    // Whole seconds, rounded up: somebody who comes back early is refused again.
    ...(error.retryAfterMs !== undefined && { 'Retry-After': String(Math.max(0, Math.ceil(error.retryAfterMs / 1000))) }),
  };
}

/** The caller's side. Unreadable values are left out: an answer is not refused for its decoration. */
export function readAnswerHeaders(headers: Headers): AnswerHeaders {
  const servedBy = headers.get('served-by');
  const modelVersion = headers.get('model-version');
  const device = headers.get('device');
  const degraded = headers.get('degraded');
  const attempts = lenientNumber(headers.get('attempts'));
  const epoch = lenientNumber(headers.get('epoch'));
  const jsonLength = lenientNumber(headers.get('inference-header-content-length'));
  return {
    ...(servedBy !== undefined && { servedBy }),
    ...(modelVersion !== undefined && { modelVersion }),
    ...(device !== undefined && { device }),
    ...(degraded !== undefined && { degraded }),
    ...(attempts !== undefined && { attempts }),
    ...(epoch !== undefined && { epoch }),
    ...(jsonLength !== undefined && { jsonLength }),
  };
}

/** The ServeError an answer carries, undefined when it is no error. */
export function readErrorHeaders(headers: Headers, body: Uint8Array): ServeError | undefined {
  const number = headers.get('nats-service-error-code');
  const message = headers.get('nats-service-error');
  if (number === undefined && message === undefined) return undefined;
  const retryAfter = lenientNumber(headers.get('retry-after'));
  const attempts = lenientNumber(headers.get('attempts'));
  return decodeError(body, {
    code: codeOfNumber(Number(number)),
    ...(message !== undefined && { message }),
    ...(retryAfter !== undefined && { retryAfterMs: retryAfter * 1000 }),
    ...(attempts !== undefined && { attempts }),
  });
}

/** INTERNAL for a number no code has. */
export function codeOfNumber(number: number): ErrorCode {
  const found = (Object.keys(errorCodes) as ErrorCode[]).find((code) => errorCodes[code].number === number);
  return found ?? 'INTERNAL';
}

const headerLengthMax = 512;

/**
 * One printable ASCII line of bounded length: control characters (CR and LF among them) become spaces, what is beyond
 * ASCII becomes `?`, as HTTP headers carry neither. Full texts are in bodies.
 */
export function headerValue(value: string): string {
  return value.slice(0, headerLengthMax).replace(/[\u0000-\u001f\u007f]+/g, ' ').replace(/[^\x20-\x7e]/g, '?').trim();
}

function timeoutOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const timeoutMs = /^\d{1,15}(\.\d{1,15})?$/.test(value.trim()) ? Number(value) : 0;
  if (timeoutMs <= 0) throw bad('Timeout-Ms', value, 'a number of milliseconds > 0');
  return timeoutMs;
}

function runOnceOf(value: string | undefined): boolean {
  const word = value?.trim().toLowerCase();
  if (word === undefined || word === 'true') return false;
  if (word !== 'false') throw bad('Idempotent', value!, 'false (or true, which changes nothing)');
  return true;
}

function priorityOf(value: string | undefined): 0 | 1 {
  const digit = value?.trim();
  if (digit === undefined || digit === '0') return 0;
  if (digit !== '1') throw bad('Priority', value!, '0 (interactive) or 1 (bulk)');
  return 1;
}

function requestIdOf(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (value.length > requestIdLengthMax || !/^[\x21-\x7e]+$/.test(value)) {
    throw bad('Request-Id', value, `1 to ${requestIdLengthMax} printable ASCII characters without spaces`);
  }
  return value;
}

/** Longer than any chain of nested calls can be. */
const pathNamesMax = 16;

function pathOf(value: string | undefined): string[] | undefined {
  if (value === undefined) return undefined;
  const names = value.split(',').map((name) => name.trim());
  if (names.length > pathNamesMax || !names.every(isToken)) throw bad('Actor-Path', value, `1 to ${pathNamesMax} names of actors, joined by commas`);
  return names;
}

function wholeNumber(headers: Headers, name: string, max: number): number | undefined {
  const value = headers.get(name.toLowerCase());
  if (value === undefined) return undefined;
  const number = /^\d{1,16}$/.test(value.trim()) ? Number(value) : NaN;
  if (!(number <= max)) throw bad(name, value, `a whole number from 0 to ${max}`);
  return number;
}

function lenientNumber(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value.trim()) ? Number(value) : undefined;
}

/** Version ff and all-zero ids are invalid; version 00 has exactly four fields, later ones may have more. */
function traceparentOf(value: string | undefined): string | undefined {
  if (value === undefined || value.length > 256) return undefined;
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[\x21-\x7e]*)?$/.exec(value.trim());
  if (!match) return undefined;
  const [, version, traceId, parentId, more] = match;
  if (version === 'ff' || /^0+$/.test(traceId!) || /^0+$/.test(parentId!) || (version === '00' && more !== undefined)) return undefined;
  return value.trim();
}

function bad(name: string, value: string, wanted: string): ServeError {
  return new ServeError('INVALID_ARGUMENT', `header ${name}: ${describe(value)} is not ${wanted}`);
}
