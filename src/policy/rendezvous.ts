/**
 * Rendezvous hashing: every host gives every actor the same order of hosts without a word between them, and a host that
 * comes or goes moves nothing but what it gains or held.
 *
 * The hash is murmur3's, in plain 32-bit arithmetic: well mixed, equal on every machine, no secret in it. It must never
 * change, or a cluster in the middle of an update would place everything twice.
 */

/** Unsigned 32 bits. */
export function hashOf(text: string): number {
  let hash = 0x9747b28c;
  for (let index = 0; index < text.length; index++) {
    let part = Math.imul(text.charCodeAt(index), 0xcc9e2d51);
    part = (part << 15) | (part >>> 17);
    hash ^= Math.imul(part, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  return mixed(hash ^ text.length);
}

/** Spreads every bit of the input over all bits of the output; a bijection. */
function mixed(bits: number): number {
  let hash = bits;
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 16;
  return hash >>> 0;
}

/** Of two hashes, for callers that keep them: the score without going through the names again. */
export const scoreOfHashes = (actorHash: number, hostHash: number): number => mixed(mixed(actorHash ^ Math.imul(hostHash, 0x9e3779b1)) + hostHash);

/** Unsigned 32 bits; the host with the highest score comes first. */
export const score = (actor: string, host: string): number => scoreOfHashes(hashOf(actor), hashOf(host));

/** A new list, best first; equal scores go by name. */
export function rankHosts(actor: string, hosts: readonly string[]): readonly string[] {
  const actorHash = hashOf(actor);
  return hosts
    .map((host) => ({ host, score: scoreOfHashes(actorHash, hashOf(host)) }))
    .sort((a, b) => b.score - a.score || (a.host < b.host ? -1 : a.host > b.host ? 1 : 0))
    .map(({ host }) => host);
}
