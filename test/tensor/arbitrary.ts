/**
 * Random tensors for the tests of tensor and protocol: every datatype, scalars, empties, any bits.
 */
import fc from 'fast-check';
import { encodeBytes } from '../../src/tensor/bytes.js';
import { elementBytes, elementCount } from '../../src/tensor/datatype.js';
import type { Datatype, NamedTensor, Tensor } from '../../src/tensor/datatype.js';

export const datatypes = Object.keys(elementBytes) as Datatype[];

export const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });

export const datatypeArbitrary = fc.constantFrom(...datatypes);

/** Raw bytes in BYTES unless `utf8`. */
export function tensorOf(datatype: Datatype, shape: readonly number[], utf8 = false): fc.Arbitrary<Tensor> {
  const count = elementCount(shape);
  const exactly = { minLength: count, maxLength: count };
  if (datatype === 'BYTES') {
    const element = utf8 ? fc.string({ unit: 'binary', maxLength: 12 }) : fc.uint8Array({ maxLength: 12 });
    return fc.array<string | Uint8Array>(element, exactly).map((elements) => ({ datatype, shape, data: encodeBytes(elements) }));
  }
  const bytes = count * elementBytes[datatype];
  return fc.uint8Array({ minLength: bytes, maxLength: bytes, max: datatype === 'BOOL' ? 1 : 255 })
    .map((data) => ({ datatype, shape, data }));
}

export const tensors = (utf8 = false): fc.Arbitrary<Tensor> =>
  fc.tuple(datatypeArbitrary, shapes).chain(([datatype, shape]) => tensorOf(datatype, shape, utf8));

export const namedTensorList = (utf8 = false): fc.Arbitrary<NamedTensor[]> =>
  fc.uniqueArray(fc.tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), tensors(utf8)), { maxLength: 5, selector: ([name]) => name })
    .map((list) => list.map(([name, tensor]) => ({ name, ...tensor })));

/** The same bytes at an odd address. */
export function misaligned(data: Uint8Array): Uint8Array {
  const moved = new Uint8Array(data.byteLength + 1).subarray(1);
  moved.set(data);
  return moved;
}
