/**
 * The store over JetStream: a key-value bucket in NATS' own format (`nats kv` reads it), made when it is missing. It
 * opens by itself whenever the bus is up, also after a server came back empty; a server without JetStream makes it `absent`.
 *
 * Assumes that nobody else gives the bucket an age limit: deletion marks would expire, and keys could be created twice.
 * Such limits are taken back at opening. `replicas` counts when the bucket is made and never changes an existing one
 * (`nats stream edit KV_regrow --replicas 3` does, when one server became a cluster).
 * An acknowledged write outlives the death of the server, but not of its machine, unless the server has other replicas
 * or `sync_interval: always`; lastSequence is how others notice that.
 */
import { StoreError, type Bus, type BusMessage, type Clock, type Log, type Store, type StoreCall, type StoreChange, type StoreEntry, type StoreListing, type StoreState, type TimerHandle } from '../ports.js';
import { assertStoreKey, assertStoreValue, storePrefix } from '../protocol/store-keys.js';
import { asStoreError, JetStreamAbsent, JetStreamApi, JetStreamRefusal, STREAM_NOT_FOUND, type NewStream, type Stored, type StreamState } from './nats-store-api.js';
import { StoreWatch } from './nats-store-watch.js';

export interface NatsStoreOptions {
  /** Subject prefix of this cluster; the bucket has its name, dots replaced. Default `regrow`. */
  readonly prefix?: string;
  /** Servers that keep a copy: 1, 3 or 5. Default: 3 where the server belongs to a cluster, else 1. */
  readonly replicas?: number;
}

export interface NatsStoreOutside {
  readonly clock: Clock;
  readonly log: Log;
}

/** Short, because a bucket between two leaders does not answer at all: what counts is to ask again soon after the election. */
const OPEN_MS = 2000;
const REOPEN_MS = 250;
/** Between two tries of a `create` whose key other writers are being decided on. */
const UNDECIDED_MS = 10;
/** JetStream may be switched on; that is a person's work, and takes its time. */
const REOPEN_ABSENT_MS = 30_000;
const OPERATION = 'KV-Operation';

const noBytes = new Uint8Array(0);

/** Of the key-value bucket and of the object store. */
export function bucketName(prefix = 'regrow'): string {
  return prefix.replace(/[^-\w]/g, '_');
}

class NatsStore implements Store {
  state: StoreState = 'down';
  detail = 'not opened yet';
  lastSequence = 0;
  readonly #bus: Bus;
  readonly #api: JetStreamApi;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #config: NewStream;
  readonly #replicas: number | undefined;
  /** In front of keys in the stream, and in what the server tells about it. */
  readonly #subjects: string;
  readonly #news: string;
  readonly #listeners = new Set<(state: StoreState, detail: string) => void>();
  readonly #watches = new Set<StoreWatch>();
  readonly #unlisten: () => void;
  #opening: Promise<void> | undefined;
  #retry: TimerHandle;

  constructor(bus: Bus, { prefix = 'regrow', replicas }: NatsStoreOptions, { clock, log }: NatsStoreOutside) {
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
    this.#api = new JetStreamApi(bus, clock);
    const bucket = bucketName(prefix);
    this.#subjects = `$KV.${bucket}.`;
    this.#news = `${prefix}.store.`;
    this.#config = bucketConfig(bucket, this.#subjects, this.#news);
    this.#replicas = replicas;
    this.#unlisten = bus.onState((state, detail) => this.#follow(state, detail));
    if (bus.state === 'up') this.#open();
    else this.#follow(bus.state, 'no connection yet');
  }

  onState(listener: (state: StoreState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async get(key: string, call: StoreCall): Promise<StoreEntry | undefined> {
    assertStoreKey(key);
    const message = await this.#call(call, (timeoutMs) => this.#api.last(this.#config.name, this.#subjects + key, timeoutMs));
    const change = message && this.#change(message);
    return change && !change.deleted ? entryOf(change) : undefined;
  }

  /**
   * With several replicas the server refuses while it is deciding about another write to the key, and that one may fail.
   * Ours certainly did not happen, so it is tried again until the answer is final.
   */
  async create(key: string, value: Uint8Array, { timeoutMs }: StoreCall): Promise<number> {
    const until = this.#clock.now() + timeoutMs;
    for (;;) {
      try {
        return await this.#write(key, value, { timeoutMs: Math.max(1, until - this.#clock.now()) }, { expected: 0 });
      } catch (error) {
        if (!(error instanceof StoreError && error.code === 'CONFLICT') || this.#clock.now() + UNDECIDED_MS >= until) throw error;
        await new Promise<void>((resolve) => void this.#clock.setTimeout(resolve, UNDECIDED_MS));
      }
    }
  }

  put(key: string, value: Uint8Array, call: StoreCall): Promise<number> {
    return this.#write(key, value, call, {});
  }

  async update(key: string, value: Uint8Array, revision: number, call: StoreCall): Promise<number> {
    // 0 would be a create.
    if (!Number.isSafeInteger(revision) || revision < 1) throw new RangeError(`not a revision: ${revision}`);
    return this.#write(key, value, call, { expected: revision });
  }

  delete(key: string, call: StoreCall): Promise<number> {
    return this.#write(key, noBytes, call, { headers: { [OPERATION]: 'DEL' } });
  }

  async forget(key: string, call: StoreCall): Promise<void> {
    assertStoreKey(key);
    await this.#call(call, (timeoutMs) => this.#api.purge(this.#config.name, this.#subjects + key, timeoutMs));
  }

  async list(prefix: string, call: StoreCall): Promise<StoreListing> {
    const { changes, lastSequence } = await this.#reread(storePrefix(prefix), call);
    return { entries: changes.filter((change) => !change.deleted).map(entryOf), lastSequence };
  }

  watch(prefix: string, listener: (change: StoreChange) => void): () => void {
    if (this.state === 'closed') throw new StoreError('CLOSED', `cannot watch: ${this.detail}`);
    const start = storePrefix(prefix);
    const watch = new StoreWatch(listener, {
      clock: this.#clock,
      log: this.#log,
      listen: (heard) => this.#bus.subscribe(`${this.#news}${start}>`, (message) => {
        const change = this.#told(message);
        if (change) heard(change);
      }),
      reread: (call) => this.#reread(start, call),
    });
    this.#watches.add(watch);
    if (this.state === 'ready') watch.catchUp();
    return () => {
      this.#watches.delete(watch);
      watch.stop();
    };
  }

  async close(): Promise<void> {
    this.#end('closed by its owner');
  }

  // -------------------------------------------------------------------------------------------------------- calls

  async #write(key: string, value: Uint8Array, call: StoreCall, how: { readonly expected?: number; readonly headers?: Readonly<Record<string, string>> }): Promise<number> {
    assertStoreKey(key);
    assertStoreValue(value);
    const sequence = await this.#call(call, (timeoutMs) => this.#api.publish(this.#subjects + key, value, { ...how, timeoutMs }));
    this.#saw(sequence);
    return sequence;
  }

  async #reread(start: string, call: StoreCall): Promise<{ readonly changes: readonly StoreChange[]; readonly lastSequence: number }> {
    const found = await this.#call(call, (timeoutMs) => this.#api.lastOfAll(this.#config.name, `${this.#subjects}${start}>`, timeoutMs));
    if (!found) {
      this.#reopen();
      throw new StoreError('DOWN', `the bucket ${this.#config.name} is gone`);
    }
    this.#saw(found.lastSequence);
    return { changes: found.messages.map((message) => this.#change(message)), lastSequence: found.lastSequence };
  }

  /** While it opens, calls wait for that within their own time. */
  async #call<T>({ timeoutMs }: StoreCall, work: (timeoutMs: number) => Promise<T>): Promise<T> {
    const since = this.#clock.now();
    if (this.#opening && this.state === 'down') await this.#opened(timeoutMs);
    if (this.state !== 'ready') throw new StoreError(this.state === 'closed' ? 'CLOSED' : 'DOWN', `no store: ${this.detail}`);
    try {
      return await work(Math.max(1, timeoutMs - (this.#clock.now() - since)));
    } catch (error) {
      if (error instanceof JetStreamRefusal && error.code === STREAM_NOT_FOUND) this.#reopen();
      throw asStoreError(error);
    }
  }

  /** Somebody removed the bucket under us. */
  #reopen(): void {
    if (this.state !== 'ready') return;
    this.#turn('down', `the bucket ${this.#config.name} is gone`);
    this.#open();
  }

  async #opened(timeoutMs: number): Promise<void> {
    let timer: TimerHandle;
    const late = new Promise<void>((resolve) => { timer = this.#clock.setTimeout(resolve, timeoutMs); });
    await Promise.race([this.#opening, late]);
    this.#clock.clearTimeout(timer);
  }

  #change({ subject, data, sequence, headers }: Stored): StoreChange {
    this.#saw(sequence);
    const key = subject.slice(this.#subjects.length);
    const deleted = /^(KV-Operation: ?(DEL|PURGE)|Nats-Marker-Reason:)/im.test(headers);
    return deleted ? { key, revision: sequence, deleted } : { key, value: data, revision: sequence, deleted };
  }

  /** What the server tells after a write: the message itself, with where it lies. */
  #told(message: BusMessage): StoreChange | undefined {
    const revision = Number(message.headers.get('nats-sequence'));
    // Somebody else's words on our subject.
    if (!Number.isSafeInteger(revision) || revision < 1) return undefined;
    this.#saw(revision);
    const key = message.subject.slice(this.#news.length);
    const operation = message.headers.get('kv-operation');
    if (operation !== undefined || message.headers.has('nats-marker-reason')) return { key, revision, deleted: true };
    return { key, value: message.data, revision, deleted: false };
  }

  #saw(sequence: number): void {
    this.lastSequence = Math.max(this.lastSequence, sequence);
  }

  // ------------------------------------------------------------------------------------------------------ opening

  #follow(state: Bus['state'], detail: string): void {
    this.#clock.clearTimeout(this.#retry);
    if (state === 'up') this.#open();
    else if (state === 'closed') this.#end(`the bus is closed: ${detail}`);
    else {
      this.#opening = undefined;
      this.#turn('down', detail);
    }
  }

  #open(): void {
    const opening = this.#ensure().then(
      (found) => {
        if (this.#opening !== opening) return;
        this.#opening = undefined;
        this.#saw(found.lastSequence);
        this.#turn('ready', `bucket ${found.config.name}, ${found.config.num_replicas} replica${found.config.num_replicas === 1 ? '' : 's'}`);
        for (const watch of this.#watches) watch.catchUp();
      },
      (error: unknown) => {
        if (this.#opening !== opening) return;
        this.#opening = undefined;
        const absent = error instanceof JetStreamAbsent;
        this.#turn(absent ? 'absent' : 'down', error instanceof Error ? error.message : String(error));
        this.#retry = this.#clock.setTimeout(() => this.#open(), absent ? REOPEN_ABSENT_MS : REOPEN_MS);
      },
    );
    this.#opening = opening;
  }

  async #ensure(): Promise<StreamState> {
    const found = await this.#api.stream(this.#config.name, OPEN_MS);
    if (!found) return this.#api.createReplicated(this.#config, this.#replicas, OPEN_MS);
    const { config } = found;
    if (config.storage !== 'file') throw new JetStreamAbsent(`bucket ${config.name} keeps its keys in memory only; remove it, or give this cluster another prefix`);
    const wanted = { max_age: 0, max_msgs_per_subject: 1, allow_direct: false, republish: this.#config['republish'] };
    const same = Object.entries(wanted).every(([name, value]) => JSON.stringify(config[name]) === JSON.stringify(value));
    if (same) return found;
    this.#log.log('warn', 'store-bucket-changed', { bucket: config.name, wanted });
    return this.#api.updateStream({ ...config, ...wanted }, OPEN_MS);
  }

  #end(detail: string): void {
    this.#unlisten();
    this.#clock.clearTimeout(this.#retry);
    this.#opening = undefined;
    for (const watch of this.#watches) watch.stop();
    this.#watches.clear();
    this.#turn('closed', detail);
  }

  #turn(state: StoreState, detail: string): void {
    if (this.state === 'closed') return;
    const news = state !== this.state;
    if (news || detail !== this.detail) this.#log.log(state === 'ready' || state === 'closed' ? 'info' : 'warn', `store-${state}`, { bucket: this.#config.name, detail });
    this.state = state;
    this.detail = detail;
    if (news) for (const listener of [...this.#listeners]) listener(state, detail);
  }
}

function entryOf(change: StoreChange): StoreEntry {
  if (change.deleted) throw new Error('a deleted key has no entry');
  return { key: change.key, value: change.value, revision: change.revision };
}

/** As NATS' own clients make buckets, but for `allow_direct`: a direct get may be answered by a replica that is behind. */
function bucketConfig(bucket: string, subjects: string, news: string): NewStream {
  return {
    name: `KV_${bucket}`,
    description: 'regrow: leases, ownership, quarantine, desired state',
    subjects: [`${subjects}>`],
    retention: 'limits',
    storage: 'file',
    max_msgs_per_subject: 1,
    max_msgs: -1,
    max_bytes: -1,
    max_msg_size: -1,
    max_age: 0,
    discard: 'new',
    allow_rollup_hdrs: true,
    deny_delete: true,
    deny_purge: false,
    allow_direct: false,
    // Tells every committed write on core subjects: watching is a plain subscription, and there is no consumer to go blind.
    republish: { src: `${subjects}>`, dest: `${news}>` },
  };
}

/** Returns at once; `ready` once the bus is up and the bucket is there. */
export function createNatsStore(bus: Bus, options: NatsStoreOptions, outside: NatsStoreOutside): Store {
  return new NatsStore(bus, options, outside);
}
