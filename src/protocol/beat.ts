/**
 * The sign of life a host publishes every `beatMs` (contract, section 4): small enough to send without a thought, and
 * with just enough in it that a listener knows whether it missed a change of state.
 *
 * The host itself is the last token of the subject. A beat carries no time: whoever hears it uses an own clock.
 */

/** A beat is refused beyond this, so that nobody can make it a carrier of state. */
export const BEAT_BYTES_MAX = 256;

export interface Beat {
  /** ULID, new per process start. */
  readonly incarnation: string;
  /** Grows with every beat of one incarnation. */
  readonly sequence: number;
  /** Requests waiting and running. */
  readonly load: number;
  /** `version` of the host state it published last. */
  readonly stateVersion: number;
  /** Highest sequence of the store's stream this host has seen; 0 without a store. */
  readonly storeSequence: number;
  /** Takes no new work and is about to leave. */
  readonly draining?: boolean;
  /** The last beat of this incarnation. */
  readonly leaving?: boolean;
}

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

export const isIncarnation = (value: unknown): value is string => typeof value === 'string' && ULID.test(value);

/** True for whole numbers from 0 that a double holds exactly. */
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isFlag = (value: unknown): value is boolean | undefined => value === undefined || typeof value === 'boolean';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeBeat(beat: Beat): Uint8Array {
  const { incarnation, sequence, load, stateVersion, storeSequence, draining, leaving } = beat;
  return encoder.encode(JSON.stringify({ incarnation, sequence, load, stateVersion, storeSequence, ...(draining && { draining }), ...(leaving && { leaving }) }));
}

/** @returns undefined for what is no beat; fields it does not know are passed over, so that a later version may add some. */
export function decodeBeat(bytes: Uint8Array): Beat | undefined {
  if (bytes.length > BEAT_BYTES_MAX) return undefined;
  const value = parseRecord(bytes);
  if (value === undefined) return undefined;
  const { incarnation, sequence, load, stateVersion, storeSequence, draining, leaving } = value;
  if (!isIncarnation(incarnation) || !isCount(sequence) || !isCount(load) || !isCount(stateVersion) || !isCount(storeSequence)) return undefined;
  if (!isFlag(draining) || !isFlag(leaving)) return undefined;
  return { incarnation, sequence, load, stateVersion, storeSequence, ...(draining && { draining }), ...(leaving && { leaving }) };
}

/** JSON that is an object; undefined for everything else, bad UTF-8 included. */
export function parseRecord(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);
