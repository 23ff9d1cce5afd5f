/**
 * Files in JetStream, in the format of NATS' own object store (`nats object` reads them): chunks on a subject of their
 * own, then one message that names them, so that a half-written object is never seen. Its name is its SHA-256.
 *
 * Read by single requests, chunk after chunk, each with its time-out; the clients' own way is a consumer that waits for
 * ever when the connection goes. An uploader that dies leaves chunks nobody names; nothing collects them.
 */
import { createHash, randomUUID } from 'node:crypto';
import { StoreError, type Bus, type Clock, type Objects, type StoreCall, type StoredObject } from '../ports.js';
import { assertSha256 } from '../protocol/store-keys.js';
import { asStoreError, JetStreamApi, type NewStream, type Stored } from './nats-store-api.js';
import { bucketName, type NatsStoreOptions } from './nats-store.js';

/** Fits into a message of a server with default limits, and lets other traffic pass between two of them. */
const CHUNK_BYTES = 256 * 1024;
const ROLLUP = { 'Nats-Rollup': 'sub' };

interface Meta {
  readonly name: string;
  /** Names the subject of the chunks. */
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly deleted?: boolean;
}

interface Known extends Meta {
  readonly revision: number;
}

class NatsObjects implements Objects {
  readonly #bus: Bus;
  readonly #api: JetStreamApi;
  readonly #clock: Clock;
  readonly #bucket: string;
  readonly #config: NewStream;
  readonly #replicas: number | undefined;

  constructor(bus: Bus, { prefix, replicas }: NatsStoreOptions, clock: Clock) {
    this.#bus = bus;
    this.#clock = clock;
    this.#api = new JetStreamApi(bus, clock);
    this.#bucket = bucketName(prefix);
    this.#replicas = replicas;
    this.#config = {
      name: `OBJ_${this.#bucket}`,
      description: 'regrow: files by their SHA-256',
      subjects: [`$O.${this.#bucket}.C.>`, `$O.${this.#bucket}.M.>`],
      retention: 'limits',
      storage: 'file',
      max_age: 0,
      discard: 'new',
      allow_rollup_hdrs: true,
      // Objects never change, and whoever reads one verifies it: any replica may answer.
      allow_direct: true,
    };
  }

  async put(sha256: string, content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>, { timeoutMs }: StoreCall): Promise<void> {
    assertSha256(sha256);
    await this.#told(async () => {
      if (!(await this.#api.stream(this.#config.name, timeoutMs))) await this.#api.createReplicated(this.#config, this.#replicas, timeoutMs);
      const old = await this.#known(sha256, timeoutMs);
      if (old && (await this.#complete(old, timeoutMs))) return;
      const nuid = randomUUID().replaceAll('-', '');
      const meta = await this.#upload(sha256, nuid, content, timeoutMs).catch((error: unknown) => this.#abandon(nuid, timeoutMs, error));
      await this.#name(meta, old, timeoutMs);
    });
  }

  async get(sha256: string, { timeoutMs }: StoreCall): Promise<AsyncIterable<Uint8Array> | undefined> {
    assertSha256(sha256);
    const known = await this.#told(() => this.#known(sha256, timeoutMs));
    return known && !known.deleted ? this.#read(known, timeoutMs) : undefined;
  }

  async has(sha256: string, { timeoutMs }: StoreCall): Promise<boolean> {
    assertSha256(sha256);
    return this.#told(async () => {
      const known = await this.#known(sha256, timeoutMs);
      return known !== undefined && this.#complete(known, timeoutMs);
    });
  }

  async list({ timeoutMs }: StoreCall): Promise<readonly StoredObject[]> {
    const found = await this.#told(() => this.#api.lastOfAll(this.#config.name, `$O.${this.#bucket}.M.>`, timeoutMs));
    const metas = (found?.messages ?? []).map(metaOf).filter((meta) => !meta.deleted && /^[0-9a-f]{64}$/.test(meta.name));
    return metas.map(({ name, size }) => ({ sha256: name, size }));
  }

  async delete(sha256: string, { timeoutMs }: StoreCall): Promise<void> {
    assertSha256(sha256);
    await this.#told(async () => {
      const known = await this.#known(sha256, timeoutMs);
      if (!known) return;
      // The name first: nobody may find an object that has lost its chunks.
      await this.#api.purge(this.#config.name, this.#nameSubject(sha256), timeoutMs);
      await this.#api.purge(this.#config.name, this.#chunkSubject(known.nuid), timeoutMs);
    });
  }

  // -------------------------------------------------------------------------------------------------------- parts

  async #upload(sha256: string, nuid: string, content: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>, timeoutMs: number): Promise<Meta> {
    const hash = createHash('sha256');
    const chunkBytes = Math.min(CHUNK_BYTES, this.#bus.payloadBytesMax);
    let size = 0;
    let chunks = 0;
    for await (const chunk of inChunks(content instanceof Uint8Array ? [content] : content, chunkBytes)) {
      hash.update(chunk);
      size += chunk.length;
      chunks++;
      await this.#api.publish(this.#chunkSubject(nuid), chunk, { timeoutMs });
    }
    const found = hash.digest('hex');
    if (found !== sha256) throw new StoreError('CONFLICT', `the content has the hash ${found}, wanted ${sha256}`);
    return { name: sha256, nuid, size, chunks };
  }

  /** From here on it is seen. Two may upload the same at the same time: the first one to name it wins, which is as good. */
  async #name(meta: Meta, old: Known | undefined, timeoutMs: number): Promise<void> {
    const digest = Buffer.from(meta.name, 'hex').toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    const message = {
      ...meta, bucket: this.#bucket, description: '', digest: `SHA-256=${digest}`, deleted: false,
      mtime: new Date(this.#clock.wallTime()).toISOString(), options: { max_chunk_size: CHUNK_BYTES },
    };
    const bytes = Buffer.from(JSON.stringify(message));
    try {
      await this.#api.publish(this.#nameSubject(meta.name), bytes, { timeoutMs, expected: old?.revision ?? 0, headers: ROLLUP });
    } catch (error) {
      // UNKNOWN: it may be seen already, with these chunks.
      if (error instanceof StoreError && error.code === 'UNKNOWN') throw error;
      const now = await this.#known(meta.name, timeoutMs).catch(() => undefined);
      if (now && (await this.#complete(now, timeoutMs).catch(() => false))) return this.#purged(meta.nuid, timeoutMs);
      return this.#abandon(meta.nuid, timeoutMs, error);
    }
    if (old) await this.#purged(old.nuid, timeoutMs);
  }

  async *#read(known: Known, timeoutMs: number): AsyncGenerator<Uint8Array> {
    let sequence = 0;
    for (let i = 0; i < known.chunks; i++) {
      const chunk = await this.#told(async () => {
        const subject = this.#chunkSubject(known.nuid);
        // A replica that is behind does not have it yet: the leader does.
        return (await this.#api.nextDirect(this.#config.name, subject, sequence + 1, timeoutMs)) ?? this.#api.next(this.#config.name, subject, sequence + 1, timeoutMs);
      });
      if (!chunk) throw new StoreError('CONFLICT', `part ${i + 1} of ${known.chunks} of ${known.name} is not there any more`);
      sequence = chunk.sequence;
      yield chunk.data;
    }
  }

  async #known(sha256: string, timeoutMs: number): Promise<Known | undefined> {
    if (!(await this.#api.stream(this.#config.name, timeoutMs))) return undefined;
    const message = await this.#api.last(this.#config.name, this.#nameSubject(sha256), timeoutMs);
    return message && { ...metaOf(message), revision: message.sequence };
  }

  async #complete(known: Known, timeoutMs: number): Promise<boolean> {
    if (known.deleted) return false;
    const subject = this.#chunkSubject(known.nuid);
    const found = await this.#api.subjects(this.#config.name, subject, timeoutMs);
    return (found?.counts.get(subject) ?? 0) === known.chunks;
  }

  async #abandon(nuid: string, timeoutMs: number, error: unknown): Promise<never> {
    await this.#purged(nuid, timeoutMs);
    throw error;
  }

  /** Of what nobody names; if it fails it costs space, not truth. */
  #purged(nuid: string, timeoutMs: number): Promise<void> {
    return this.#api.purge(this.#config.name, this.#chunkSubject(nuid), timeoutMs).catch(() => {});
  }

  async #told<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw asStoreError(error);
    }
  }

  #nameSubject(sha256: string): string {
    return `$O.${this.#bucket}.M.${Buffer.from(sha256).toString('base64').replaceAll('+', '-').replaceAll('/', '_')}`;
  }

  #chunkSubject(nuid: string): string {
    return `$O.${this.#bucket}.C.${nuid}`;
  }
}

function metaOf({ data }: Stored): Meta {
  return JSON.parse(Buffer.from(data).toString('utf8')) as Meta;
}

/** The same bytes in pieces of one size, the last one shorter. */
async function* inChunks(content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of content) {
    for (let from = 0; from < piece.length;) {
      const part = piece.subarray(from, from + bytes - length);
      pieces.push(part);
      length += part.length;
      from += part.length;
      if (length < bytes) continue;
      yield pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
      pieces = [];
      length = 0;
    }
  }
  if (length > 0) yield Buffer.concat(pieces);
}

/** Makes its bucket at the first `put`; until then there simply are no objects. */
export function createNatsObjects(bus: Bus, options: NatsStoreOptions, clock: Clock): Objects {
  return new NatsObjects(bus, options, clock);
}
