/** What applying a file of actors would change in the desired state: the decision behind `apply` and `diff`, and its words. */
import type { DesiredEntry } from '../protocol/desired.js';
import { canonical } from '../protocol/desired.js';
import type { ActorDocument } from '../spec/desired.js';
import type { StoredActor } from './desired-store.js';

export interface DesiredChange {
  readonly actor: string;
  readonly change: 'added' | 'changed' | 'unchanged' | 'removed';
  /** In force afterwards. */
  readonly revision: number;
  /** `replicas: 1 -> 2`; of a changed one. */
  readonly differences: readonly string[];
}

export interface Step extends DesiredChange {
  /** What is to be written; undefined: nothing. */
  readonly write: DesiredEntry | undefined;
}

/** @param revisionMin to be above what hosts know of a store that lost writes */
export function stepOf(wanted: ActorDocument | null, name: string, stored: StoredActor | undefined, revisionMin = 1): Step {
  const before = stored?.found.ok ? stored.found.entry : undefined;
  const old = before?.actor ?? null;
  const same = before !== undefined && canonical(old) === canonical(wanted) && before.revision >= revisionMin;
  if (same) return { actor: name, change: 'unchanged', revision: before.revision, differences: [], write: undefined };
  const revision = Math.max((before?.revision ?? 0) + 1, revisionMin);
  const change = wanted === null ? 'removed' : old === null ? 'added' : 'changed';
  const differences = change === 'changed' ? differencesOf(old, wanted) : [];
  return { actor: name, change, revision, differences, write: { revision, actor: wanted } };
}

/** @param prune also removes what the file does not name */
export function planOf(wanted: readonly ActorDocument[], stored: ReadonlyMap<string, StoredActor>, { prune = false, revisionMin = 1 } = {}): Step[] {
  const steps = wanted.map((actor) => stepOf(actor, actor.name, stored.get(actor.name), revisionMin));
  const named = new Set(wanted.map(({ name }) => name));
  const others = [...stored].filter(([name, { found }]) => !named.has(name) && !(found.ok && found.entry.actor === null)).map(([name]) => name).sort();
  return prune ? [...steps, ...others.map((name) => stepOf(null, name, stored.get(name), revisionMin))] : steps;
}

/** Leaf by leaf; lists count as leaves. */
export function differencesOf(before: unknown, after: unknown, path = ''): string[] {
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) => differencesOf(before[key], after[key], path === '' ? key : `${path}.${key}`));
  }
  return canonical({ is: before }) === canonical({ is: after }) ? [] : [`${path}: ${shown(before)} -> ${shown(after)}`];
}

/** One line per actor, its differences below. */
export function planTable(changes: readonly DesiredChange[]): string {
  if (changes.length === 0) return 'no actors\n';
  const width = Math.max(...changes.map(({ actor }) => actor.length));
  return changes.map(({ actor, change, revision, differences }) => [`${actor.padEnd(width)}  ${change.padEnd(9)}  revision ${revision}\n`, ...differences.map((line) => `${' '.repeat(width)}  ${line}\n`)].join('')).join('');
}

const SHOWN_MAX = 100;

function shown(value: unknown): string {
  if (value === undefined) return '(default)';
  const text = JSON.stringify(value);
  return text.length <= SHOWN_MAX ? text : `${text.slice(0, SHOWN_MAX)}…`;
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
