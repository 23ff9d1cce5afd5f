import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseJson, quoteTokens } from '../../src/protocol/json-text.js';

const parse = (text: string): ReturnType<typeof parseJson> => parseJson(new TextEncoder().encode(text));

test('plain JSON: the same value as JSON.parse, and the exact document differs only in long integers', () => {
  fc.assert(fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
    const text = JSON.stringify(value);
    assert.deepEqual(parse(text).value, JSON.parse(text));
    const exact = quoteTokens(text, true);
    assert.deepEqual(JSON.parse(exact, (_, each) => (typeof each === 'string' && /^-?\d{16,}$/.test(each) ? Number(each) : each)),
      JSON.parse(text, (_, each) => (typeof each === 'string' && /^-?\d{16,}$/.test(each) ? Number(each) : each)));
  }), { numRuns: 500 });
});

test('long integers: quoted where they are bare and whole, nowhere else', () => {
  const text = '{"a 1234567890123456":[1234567890123456,-1234567890123456,123456789012345,0.1234567890123456,1234567890123456e1,"1234567890123456","\\"1234567890123456,\\\\"]}';
  assert.equal(quoteTokens(text, true),
    '{"a 1234567890123456":["1234567890123456","-1234567890123456",123456789012345,0.1234567890123456,1234567890123456e1,"1234567890123456","\\"1234567890123456,\\\\"]}');
  assert.deepEqual(parse('[9007199254740993]').exact(), ['9007199254740993']);
});

test('NaN and infinities: accepted as whole bare tokens only', () => {
  assert.deepEqual(parse('[NaN, Infinity,-Infinity,"NaN"]').value, ['NaN', 'Infinity', '-Infinity', 'NaN']);
  assert.deepEqual(parse('[NaN,9007199254740993]').exact(), ['NaN', '9007199254740993']);
  for (const text of ['[NaNs]', '[nan]', '[+Infinity]', '[- Infinity]', '[Infinity', '[xNaN]', '[1NaN]', 'NaN NaN']) {
    assert.throws(() => parse(text), /^TensorError: not JSON: /, text);
  }
});

test('a byte order mark is skipped, invalid UTF-8 is not', () => {
  assert.deepEqual(parse('\ufeff[1]').value, [1]);
  assert.throws(() => parseJson(new Uint8Array([0x22, 0xff, 0x22])), /the JSON is not UTF-8/);
});
