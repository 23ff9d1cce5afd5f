/**
 * One actor of a cluster's desired state, as it lies in the store under `desired.<actor>`: what the operator wrote, and a
 * revision that grows with every change of it. An actor that was removed keeps its key with `null`, so that its revision
 * goes on counting, and a store that lost writes cannot be mistaken for somebody's wish.
 *
 * Knows nothing of what makes a good actor: hosts and the command check that with the spec's schema.
 */
import { isToken } from './subjects.js';

export const DESIRED_PREFIX = 'desired';

export interface DesiredEntry {
  /** From 1. */
  readonly revision: number;
  /** As in the actor list of a host file, with `model` by its hash and `module` by its name; null: removed. */
  readonly actor: Readonly<Record<string, unknown>> | null;
}

/** @throws TypeError for what is no actor's name */
export function desiredKey(actor: string): string {
  if (!isToken(actor)) throw new TypeError(`not the name of an actor: ${JSON.stringify(actor)}`);
  return `${DESIRED_PREFIX}.${actor}`;
}

/** The actor a key is about; undefined for other keys. */
export function actorOfKey(key: string): string | undefined {
  const name = key.startsWith(`${DESIRED_PREFIX}.`) ? key.slice(DESIRED_PREFIX.length + 1) : '';
  return isToken(name) ? name : undefined;
}

/** Keys sorted, so that equal wishes are equal bytes. */
export function encodeDesired({ revision, actor }: DesiredEntry): Uint8Array {
  return new TextEncoder().encode(canonical({ revision, actor }));
}

/** Text that is equal for equal documents, whatever the order of their keys. */
export function canonical(document: unknown): string {
  return JSON.stringify(sorted(document));
}

export type DecodedDesired = { readonly ok: true; readonly entry: DesiredEntry } | { readonly ok: false; readonly reason: string };

/** @param name the actor the key is about, which the document must name as well */
export function decodeDesired(name: string, bytes: Uint8Array): DecodedDesired {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return { ok: false, reason: 'it is no JSON' };
  }
  if (!isRecord(value)) return { ok: false, reason: 'it is no JSON object' };
  const { revision, actor } = value;
  if (typeof revision !== 'number' || !Number.isSafeInteger(revision) || revision < 1) return { ok: false, reason: 'its revision is no whole number from 1 on' };
  if (actor === null) return { ok: true, entry: { revision, actor } };
  if (!isRecord(actor)) return { ok: false, reason: 'its actor is neither an object nor null' };
  if (actor['name'] !== name) return { ok: false, reason: `its actor has the name ${JSON.stringify(actor['name'])}` };
  return { ok: true, entry: { revision, actor } };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)]));
}
