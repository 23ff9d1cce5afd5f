import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brainFrom, brainToNumber, halfFrom, halfToNumber } from '../../src/tensor/fp16.js';

const formats = [
  { name: 'FP16', from: halfFrom, to: halfToNumber, infinity: 0x7c00 },
  { name: 'BF16', from: brainFrom, to: brainToNumber, infinity: 0x7f80 },
];

for (const { name, from, to, infinity } of formats) {
  test(`${name}: every bit pattern survives widening and rounding`, () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = to(bits);
      if ((bits & 0x7fff) > infinity) assert.ok(Number.isNaN(value) && Number.isNaN(to(from(value))));
      else if (from(value) !== bits) assert.fail(`${bits.toString(16)} -> ${value} -> ${from(value).toString(16)}`);
    }
  });

  test(`${name}: between every two neighbours ties go to even, everything else to the nearer one`, () => {
    for (let bits = 0; bits < infinity; bits++) {
      const low = to(bits);
      // The step after the largest finite value is where infinity would lie if it were a number.
      const high = bits + 1 === infinity ? low + (low - to(bits - 1)) : to(bits + 1);
      const middle = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const nudge = (high - low) * 2 ** -20;
      const got = [from(middle - nudge), from(middle), from(middle + nudge), from(-middle)];
      const wanted = [bits, even, bits + 1, even | 0x8000];
      if (got.some((each, index) => each !== wanted[index])) assert.fail(`${bits.toString(16)}: ${got} wanted ${wanted}`);
    }
  });

  test(`${name}: zeros keep their sign, beyond the range is infinity`, () => {
    assert.deepEqual([from(0), from(-0), from(5e-324), from(-5e-324)], [0, 0x8000, 0, 0x8000]);
    assert.deepEqual([from(Infinity), from(-Infinity), from(1e300), from(-1e300)], [infinity, infinity | 0x8000, infinity, infinity | 0x8000]);
    assert.ok(Object.is(to(0x8000), -0));
  });
}

test('BF16 is the upper half of FP32', () => {
  const float = new Float32Array(1);
  const word = new Uint32Array(float.buffer);
  for (let bits = 0; bits < 0x7f80; bits++) {
    word[0] = bits << 16;
    if (float[0] !== brainToNumber(bits)) assert.fail(bits.toString(16));
  }
});

test('rounding is from the double, not by way of FP32', () => {
  // 1 + 2^-11 is a tie for FP16 and goes down to even; a hair above it, lost in FP32, must go up.
  assert.equal(halfFrom(1 + 2 ** -11), 0x3c00);
  assert.equal(halfFrom(1 + 2 ** -11 + 2 ** -40), 0x3c01);
});
