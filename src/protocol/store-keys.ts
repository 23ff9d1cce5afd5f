/**
 * What keys, prefixes and values of a Store may look like, the same for every implementation. The alphabet is that of
 * NATS key-value buckets, so that its own tools can read ours.
 */

/** What fits into one message of a NATS server with default limits, headers included. */
export const storeValueBytesMax = 1_000_000;

const KEY = /^[-/=\w]+(\.[-/=\w]+)*$/;

/** Throws a TypeError for what is no key. */
export function assertStoreKey(key: string): void {
  if (!KEY.test(key)) throw new TypeError(`not a key of a store: ${JSON.stringify(key)}`);
}

/** Throws a RangeError for what is too long. */
export function assertStoreValue(value: Uint8Array): void {
  if (value.length > storeValueBytesMax) throw new RangeError(`the value has ${value.length} bytes, a store takes ${storeValueBytesMax}`);
}

/** What every key below the prefix starts with. A dot at the prefix' end does not count; throws a TypeError for what is none. */
export function storePrefix(prefix: string): string {
  const tokens = prefix.endsWith('.') ? prefix.slice(0, -1) : prefix;
  if (tokens === '') return '';
  assertStoreKey(tokens);
  return `${tokens}.`;
}

const SHA256 = /^[0-9a-f]{64}$/;

/** Throws a TypeError for what is no SHA-256 in lower-case hex. */
export function assertSha256(sha256: string): void {
  if (!SHA256.test(sha256)) throw new TypeError(`not a SHA-256 in hex: ${JSON.stringify(sha256)}`);
}
