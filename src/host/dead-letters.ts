/**
 * Requests that were confirmed as poison, to look at and to try again: `<dataDir>/dead-letters/<id>.json` says what
 * happened, `<id>.oip` is the request itself as any client can send it (JSON of `jsonLength` bytes, then the tensors).
 * Without a folder both stay in memory.
 *
 * Bounded by count, bytes and age, the oldest go first; equal requests are one letter. `deadLetters: false` keeps no
 * request, only its hash and shapes. Decides nothing: whether a letter is tried again is an operator's order.
 */
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Log, Random, TimerHandle } from '../ports.js';
import { encodeRequest, encodedBytes, joinEncoded } from '../protocol/infer.js';
import type { HostSpec } from '../spec/host.js';
import type { NamedTensor } from '../tensor/datatype.js';
import { writeFileWhole, writeLargeFileWhole } from './files.js';

export interface DeadLetter {
  /** A ULID; names the files too. */
  readonly id: string;
  readonly actor: string;
  readonly version: string;
  /** Of the quarantine. */
  readonly fingerprint: string;
  /** ISO time of the last death. */
  readonly time: string;
  /** Replicas ended in solo runs of it. */
  readonly times: number;
  readonly requestId: string;
  /** How the replica ended. */
  readonly exit: string;
  readonly inputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[]; readonly bytes: number }[];
  /** The request as kept; absent when only hash and shapes are. */
  readonly request?: {
    readonly bytes: number;
    /** Of the header `Inference-Header-Content-Length`; absent when there is JSON only. */
    readonly jsonLength?: number;
    /** Absolute path; absent in memory. */
    readonly file?: string;
  };
  /** Why there is no `request`. */
  readonly notKept?: string;
  readonly lastReplay?: { readonly time: string; readonly result: string };
}

export interface Death {
  readonly actor: string;
  readonly version: string;
  readonly fingerprint: string;
  readonly requestId: string;
  readonly exit: string;
  readonly inputs: readonly NamedTensor[];
  readonly outputs: readonly string[] | undefined;
}

export interface DeadLettersOptions {
  readonly limits: HostSpec['deadLetters'];
  readonly folder: string | undefined;
  readonly clock: Clock;
  readonly random: Pick<Random, 'ulid'>;
  readonly log: Log;
}

/** Of `false`, where only small descriptions are kept. */
const SHAPES_ONLY = { countMax: 100, bytesMax: 0, keepMs: 86_400_000 } as const;
const TIMER_MAX_MS = 2_147_483_647;

export class DeadLetters {
  /** Oldest death first. */
  readonly #letters = new Map<string, DeadLetter>();
  readonly #requests = new Map<string, Uint8Array>();
  readonly #limits: { readonly countMax: number; readonly bytesMax: number; readonly keepMs: number };
  #disk: Promise<void> = Promise.resolve();
  #sweeper: TimerHandle | undefined;
  #closed = false;

  /** Reads what an earlier process left. @throws when the folder cannot be made or listed */
  constructor(private readonly options: DeadLettersOptions) {
    this.#limits = options.limits === false ? SHAPES_ONLY : options.limits;
    if (options.folder !== undefined) this.#restore(options.folder);
    this.#sweep();
  }

  add(death: Death): DeadLetter {
    const { clock, random } = this.options;
    const known = [...this.#letters.values()].find(({ fingerprint }) => fingerprint === death.fingerprint);
    const { inputs, outputs, ...facts } = death;
    const letter: DeadLetter = {
      id: known?.id ?? random.ulid(),
      ...facts,
      time: new Date(clock.wallTime()).toISOString(),
      times: (known?.times ?? 0) + 1,
      inputs: inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, bytes: data.byteLength })),
      ...this.#keepRequest(known, death),
      ...(known?.lastReplay && { lastReplay: known.lastReplay }),
    };
    const { id } = letter;
    this.#letters.delete(id); // its place is by its last death
    this.#letters.set(id, letter);
    const request = letter.request && known?.request === undefined ? this.#encode(death, letter) : undefined;
    this.#write(letter, request);
    this.#sweep();
    return letter;
  }

  /** Newest first. */
  list(): DeadLetter[] {
    this.#sweep();
    return [...this.#letters.values()].reverse();
  }

  get(id: string): DeadLetter | undefined {
    this.#sweep();
    return this.#letters.get(id);
  }

  /** The bytes of the request; undefined when they are not kept or cannot be read any more. */
  async request(id: string): Promise<Uint8Array | undefined> {
    const file = this.#letters.get(id)?.request?.file;
    if (file === undefined) return this.#requests.get(id);
    await this.#disk;
    return readFile(file).catch(() => undefined);
  }

  replayed(id: string, result: string): void {
    const letter = this.#letters.get(id);
    if (!letter) return;
    const noted = { ...letter, lastReplay: { time: new Date(this.options.clock.wallTime()).toISOString(), result } };
    this.#letters.set(id, noted);
    this.#write(noted, undefined);
  }

  /** One, or all. @returns how many went */
  clear(id?: string): number {
    const ids = id === undefined ? [...this.#letters.keys()] : this.#letters.has(id) ? [id] : [];
    for (const gone of ids) this.#forget(gone);
    return ids.length;
  }

  /** Resolves when everything is on disk. */
  close(): Promise<void> {
    this.#closed = true;
    this.options.clock.clearTimeout(this.#sweeper);
    return this.#disk;
  }

  // ------------------------------------------------------------------------------------------------------------ keeping

  /** What will be kept, decided by size before anything is copied. */
  #keepRequest(known: DeadLetter | undefined, death: Death): Pick<DeadLetter, 'request' | 'notKept'> {
    if (this.options.limits === false) return { notKept: 'deadLetters is false: hash and shapes only' };
    if (known?.request) return { request: known.request };
    const encoded = encodeRequest(death.inputs, { id: death.requestId, ...(death.outputs && { outputs: death.outputs }) });
    const bytes = encodedBytes(encoded);
    if (bytes > this.#limits.bytesMax) return { notKept: `it has ${bytes} bytes, deadLetters.bytesMax is ${this.#limits.bytesMax}` };
    return { request: { bytes, ...(encoded.jsonLength !== undefined && { jsonLength: encoded.jsonLength }) } };
  }

  #encode({ inputs, requestId, outputs }: Death, { id, request }: DeadLetter): Uint8Array {
    const bytes = joinEncoded(encodeRequest(inputs, { id: requestId, ...(outputs && { outputs }) }));
    const { folder } = this.options;
    if (folder === undefined) this.#requests.set(id, bytes);
    else this.#letters.set(id, { ...this.#letters.get(id)!, request: { ...request!, file: join(folder, `${id}.oip`) } });
    return bytes;
  }

  /** The request first: a description without one would promise too much. */
  #write({ id }: DeadLetter, request: Uint8Array | undefined): void {
    const { folder, log } = this.options;
    if (folder === undefined) return;
    this.#later(async () => {
      try {
        if (request && this.#letters.has(id)) await writeLargeFileWhole(join(folder, `${id}.oip`), request);
      } catch (error) {
        log.log('error', 'dead-letter-not-written', { id, error: String(error) });
        const letter = this.#letters.get(id);
        if (letter) this.#letters.set(id, { ...letter, request: undefined, notKept: `it could not be written: ${String(error)}` });
      }
      const letter = this.#letters.get(id); // as it is by now
      if (letter) writeFileWhole(join(folder, `${id}.json`), `${JSON.stringify(letter)}\n`);
      else await rm(join(folder, `${id}.oip`), { force: true });
    });
  }

  #forget(id: string): void {
    this.#letters.delete(id);
    this.#requests.delete(id);
    const { folder } = this.options;
    if (folder === undefined) return;
    this.#later(async () => {
      for (const name of [`${id}.json`, `${id}.oip`]) await rm(join(folder, name), { force: true });
    });
  }

  #later(job: () => Promise<void>): void {
    this.#disk = this.#disk.then(job).catch((error: unknown) => {
      this.options.log.log('error', 'dead-letters-disk', { error: String(error) });
    });
  }

  #sweep(): void {
    const { clock } = this.options;
    const { countMax, bytesMax, keepMs } = this.#limits;
    const expiredBefore = clock.wallTime() - keepMs;
    let bytes = [...this.#letters.values()].reduce((sum, { request }) => sum + (request?.bytes ?? 0), 0);
    for (const { id, time, request } of [...this.#letters.values()]) {
      if (Date.parse(time) > expiredBefore && this.#letters.size <= countMax && bytes <= bytesMax) break;
      bytes -= request?.bytes ?? 0;
      this.#forget(id);
    }
    clock.clearTimeout(this.#sweeper);
    const oldest = this.#letters.values().next().value;
    if (!oldest || this.#closed) return;
    // One millisecond late rather than early, as everywhere.
    this.#sweeper = clock.setTimeout(() => this.#sweep(), Math.min(TIMER_MAX_MS, Math.max(0, Date.parse(oldest.time) - expiredBefore) + 1));
  }

  // ---------------------------------------------------------------------------------------------------------- restoring

  #restore(folder: string): void {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const names = readdirSync(folder);
    const found: DeadLetter[] = [];
    for (const name of names.filter((known) => known.endsWith('.json'))) {
      const letter = this.#readLetter(folder, name);
      if (letter) found.push(letter);
    }
    for (const letter of found.sort((a, b) => Date.parse(a.time) - Date.parse(b.time))) this.#letters.set(letter.id, letter);
    // Drafts, and requests whose description was never written.
    const kept = new Set([...this.#letters.values()].flatMap(({ id, request }) => [`${id}.json`, ...(request ? [`${id}.oip`] : [])]));
    for (const name of names.filter((known) => !kept.has(known) && /\.(oip|tmp)$/.test(known))) rmSync(join(folder, name), { force: true });
  }

  #readLetter(folder: string, name: string): DeadLetter | undefined {
    try {
      const letter = JSON.parse(readFileSync(join(folder, name), 'utf8')) as DeadLetter;
      if (`${letter.id}.json` !== name || !Number.isFinite(Date.parse(letter.time)) || typeof letter.fingerprint !== 'string') throw new Error('it is no dead letter');
      if (!letter.request) return letter;
      // The folder may have been moved; a request cut short is none.
      const file = join(folder, `${letter.id}.oip`);
      const { request, ...rest } = letter;
      const size = statSync(file, { throwIfNoEntry: false })?.size;
      return size === request.bytes ? { ...rest, request: { ...request, file } } : { ...rest, notKept: `its file has ${size ?? 'no'} bytes, not ${request.bytes}` };
    } catch (error) {
      this.options.log.log('warn', 'dead-letter-unreadable', { file: join(folder, name), error: String(error) });
      return undefined;
    }
  }
}
