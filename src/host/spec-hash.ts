/**
 * The identity of what an actor is asked to be, for comparing specs between hosts. Files count by their bytes where those
 * are pinned (paths differ from host to host), and what a host derives from its own cores does not count.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { ActorSpec } from '../spec/actor.js';
import type { Pin } from './pins.js';

/** Specs are frozen, and asked for with every change of state. */
const known = new WeakMap<ActorSpec, { readonly pin: Pin; readonly hash: string }>();

/** 16 hex digits. */
export function specHash(spec: ActorSpec, pin: Pin): string {
  const before = known.get(spec);
  if (before?.pin === pin) return before.hash;
  const hash = hashOf(spec, pin);
  known.set(spec, { pin, hash });
  return hash;
}

/** Of all actors of a host file. */
export const specsHash = (hashes: Iterable<string>): string => createHash('sha256').update([...hashes].sort().join()).digest('hex').slice(0, 16);

function hashOf(spec: ActorSpec, pin: Pin): string {
  const { file, session, ...rest } = spec;
  const { intraOpThreads: _ofThisMachine, ...options } = session;
  const identity = { ...rest, session: options, source: pin.sha256 ?? basename(file), version: pin.version };
  return createHash('sha256').update(JSON.stringify(sorted(identity))).digest('hex').slice(0, 16);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === Infinity) return 'Infinity';
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)]));
}
