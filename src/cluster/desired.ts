/**
 * What the operator wants of the cluster, as this host knows it from the store (`desired.<actor>`). A full reading every
 * `resyncMs` and whenever the store became ready is the truth; the watch only makes it quick.
 *
 * Fails static: a store that is down, empty or behind changes nothing here. An actor goes away only by a document that
 * says so with a higher revision, never by the absence of one; whatever disagrees is kept as a problem for people to see.
 * It does not look into actors: `desiredSpec` does, on the host that would run them. It writes nothing.
 */
import type { Clock, Log, Store, TimerHandle } from '../ports.js';
import { actorOfKey, canonical, decodeDesired, DESIRED_PREFIX } from '../protocol/desired.js';

export interface DesiredActor {
  readonly revision: number;
  /** An actor as in a host file; not checked any further. For `desiredSpec`. */
  readonly document: unknown;
}

export interface DesiredProblem {
  readonly actor: string;
  /** For people, with the cure where there is one. */
  readonly reason: string;
}

export interface DesiredOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly resyncMs: number;
  /** Called after `actors()` or `problems()` changed, and after the first reading. Must not throw. */
  readonly changed: () => void;
}

/** Of one reading; a store without a leader does not answer at all, and the next reading comes anyway. */
const LIST_MS = 5000;

export class DesiredState {
  readonly #options: DesiredOptions;
  /** Removed ones included, with null for a document: their revision must not be forgotten. */
  readonly #known = new Map<string, DesiredActor>();
  readonly #problems = new Map<string, string>();
  /** Keys the watch told since the present reading began: what that says of them may be older. */
  readonly #heard = new Set<string>();
  readonly #unlisten: () => void;
  readonly #unwatch: () => void;
  #actors: ReadonlyMap<string, DesiredActor> | undefined;
  #timer: TimerHandle;
  #reading = false;
  #readAgain = false;
  #stopped = false;

  /** Starts at once. */
  constructor(options: DesiredOptions) {
    this.#options = options;
    const { store } = options;
    this.#unlisten = store.onState((state) => {
      if (state === 'ready') this.#read();
    });
    this.#unwatch = store.watch(DESIRED_PREFIX, (change) => {
      // A deleted key says nothing by itself: the next reading tells whether it is missing.
      if (change.deleted) return;
      this.#heard.add(change.key);
      if (this.#take(change.key, change.value)) this.#tell(false);
    });
    this.#read();
  }

  /** By name; the very same object until something changes. Undefined: the store was never read, so nobody knows. */
  actors(): ReadonlyMap<string, DesiredActor> | undefined {
    return this.#actors;
  }

  /** By name. */
  problems(): readonly DesiredProblem[] {
    return [...this.#problems].map(([actor, reason]) => ({ actor, reason })).sort((a, b) => (a.actor < b.actor ? -1 : 1));
  }

  stop(): void {
    this.#stopped = true;
    this.#options.clock.clearTimeout(this.#timer);
    this.#unlisten();
    this.#unwatch();
  }

  #read(): void {
    if (this.#stopped) return;
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    const { store, clock, log, resyncMs } = this.#options;
    clock.clearTimeout(this.#timer);
    this.#reading = true;
    this.#readAgain = false;
    this.#heard.clear();
    const before = new Set([...this.#known].filter(([, { document }]) => document !== null).map(([name]) => name));
    store.list(DESIRED_PREFIX, { timeoutMs: LIST_MS }).then(
      ({ entries }) => this.#stopped || this.#merge(entries, before),
      (error: unknown) => log.log('debug', 'desired-not-read', { reason: error instanceof Error ? error.message : String(error) }),
    ).finally(() => {
      this.#reading = false;
      if (this.#readAgain) this.#read();
      else if (!this.#stopped) this.#timer = clock.setTimeout(() => this.#read(), resyncMs);
    });
  }

  /** @param before actors known before the reading began: one that came since may be missing from it */
  #merge(entries: readonly { readonly key: string; readonly value: Uint8Array }[], before: ReadonlySet<string>): void {
    let changed = false;
    const seen = new Set(entries.map(({ key }) => key));
    for (const { key, value } of entries) changed = (!this.#heard.has(key) && this.#take(key, value)) || changed;
    for (const name of before) {
      const key = `${DESIRED_PREFIX}.${name}`;
      if (seen.has(key) || this.#heard.has(key)) continue;
      const { revision } = this.#known.get(name)!;
      changed = this.#complain(name, `the store has lost it, and revision ${revision} stays in force; write it anew: regrow apply FILE --revision ${revision + 1}`) || changed;
    }
    if (changed || this.#actors === undefined) this.#tell(true);
  }

  /** @returns whether anything changed */
  #take(key: string, value: Uint8Array): boolean {
    const name = actorOfKey(key);
    if (name === undefined) return false;
    const known = this.#known.get(name);
    const decoded = decodeDesired(name, value);
    if (!decoded.ok) {
      return this.#complain(name, `its document in the store cannot be read: ${decoded.reason}; ${known?.document ? `revision ${known.revision} stays in force` : 'it is left out'}`);
    }
    const { entry } = decoded;
    if (known && entry.revision < known.revision) {
      return this.#complain(name, `the store has revision ${entry.revision}, which is behind; revision ${known.revision} stays in force; write it anew: regrow apply FILE --revision ${known.revision + 1}`);
    }
    const healed = this.#problems.delete(name);
    // The same number with other words: the store lost the one this host knows, and the operator has spoken since.
    if (known && entry.revision === known.revision && canonical(entry.actor) === canonical(known.document)) return healed;
    this.#known.set(name, { revision: entry.revision, document: entry.actor });
    this.#options.log.log('info', 'desired-changed', { actor: name, revision: entry.revision, change: entry.actor === null ? 'removed' : known?.document ? 'changed' : 'added' });
    return true;
  }

  /** Once, until it is another complaint or none. */
  #complain(actor: string, reason: string): boolean {
    if (this.#problems.get(actor) === reason) return false;
    this.#problems.set(actor, reason);
    this.#options.log.log('warn', 'desired-problem', { actor, reason });
    return true;
  }

  /** @param whole everything in the store was read: until it once was, what the watch heard of must not pass for all */
  #tell(whole: boolean): void {
    if (!whole && this.#actors === undefined) return;
    this.#actors = new Map([...this.#known].filter(([, { document }]) => document !== null).sort(([a], [b]) => (a < b ? -1 : 1)));
    this.#options.changed();
  }
}
