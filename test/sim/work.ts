/** What simulated models compute: a pure function of the question, so that a wrong answer cannot pass for a right one. */
import type { NamedTensor } from '../../src/tensor/datatype.js';

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (tensors: readonly NamedTensor[]): string => new TextDecoder().decode(tensors[0]?.data ?? new Uint8Array());
export const tensor = (name: string, data: Uint8Array): NamedTensor => ({ name, datatype: 'UINT8', shape: [data.length], data });

/** What follows a `|` in a question only tells executions apart. */
export function answerOf(actor: string, question: Uint8Array): Uint8Array {
  const cut = question.indexOf(0x7c);
  const asked = cut < 0 ? question : question.subarray(0, cut);
  let sum = 0;
  for (const byte of asked) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return bytesOf(`${actor} says ${asked.length} ${sum}`);
}

export function isRight(actor: string, question: Uint8Array, answer: readonly NamedTensor[]): boolean {
  return answer.length === 1 && answer[0]!.name === 'y' && Buffer.compare(answer[0]!.data, answerOf(actor, question)) === 0;
}
