/**
 * The store within one process, for hosts without NATS and for simulation: the rules of the replicated one (create once,
 * compare-and-set, one sequence for all keys), shared by all its connections, lost with the process.
 *
 * A call takes two hops through `schedule`, there and back, so that an outage can lose either the question or the answer:
 * both are UNKNOWN to the caller. Values travel by reference: nobody may write to bytes given or received. It deliberately
 * has no replicas and so no stale reads; a roll-back of the store is what `save` and `restore` are for.
 */
import { createHash } from 'node:crypto';
import { StoreError, type Clock, type Log, type Objects, type Store, type StoreCall, type StoreChange, type StoredObject, type StoreEntry, type StoreListing, type StoreState, type TimerHandle } from '../ports.js';
import { assertSha256, assertStoreKey, assertStoreValue, storePrefix } from '../protocol/store-keys.js';

export interface MemoryStoreOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Runs one hop later. Hops of one connection must stay in order. Default setImmediate. */
  readonly schedule?: (hop: () => void) => void;
}

/** Everything the store holds at one moment; opaque. */
export interface SavedStore {
  readonly sequence: number;
  readonly rows: ReadonlyMap<string, StoreChange>;
}

export interface MemoryStore extends Store {
  /** This connection alone loses the store, and finds it again. */
  cut(): void;
  heal(): void;
}

export interface MemoryStores {
  /** Another connection to the same content; `schedule` replaces the common one. */
  connect(options?: { readonly schedule?: (hop: () => void) => void }): MemoryStore;
  objects(): Objects;
  /** As when the server goes away: every connection is down, answers on their way are lost, the content stays. */
  stop(): void;
  start(): void;
  save(): SavedStore;
  /** As when a store comes back from an older copy: later writes never happened, sequence numbers come again. */
  restore(saved: SavedStore): void;
}

class Content implements MemoryStores {
  readonly clock: Clock;
  readonly log: Log;
  readonly connections = new Set<Connection>();
  sequence = 0;
  rows = new Map<string, StoreChange>();
  running = true;
  readonly #schedule: (hop: () => void) => void;
  readonly #objects = new Map<string, Uint8Array>();

  constructor(options: MemoryStoreOptions) {
    this.clock = options.clock;
    this.log = options.log;
    this.#schedule = options.schedule ?? ((hop) => void setImmediate(hop));
  }

  connect(options: { readonly schedule?: (hop: () => void) => void } = {}): MemoryStore {
    const connection = new Connection(this, options.schedule ?? this.#schedule);
    this.connections.add(connection);
    return connection;
  }

  objects(): Objects {
    return new MemoryObjects(this.#objects, () => this.running);
  }

  stop(): void {
    this.running = false;
    for (const each of this.connections) each.look();
  }

  start(): void {
    this.running = true;
    for (const each of this.connections) each.look();
  }

  save(): SavedStore {
    return { sequence: this.sequence, rows: new Map(this.rows) };
  }

  restore({ sequence, rows }: SavedStore): void {
    this.sequence = sequence;
    this.rows = new Map(rows);
  }

  /** `expected` as in the port: 0 for a key that was never written. */
  write(key: string, value: Uint8Array | undefined, expected: number | undefined): number {
    const last = this.rows.get(key)?.revision ?? 0;
    if (expected !== undefined && expected !== last) {
      throw new StoreError(expected === 0 ? 'EXISTS' : 'CONFLICT', `${key}: wanted revision ${expected}, the last one is ${last}`);
    }
    const revision = ++this.sequence;
    const change: StoreChange = value === undefined ? { key, revision, deleted: true } : { key, value, revision, deleted: false };
    this.rows.set(key, change);
    for (const each of this.connections) each.hear(change);
    return revision;
  }
}

interface Watch {
  readonly start: string;
  readonly listener: (change: StoreChange) => void;
  /** The revision told last, by key. */
  readonly told: Map<string, number>;
  stopped: boolean;
}

class Connection implements MemoryStore {
  state: StoreState;
  detail: string;
  lastSequence = 0;
  readonly #content: Content;
  readonly #schedule: (hop: () => void) => void;
  readonly #listeners = new Set<(state: StoreState, detail: string) => void>();
  readonly #watches = new Set<Watch>();
  readonly #waiting = new Set<() => void>();
  #isCut = false;
  /** What was under way when the store went is lost. */
  #outages = 0;

  constructor(content: Content, schedule: (hop: () => void) => void) {
    this.#content = content;
    this.#schedule = schedule;
    this.state = content.running ? 'ready' : 'down';
    this.detail = content.running ? 'in memory' : 'the in-memory store is stopped';
  }

  onState(listener: (state: StoreState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async get(key: string, call: StoreCall): Promise<StoreEntry | undefined> {
    assertStoreKey(key);
    const change = await this.#ask(call, () => this.#content.rows.get(key));
    if (change) this.#saw(change.revision);
    return change && entryOf(change);
  }

  create(key: string, value: Uint8Array, call: StoreCall): Promise<number> {
    return this.#write(key, value, call, 0);
  }

  put(key: string, value: Uint8Array, call: StoreCall): Promise<number> {
    return this.#write(key, value, call, undefined);
  }

  async update(key: string, value: Uint8Array, revision: number, call: StoreCall): Promise<number> {
    if (!Number.isSafeInteger(revision) || revision < 1) throw new RangeError(`not a revision: ${revision}`);
    return this.#write(key, value, call, revision);
  }

  delete(key: string, call: StoreCall): Promise<number> {
    return this.#write(key, undefined, call, undefined);
  }

  async forget(key: string, call: StoreCall): Promise<void> {
    assertStoreKey(key);
    await this.#ask(call, () => this.#content.rows.delete(key));
  }

  async list(prefix: string, call: StoreCall): Promise<StoreListing> {
    const start = storePrefix(prefix);
    const { changes, lastSequence } = await this.#ask(call, () => ({ changes: this.#below(start), lastSequence: this.#content.sequence }));
    this.#saw(lastSequence);
    return { entries: changes.map(entryOf).filter((entry) => entry !== undefined), lastSequence };
  }

  watch(prefix: string, listener: (change: StoreChange) => void): () => void {
    if (this.state === 'closed') throw new StoreError('CLOSED', `cannot watch: ${this.detail}`);
    const watch: Watch = { start: storePrefix(prefix), listener, told: new Map(), stopped: false };
    this.#watches.add(watch);
    this.#catchUp(watch);
    return () => {
      watch.stopped = true;
      this.#watches.delete(watch);
    };
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) watch.stopped = true;
    this.#watches.clear();
    this.#content.connections.delete(this);
    this.#turn('closed', 'closed by its owner');
  }

  cut(): void {
    this.#isCut = true;
    this.look();
  }

  heal(): void {
    this.#isCut = false;
    this.look();
  }

  /** The store came or went. */
  look(): void {
    if (this.#content.running && !this.#isCut) this.#turn('ready', 'in memory');
    else this.#turn('down', this.#isCut ? 'cut off from the in-memory store' : 'the in-memory store is stopped');
  }

  hear(change: StoreChange): void {
    if (this.state !== 'ready') return;
    for (const watch of this.#watches) if (change.key.startsWith(watch.start)) this.#later(() => this.#tell(watch, change));
  }

  async #write(key: string, value: Uint8Array | undefined, call: StoreCall, expected: number | undefined): Promise<number> {
    assertStoreKey(key);
    if (value) assertStoreValue(value);
    const revision = await this.#ask(call, () => this.#content.write(key, value, expected));
    this.#saw(revision);
    return revision;
  }

  #ask<T>({ timeoutMs }: StoreCall, work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.state !== 'ready') throw new StoreError(this.state === 'closed' ? 'CLOSED' : 'DOWN', `nothing was sent: ${this.detail}`);
      let timer: TimerHandle;
      const settle = (): void => {
        this.#content.clock.clearTimeout(timer);
        this.#waiting.delete(lose);
      };
      const lose = (): void => {
        settle();
        reject(new StoreError('UNKNOWN', this.state === 'ready' ? `no answer in ${timeoutMs} ms` : `no answer: ${this.detail}`));
      };
      timer = this.#content.clock.setTimeout(lose, timeoutMs);
      this.#waiting.add(lose);
      this.#later(() => {
        const answer = outcome(work);
        this.#later(() => {
          settle();
          if (answer.ok) resolve(answer.value);
          else reject(answer.error as Error);
        });
      });
    });
  }

  /** One hop, unless the store goes before it ends. */
  #later(hop: () => void): void {
    const outages = this.#outages;
    this.#schedule(() => {
      if (outages === this.#outages) hop();
    });
  }

  #below(start: string): StoreChange[] {
    return [...this.#content.rows.values()].filter(({ key }) => key.startsWith(start)).sort((a, b) => a.revision - b.revision);
  }

  #catchUp(watch: Watch): void {
    this.#later(() => {
      const changes = this.#below(watch.start);
      // The store was rolled back: its new revisions count from a lower number.
      if ([...watch.told.values()].some((revision) => revision > this.#content.sequence)) watch.told.clear();
      this.#later(() => { for (const change of changes) this.#tell(watch, change); });
    });
  }

  #tell(watch: Watch, change: StoreChange): void {
    if (watch.stopped || change.revision <= (watch.told.get(change.key) ?? 0)) return;
    watch.told.set(change.key, change.revision);
    this.#saw(change.revision);
    try {
      watch.listener(change);
    } catch (error) {
      this.#content.log.log('error', 'store-listener-threw', { key: change.key, error });
    }
  }

  #saw(sequence: number): void {
    this.lastSequence = Math.max(this.lastSequence, sequence);
  }

  #turn(state: StoreState, detail: string): void {
    if (this.state === 'closed' || this.state === state) return;
    this.state = state;
    this.detail = detail;
    // A closed connection still gets its answers; those of a lost one are lost.
    if (state === 'down') {
      this.#outages++;
      for (const lose of [...this.#waiting]) lose();
    } else if (state === 'ready') for (const watch of this.#watches) this.#catchUp(watch);
    for (const listener of [...this.#listeners]) listener(state, detail);
  }
}

function outcome<T>(work: () => T): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown } {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    return { ok: false, error };
  }
}

function entryOf(change: StoreChange): StoreEntry | undefined {
  return change.deleted ? undefined : { key: change.key, value: change.value, revision: change.revision };
}

class MemoryObjects implements Objects {
  constructor(private readonly kept: Map<string, Uint8Array>, private readonly isUp: () => boolean) {}

  async put(sha256: string, content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    this.#check(sha256);
    if (this.kept.has(sha256)) return;
    const chunks: Uint8Array[] = [];
    for await (const chunk of content instanceof Uint8Array ? [content] : content) chunks.push(chunk);
    // A copy: whoever gave the bytes may go on using them, and the object must not change.
    const bytes = Buffer.concat(chunks);
    const found = createHash('sha256').update(bytes).digest('hex');
    if (found !== sha256) throw new StoreError('CONFLICT', `the content has the hash ${found}, wanted ${sha256}`);
    this.kept.set(sha256, bytes);
  }

  async get(sha256: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    this.#check(sha256);
    const bytes = this.kept.get(sha256);
    return bytes && (async function* () { yield new Uint8Array(bytes); })();
  }

  async has(sha256: string): Promise<boolean> {
    this.#check(sha256);
    return this.kept.has(sha256);
  }

  async list(): Promise<readonly StoredObject[]> {
    this.#check(undefined);
    return [...this.kept].map(([sha256, bytes]) => ({ sha256, size: bytes.length }));
  }

  async delete(sha256: string): Promise<void> {
    this.#check(sha256);
    this.kept.delete(sha256);
  }

  #check(sha256: string | undefined): void {
    if (sha256 !== undefined) assertSha256(sha256);
    if (!this.isUp()) throw new StoreError('DOWN', 'the in-memory store is stopped');
  }
}

export function createMemoryStore(options: MemoryStoreOptions): MemoryStores {
  return new Content(options);
}
