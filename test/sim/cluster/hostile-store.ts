/**
 * The store at the other end of the hostile bus: every call is a request over the caller's own connection, so whatever can
 * happen to messages happens to it: it is lost, it arrives late, its answer gets lost, its caller is frozen meanwhile.
 * Beside that the store itself fails: writes stand still for seconds and some of them happen after all, answers are
 * dropped in both ways of not knowing, reads come from a replica that was left behind, watches are blind without a word,
 * and everything may be rolled back to an older copy. It keeps one promise, the only one that is asked of it: of several
 * creates of a key that was never written one wins, for as long as it is not rolled back.
 */
import { StoreError, type Bus, type Store, type StoreCall, type StoreChange, type StoreEntry, type StoreErrorCode, type StoreListing, type StoreState } from '../../../src/ports.js';
import { assertStoreKey, assertStoreValue, storePrefix } from '../../../src/protocol/store-keys.js';
import type { Chance } from '../chance.js';
import type { SimTime } from '../sim-time.js';
import type { HostileBroker } from './hostile-bus.js';
import type { Process } from './process.js';

export const STORE_SUBJECT = '$JS.SIM';

interface Content {
  readonly sequence: number;
  readonly rows: ReadonlyMap<string, StoreChange>;
}

/** What one call wants done at the store. */
interface Work {
  readonly isWrite: boolean;
  readonly what: string;
  readonly process: Process;
  do(content: Content): unknown;
  answer?: { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly code: StoreErrorCode; readonly message: string };
}

export class HostileStore {
  sequence = 0;
  rows = new Map<string, StoreChange>();
  /** No write is answered. */
  writesStandStill = 0;
  /** Nothing is. */
  standsStill = 0;
  /** Probability that a call or its answer is lost. */
  loss = 0;
  /** Told of every write that was carried out, and of every acknowledgement that came back. */
  written: ((process: Process, how: string, key: string, value: Uint8Array | undefined) => void) | undefined;
  acknowledged: ((process: Process, how: string, key: string, sentMs: number) => void) | undefined;
  readonly #work = new Map<number, Work>();
  readonly #connections = new Set<Connection>();
  /** Copies of some seconds, newest last. */
  readonly #copies: { readonly atMs: number; readonly content: Content }[] = [];
  #stale: Content | undefined;
  #stalled: (() => void)[] = [];
  #ids = 0;

  constructor(readonly time: SimTime, readonly chance: Chance, broker: HostileBroker) {
    broker.service = (letter, reply) => {
      if (letter.subject !== STORE_SUBJECT) return false;
      this.#serve(new TextDecoder().decode(letter.data), reply);
      return true;
    };
  }

  connect(bus: Bus, process: Process): Store {
    const connection = new Connection(this, bus, process);
    this.#connections.add(connection);
    return connection;
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  register(work: Work): number {
    this.#work.set(++this.#ids, work);
    return this.#ids;
  }

  take(id: number): Work | undefined {
    const work = this.#work.get(id);
    this.#work.delete(id);
    return work;
  }

  // --------------------------------------------------------------------------------------------------------- its faults

  /** Watches of the process hear nothing. */
  blind(process: Process, blind: boolean): void {
    for (const connection of this.#connections) if (connection.process === process) connection.blind(blind);
  }

  /** From now until `refresh` reads are answered with what is there now. */
  leaveBehind(): void {
    this.#stale ??= { sequence: this.sequence, rows: new Map(this.rows) };
  }

  refresh(): void {
    this.#stale = undefined;
  }

  keepCopy(): void {
    this.#copies.push({ atMs: this.time.now(), content: { sequence: this.sequence, rows: new Map(this.rows) } });
    if (this.#copies.length > 30) this.#copies.shift();
  }

  /** Writes of the last `ms` never happened; their numbers come again. @returns whether there was such a copy */
  rollBack(ms: number): boolean {
    const copy = this.#copies.findLast(({ atMs }) => atMs <= this.time.now() - ms);
    if (!copy || copy.content.sequence === this.sequence) return false;
    this.sequence = copy.content.sequence;
    this.rows = new Map(copy.content.rows);
    this.#stale = undefined;
    return true;
  }

  standStill(how: 'writes' | 'all', still: boolean): void {
    if (how === 'writes') this.writesStandStill += still ? 1 : -1;
    else this.standsStill += still ? 1 : -1;
    if (this.writesStandStill === 0 && this.standsStill === 0) for (const late of this.#stalled.splice(0)) late();
  }

  // -------------------------------------------------------------------------------------------------------------- inside

  #serve(message: string, reply: (data: Uint8Array) => void): void {
    const id = Number(message);
    const work = this.#work.get(id);
    if (!work) return; // its caller gave up: what is written late is written all the same
    const serve = (): void => {
      if (this.loss > 0 && this.chance.flip(this.loss)) return;
      const content = !work.isWrite && this.#stale ? this.#stale : this;
      try {
        work.answer = { ok: true, value: work.do(content) };
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        work.answer = { ok: false, code: error.code, message: error.message };
      }
      if (this.loss > 0 && this.chance.flip(this.loss)) return;
      reply(new TextEncoder().encode(String(id)));
    };
    const standsStill = this.standsStill > 0 || (work.isWrite && this.writesStandStill > 0);
    if (!standsStill) serve();
    // What waits for a new leader is carried out when there is one, or was lost with the old one.
    else if (this.chance.flip(0.5)) this.#stalled.push(serve);
  }

  write(key: string, value: Uint8Array | undefined, expected: number | undefined): number {
    const last = this.rows.get(key)?.revision ?? 0;
    if (expected !== undefined && expected !== last) throw new StoreError(expected === 0 ? 'EXISTS' : 'CONFLICT', `${key}: wanted revision ${expected}, the last one is ${last}`);
    const revision = ++this.sequence;
    const change: StoreChange = value === undefined ? { key, revision, deleted: true } : { key, value, revision, deleted: false };
    this.rows.set(key, change);
    for (const each of this.#connections) each.hear(change);
    return revision;
  }
}

interface Watch {
  readonly start: string;
  readonly listener: (change: StoreChange) => void;
  readonly told: Map<string, number>;
  stopped: boolean;
}

export class Connection implements Store {
  state: StoreState = 'down';
  detail = 'not connected yet';
  lastSequence = 0;
  readonly #listeners = new Set<(state: StoreState, detail: string) => void>();
  readonly #watches = new Set<Watch>();
  readonly #stopListening: () => void;
  #blind = false;

  constructor(private readonly store: HostileStore, private readonly bus: Bus, readonly process: Process) {
    this.#stopListening = bus.onState(() => this.#look());
    this.#look();
  }

  onState(listener: (state: StoreState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async get(key: string, call: StoreCall): Promise<StoreEntry | undefined> {
    assertStoreKey(key);
    const change = (await this.#ask(call, `get ${key}`, false, ({ rows }) => rows.get(key))) as StoreChange | undefined;
    if (change) this.#saw(change.revision);
    return change && entryOf(change);
  }

  create(key: string, value: Uint8Array, call: StoreCall): Promise<number> {
    return this.#write('create', key, value, call, 0);
  }

  put(key: string, value: Uint8Array, call: StoreCall): Promise<number> {
    return this.#write('put', key, value, call, undefined);
  }

  update(key: string, value: Uint8Array, revision: number, call: StoreCall): Promise<number> {
    return this.#write('update', key, value, call, revision);
  }

  delete(key: string, call: StoreCall): Promise<number> {
    return this.#write('delete', key, undefined, call, undefined);
  }

  async forget(key: string, call: StoreCall): Promise<void> {
    assertStoreKey(key);
    await this.#ask(call, `forget ${key}`, true, () => this.store.rows.delete(key));
  }

  async list(prefix: string, call: StoreCall): Promise<StoreListing> {
    const start = storePrefix(prefix);
    const { changes, lastSequence } = (await this.#ask(call, `list ${prefix}`, false, ({ rows, sequence }) => ({ changes: below(rows, start), lastSequence: sequence }))) as { changes: StoreChange[]; lastSequence: number };
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
    this.#watches.clear();
    this.#stopListening();
    this.store.forget(this);
    this.#turn('closed', 'closed by its owner');
  }

  blind(blind: boolean): void {
    this.#blind = blind;
    if (!blind) for (const watch of this.#watches) this.#catchUp(watch);
  }

  /** Pushed by the store; what is pushed to somebody who cannot hear comes with the next catching up. */
  hear(change: StoreChange): void {
    if (this.#blind || this.state !== 'ready') return;
    for (const watch of this.#watches) if (change.key.startsWith(watch.start)) this.#arrive(() => this.#tell(watch, change));
  }

  #catchUp(watch: Watch): void {
    if (this.state !== 'ready' || this.#blind) return;
    const { rows, sequence } = this.store;
    const changes = below(rows, watch.start);
    this.#arrive(() => {
      // The store was rolled back: its new revisions count from a lower number.
      if ([...watch.told.values()].some((revision) => revision > sequence)) watch.told.clear();
      for (const change of changes) this.#tell(watch, change);
    });
  }

  #arrive(callback: () => void): void {
    const { time, chance } = this.store;
    time.setTimeout(() => {
      if (this.bus.state === 'up') this.process.outside(callback);
    }, chance.real(0.5, 3));
  }

  #tell(watch: Watch, change: StoreChange): void {
    if (watch.stopped || change.revision <= (watch.told.get(change.key) ?? 0)) return;
    watch.told.set(change.key, change.revision);
    this.#saw(change.revision);
    watch.listener(change);
  }

  async #write(how: string, key: string, value: Uint8Array | undefined, call: StoreCall, expected: number | undefined): Promise<number> {
    assertStoreKey(key);
    if (value) assertStoreValue(value);
    const sentMs = this.store.time.now();
    const revision = (await this.#ask(call, `${how} ${key}`, true, () => {
      const written = this.store.write(key, value, expected);
      this.store.written?.(this.process, how, key, value);
      return written;
    })) as number;
    this.store.acknowledged?.(this.process, how, key, sentMs);
    this.#saw(revision);
    return revision;
  }

  async #ask({ timeoutMs }: StoreCall, what: string, isWrite: boolean, work: (content: Content) => unknown): Promise<unknown> {
    if (this.state === 'closed') throw new StoreError('CLOSED', `nothing was sent: ${this.detail}`);
    if (this.bus.state !== 'up') throw new StoreError('DOWN', `nothing was sent: ${this.detail}`);
    const id = this.store.register({ isWrite, what, process: this.process, do: work });
    try {
      const { data } = await this.bus.request(STORE_SUBJECT, new TextEncoder().encode(String(id)), { timeoutMs });
      const { answer } = this.store.take(Number(new TextDecoder().decode(data)))!;
      if (answer!.ok) return answer!.value;
      throw new StoreError(answer!.code, answer!.message);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      throw new StoreError('UNKNOWN', `no answer to ${what}: ${String(error)}`);
    }
  }

  #look(): void {
    if (this.bus.state === 'up') this.#turn('ready', 'simulated');
    else this.#turn('down', 'the connection is down');
  }

  #saw(sequence: number): void {
    this.lastSequence = Math.max(this.lastSequence, sequence);
  }

  #turn(state: StoreState, detail: string): void {
    if (this.state === 'closed' || this.state === state) return;
    this.state = state;
    this.detail = detail;
    if (state === 'ready') for (const watch of this.#watches) this.#catchUp(watch);
    for (const listener of [...this.#listeners]) listener(state, detail);
  }
}

const below = (rows: ReadonlyMap<string, StoreChange>, start: string): StoreChange[] => [...rows.values()].filter(({ key }) => key.startsWith(start)).sort((a, b) => a.revision - b.revision);

function entryOf(change: StoreChange): StoreEntry | undefined {
  return change.deleted ? undefined : { key: change.key, value: change.value, revision: change.revision };
}
