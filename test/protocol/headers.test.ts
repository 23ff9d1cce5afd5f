import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCodes, isServeError, ServeError } from '../../src/errors.js';
import type { ErrorCode } from '../../src/errors.js';
import { decodeError, encodeError } from '../../src/protocol/error-body.js';
import {
  answerHeaders, codeOfNumber, errorHeaders, headerValue, readAnswerHeaders, readErrorHeaders, readRequestHeaders, requestHeaders,
} from '../../src/protocol/headers.js';

const lower = (headers: Readonly<Record<string, string>>): Map<string, string> =>
  new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('request headers: none', () => {
  assert.deepEqual(readRequestHeaders(new Map()), { runOnce: false, priority: 0, hops: 0 });
});

test('request headers: all', () => {
  const all = {
    'Timeout-Ms': '250.5', Idempotent: 'false', Priority: '1', 'Request-Id': '01J-abc', Hops: '1', 'Attempts-Left': '2', traceparent: trace,
    'Inference-Header-Content-Length': '120', 'Actor-Path': 'page,lines',
  };
  const read = readRequestHeaders(lower(all));
  assert.deepEqual(read, { timeoutMs: 250.5, runOnce: true, priority: 1, requestId: '01J-abc', hops: 1, attemptsLeft: 2, traceparent: trace, path: ['page', 'lines'], jsonLength: 120 });
  assert.deepEqual(requestHeaders(read), { ...all, 'Timeout-Ms': '250' });
  assert.deepEqual(readRequestHeaders(lower(requestHeaders({ runOnce: false, priority: 0, hops: 0 }))), { runOnce: false, priority: 0, hops: 0 });
});

test('Idempotent: only false has effect', () => {
  assert.equal(readRequestHeaders(lower({ Idempotent: 'False' })).runOnce, true);
  assert.equal(readRequestHeaders(lower({ Idempotent: 'true' })).runOnce, false);
});

test('request headers: a bad value is INVALID_ARGUMENT and names the header', () => {
  const bad: Record<string, string[]> = {
    'Timeout-Ms': ['', '0', '-1', '1e3', 'Infinity', 'NaN', '0x10', '5s', '1.', '1'.repeat(40)],
    Idempotent: ['', '0', 'no'],
    Priority: ['', '2', '-1', 'bulk', '01'],
    'Request-Id': ['', 'a b', 'a\nb', 'é', 'x'.repeat(129)],
    Hops: ['', '-1', '1.5', 'one', '256'],
    'Actor-Path': ['', 'a,', 'a b', 'a.b', 'a,*', Array(17).fill('a').join(',')],
    'Attempts-Left': ['', '-1', '1e3', '1000001'],
    'Inference-Header-Content-Length': ['', '-1', '1.5', '9007199254740993', 'x'],
  };
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      assert.throws(() => readRequestHeaders(lower({ [name]: value })), (error) =>
        isServeError(error) && error.code === 'INVALID_ARGUMENT' && error.message.startsWith(`header ${name}: `) && error.message.length < 200 || assert.fail(`${name}: ${value}: ${error}`));
    }
  }
  assert.equal(readRequestHeaders(lower({ 'Request-Id': 'x'.repeat(128) })).requestId!.length, 128);
});

test('traceparent: malformed is ignored, later versions may be longer', () => {
  const kept = (value: string): string | undefined => readRequestHeaders(lower({ traceparent: value })).traceparent;
  assert.equal(kept(trace), trace);
  assert.equal(kept(`cc${trace.slice(2)}-what-the-future-holds`), `cc${trace.slice(2)}-what-the-future-holds`);
  for (const value of ['', 'x', trace.toUpperCase(), `ff${trace.slice(2)}`, `${trace}-more`, trace.replace('4bf92f3577b34da6a3ce929d0e0e4736', '0'.repeat(32)), trace.replace('00f067aa0ba902b7', '0'.repeat(16)), 'x'.repeat(100_000)]) {
    assert.equal(kept(value), undefined, value);
  }
});

test('answer headers: what is written is read', () => {
  const all = { servedBy: 'h1/digits-cpu-0#3', attempts: 2, modelVersion: 'abc', device: 'cuda:0', degraded: 'moved to cpu', epoch: 4, jsonLength: 96 };
  const written = answerHeaders(all);
  assert.deepEqual(Object.keys(written), ['Served-By', 'Attempts', 'Model-Version', 'Device', 'Degraded', 'Epoch', 'Inference-Header-Content-Length']);
  assert.deepEqual(readAnswerHeaders(lower(written)), all);
  assert.deepEqual(answerHeaders({}), {});
  assert.deepEqual(readAnswerHeaders(lower({ Attempts: 'many', Epoch: '-1' })), {});
});

test('header values: one line of ASCII, whatever comes in', () => {
  assert.equal(headerValue('a\r\nEvil: 1\u0000b'), 'a Evil: 1 b');
  assert.equal(headerValue('größe\t→ 4'), 'gr??e ? 4');
  assert.equal(headerValue('x'.repeat(10_000)).length, 512);
  for (const headers of [errorHeaders(new ServeError('INTERNAL', 'a\r\nb')), answerHeaders({ degraded: 'a\r\nb', device: '\n' }), requestHeaders({ requestId: 'a\rb' })]) {
    for (const value of Object.values(headers)) assert.doesNotMatch(value, /[\r\n]/);
  }
});

test('errors: Retry-After is whole seconds, rounded up', () => {
  const retryAfter = (retryAfterMs: number): string | undefined => errorHeaders(new ServeError('RESOURCE_EXHAUSTED', 'full', { retryAfterMs }))['Retry-After'];
  assert.deepEqual([0, 1, 1000, 1001, -5].map(retryAfter), ['0', '1', '1', '2', '0']);
  assert.equal(errorHeaders(new ServeError('INTERNAL', 'x'))['Retry-After'], undefined);
});

test('errors: every code and mark crosses the wire', () => {
  for (const code of Object.keys(errorCodes) as ErrorCode[]) {
    assert.equal(codeOfNumber(errorCodes[code].number), code);
    for (const options of [{}, { outcome: 'unknown' }, { reason: 'guard' }, { retryAfterMs: 2000 }] as const) {
      const error = new ServeError(code, 'größe\nfalsch', options);
      const back = readErrorHeaders(lower(errorHeaders(error)), encodeError(error))!;
      assert.deepEqual([back.toBody(), back.retryAfterMs, back.retryable], [error.toBody(), error.retryAfterMs, error.retryable]);
    }
  }
  assert.equal(readErrorHeaders(new Map([['served-by', 'h']]), new Uint8Array(0)), undefined);
});

test('errors: what others answer becomes a ServeError too', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const read = (text: string): unknown[] => { const { code, message, outcome } = decodeError(bytes(text), { code: 'UNAVAILABLE' }); return [code, message, outcome]; };
  assert.deepEqual(read('{"error":"model not found"}'), ['UNAVAILABLE', 'model not found', undefined]);
  assert.deepEqual(read('<html>502</html>'), ['UNAVAILABLE', 'answered 503', undefined]);
  assert.deepEqual(read('null'), ['UNAVAILABLE', 'answered 503', undefined]);
  assert.deepEqual(read('{"error":7,"code":"toString","outcome":"maybe"}'), ['UNAVAILABLE', 'answered 503', undefined]);
  assert.equal(readErrorHeaders(lower({ 'Nats-Service-Error': 'boom', 'Nats-Service-Error-Code': '418' }), bytes(''))!.toBody().code, 'INTERNAL');
});
