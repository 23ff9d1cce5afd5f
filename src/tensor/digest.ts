/**
 * A fingerprint of named tensors: equal inputs, whatever their order, have equal fingerprints.
 *
 * The built-in hash is fast (one pass, 128 bits, Math.imul) and good against accident, NOT against malice: somebody who
 * wants a collision can make one. Where a collision would harm somebody (quarantine of poison inputs) pass a
 * cryptographic hash. Bits are compared, not values: 0 and -0 differ, and so do two NaNs with different payloads.
 */
import type { NamedTensor } from './datatype.js';

/** Gets the pieces of one unambiguous byte sequence, in order; returns its hash as text. */
export type HashChunks = (chunks: readonly Uint8Array[]) => string;

/** 32 hex digits with the built-in hash. */
export function fingerprint(tensors: readonly NamedTensor[], hash: HashChunks = fastHash): string {
  const chunks: Uint8Array[] = [];
  for (const tensor of [...tensors].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))) {
    chunks.push(describeTensor(tensor), tensor.data);
  }
  return hash(chunks);
}

const encoder = new TextEncoder();

/** JSON keeps the parts apart, the byte length keeps the data of one tensor out of the next one's description. */
function describeTensor({ name, datatype, shape, data }: NamedTensor): Uint8Array {
  return encoder.encode(JSON.stringify([name, datatype, shape, data.byteLength]));
}

/** MurmurHash3's 128-bit x86 mixing over each chunk, chained through the state; lengths are mixed in, so splits matter. */
export const fastHash: HashChunks = (chunks) => {
  const state = new Uint32Array([0x239b961b, 0xab0e9789, 0x38b34ae5, 0xa1e38b93]);
  for (const chunk of chunks) mixChunk(state, chunk);
  return [...state].map((word) => word.toString(16).padStart(8, '0')).join('');
};

function mixChunk(state: Uint32Array, chunk: Uint8Array): void {
  const blocks = chunk.byteLength >>> 4;
  // A misaligned chunk is copied once: word reads over a copy are still several times faster than assembling bytes.
  const aligned = chunk.byteOffset % 4 === 0 ? chunk : new Uint8Array(chunk);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, blocks * 4);
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  for (let at = 0; at < words.length; at += 4) {
    a = mix(a, words[at]!, 0x239b961b, 15, 0xab0e9789, 19, b, 0x561ccd1b);
    b = mix(b, words[at + 1]!, 0xab0e9789, 16, 0x38b34ae5, 17, c, 0x0bcaa747);
    c = mix(c, words[at + 2]!, 0x38b34ae5, 17, 0xa1e38b93, 15, d, 0x96cd1c35);
    d = mix(d, words[at + 3]!, 0xa1e38b93, 18, 0x239b961b, 13, a, 0x32ac3b17);
  }
  const tail = [0, 0, 0, 0];
  for (let at = blocks * 16; at < chunk.byteLength; at++) tail[(at >> 2) & 3]! |= chunk[at]! << ((at & 3) * 8);
  a = mix(a, tail[0]!, 0x239b961b, 15, 0xab0e9789, 19, b, 0x561ccd1b);
  b = mix(b, tail[1]!, 0xab0e9789, 16, 0x38b34ae5, 17, c, 0x0bcaa747);
  c = mix(c, tail[2]!, 0x38b34ae5, 17, 0xa1e38b93, 15, d, 0x96cd1c35);
  d = mix(d, tail[3]!, 0xa1e38b93, 18, 0x239b961b, 13, a, 0x32ac3b17);
  // The length, split so that chunks beyond 4 GiB differ too.
  a ^= chunk.byteLength;
  b ^= Math.floor(chunk.byteLength / 2 ** 32);
  a = (a + b + c + d) | 0;
  b = (b + a) | 0;
  c = (c + a) | 0;
  d = (d + a) | 0;
  a = finish(a);
  b = finish(b);
  c = finish(c);
  d = finish(d);
  a = (a + b + c + d) | 0;
  state[0] = a;
  state[1] = b + a;
  state[2] = c + a;
  state[3] = d + a;
}

function mix(
  lane: number, word: number, inFactor: number, inTurn: number, outFactor: number, laneTurn: number, next: number, add: number,
): number {
  let k = Math.imul(word, inFactor);
  k = (k << inTurn) | (k >>> (32 - inTurn));
  lane ^= Math.imul(k, outFactor);
  lane = (lane << laneTurn) | (lane >>> (32 - laneTurn));
  return (Math.imul((lane + next) | 0, 5) + add) | 0;
}

function finish(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}
