/**
 * What JSON.parse loses, kept: integers beyond 2^53, and the NaN and Infinity tokens that Triton and Python write.
 *
 * Both are found by one scan over the text that puts quotes around such tokens, after which JSON.parse sees strings and
 * infer-json.ts turns them back. The scan runs only when a first parse has shown the need: node 20 has no reviver
 * that sees the source text. Does not validate: the parser does, afterwards.
 */
import { TensorError } from '../tensor/shape.js';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** A parsed text that can be asked once more, without loss. */
export interface ParsedJson {
  readonly value: unknown;
  /** The same document with every integer of 16 digits and more as a string. Parsed at most once. */
  readonly exact: () => unknown;
}

/** @throws TensorError when the bytes are not UTF-8 or not JSON. */
export function parseJson(bytes: Uint8Array): ParsedJson {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw new TensorError('the JSON is not UTF-8');
  }
  let exact: unknown;
  return {
    value: parse(text),
    exact: () => (exact ??= JSON.parse(quoteTokens(text, true))),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (text.includes('NaN') || text.includes('Infinity')) {
      try {
        return JSON.parse(quoteTokens(text, false));
      } catch {
        // The first error speaks of the text the caller wrote.
      }
    }
    throw new TensorError(`not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
}

const quote = 0x22;
const backslash = 0x5c;

/** Quotes bare NaN, Infinity and -Infinity, and with `integers` every bare integer of 16 or more digits. */
export function quoteTokens(text: string, integers: boolean): string {
  let quoted = '';
  let copied = 0;
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = endOfString(text, at);
    } else if (startsToken(code)) {
      const end = endOfToken(text, at);
      const token = text.slice(at, end);
      if (token === 'NaN' || token === 'Infinity' || token === '-Infinity' || (integers && isLongInteger(token))) {
        quoted += `${text.slice(copied, at)}"${token}"`;
        copied = end;
      }
      at = end;
    } else {
      at++;
    }
  }
  return quoted + text.slice(copied);
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === quote) return at + 1;
    at += code === backslash ? 2 : 1;
  }
  return at;
}

/** A digit, a minus sign, N or I. */
function startsToken(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || code === 0x2d || code === 0x4e || code === 0x49;
}

/** Numbers and words: letters, digits, plus, minus, dot. */
function endOfToken(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    const inside = (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) ||
      code === 0x2b || code === 0x2d || code === 0x2e;
    if (!inside) break;
    at++;
  }
  return at;
}

function isLongInteger(token: string): boolean {
  return token.length >= 16 && /^-?\d{16,}$/.test(token);
}
