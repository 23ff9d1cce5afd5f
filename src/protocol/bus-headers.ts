/**
 * Header names and values as NATS allows them, for both buses, so that what works in memory works on a wire.
 *
 * Names are compared without case by their readers: writers' spelling (`Timeout-Ms`) stays as it is on the wire, and
 * reading gives lower case. A second value under the same name is ignored.
 */

const NAME = /^[!-9;-~]+$/;
const LINE_BREAK = /[\r\n]/;

/** Throws a TypeError for a name or value that would break the message apart. */
export function assertHeaders(headers: Readonly<Record<string, string>>): void {
  for (const name in headers) {
    if (!NAME.test(name)) throw new TypeError(`header name ${JSON.stringify(name)}: wanted printable ASCII without blanks and colons`);
    if (LINE_BREAK.test(headers[name]!)) throw new TypeError(`header ${name}: a value cannot contain line breaks`);
  }
}

/** Entries with the writer's spelling -> names in lower case, values trimmed; the first value of a name wins. */
export function readHeaders(entries: Iterable<readonly [string, string | readonly string[]]>): ReadonlyMap<string, string> {
  const read = new Map<string, string>();
  for (const [name, value] of entries) {
    const key = name.toLowerCase();
    const first = typeof value === 'string' ? value : value[0];
    if (first !== undefined && !read.has(key)) read.set(key, first.trim());
  }
  return read;
}

export const noHeaders: ReadonlyMap<string, string> = new Map();

/** Length of the header block of a message in bytes: "NATS/1.0", a line per header, an empty line. 0 without headers. */
export function headerBytes(headers: Readonly<Record<string, string>> | undefined): number {
  if (headers === undefined) return 0;
  let length = 12;
  for (const name in headers) length += name.length + 4 + Buffer.byteLength(headers[name]!);
  return length;
}
