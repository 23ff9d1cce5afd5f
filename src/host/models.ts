/**
 * Models of the store as files of this host: fetched by their SHA-256 into `<dataDir>/models`, where pinned copies lie as
 * well, or into a folder that goes with the process when there is no `dataDir`. A file is there whole and verified or not
 * at all, and never written again.
 *
 * An interrupted download begins anew: it is bounded by its deadline, and hashing from the middle is not possible anyway.
 * What may be deleted again is decided by `Pins.collect`, because only the host knows what is in force.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock, Log, Objects, Random, TimerHandle } from '../ports.js';
import { assertSha256 } from '../protocol/store-keys.js';
import type { ActorSpec } from '../spec/actor.js';
import { draftOf, inspect } from './pins.js';

export interface ModelsOptions {
  /** `<dataDir>/models`; undefined: a temporary folder. */
  readonly folder: string | undefined;
  /** Undefined while there is no store, or for ever. */
  readonly objects: () => Objects | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Why a model is not there; the message is for people. */
export class ModelNotFetched extends Error {
  override readonly name = 'ModelNotFetched';
}

/** Of one exchange with the store; a transfer is many. */
const EXCHANGE_MS = 10_000;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5000;

interface Fetching {
  /** On the clock; grows with those who wait. */
  until: number;
  /** Why the last try failed. */
  reason: string;
  done: Promise<string>;
}

export class Models {
  readonly #options: ModelsOptions;
  readonly #fetching = new Map<string, Fetching>();
  #temporary: string | undefined;
  #closed = false;

  constructor(options: ModelsOptions) {
    this.#options = options;
  }

  /** Where a model is once `ensure` resolved; absolute. For `desiredSpec`. */
  place(sha256: string): string {
    assertSha256(sha256);
    const folder = this.#options.folder ?? (this.#temporary ??= mkdtempSync(join(tmpdir(), 'regrow-models-')));
    return join(folder, `${sha256}.onnx`);
  }

  /** The spec of a host file, whose stored models have no place of their own where there is no `dataDir`. */
  placed(spec: ActorSpec): ActorSpec {
    return spec.stored ? Object.freeze({ ...spec, file: this.place(spec.sha256!) }) : spec;
  }

  /**
   * Resolves with the file once it is there and has been verified. Asked twice, it is fetched once.
   * Rejects with ModelNotFetched after `timeoutMs`, and no sooner: a model that is missing may be on its way.
   */
  async ensure(sha256: string, timeoutMs: number): Promise<string> {
    const { clock } = this.#options;
    const file = this.place(sha256);
    const until = clock.now() + timeoutMs;
    let fetching = this.#fetching.get(sha256);
    if (!fetching) {
      fetching = { until, reason: 'no answer from the store yet', done: Promise.resolve(file) };
      this.#fetching.set(sha256, fetching);
      fetching.done = this.#fetch(sha256, file, fetching).finally(() => void this.#fetching.delete(sha256));
    }
    fetching.until = Math.max(fetching.until, until);
    return this.#before(until, sha256, fetching);
  }

  /** No download outlives it by more than one exchange; the temporary folder goes. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true });
  }

  async #before(until: number, sha256: string, fetching: Fetching): Promise<string> {
    const { clock } = this.#options;
    let timer: TimerHandle;
    const late = new Promise<never>((_, reject) => {
      timer = clock.setTimeout(() => reject(notFetched(sha256, fetching.reason)), until - clock.now());
    });
    try {
      return await Promise.race([fetching.done, late]);
    } finally {
      clock.clearTimeout(timer);
    }
  }

  async #fetch(sha256: string, file: string, fetching: Fetching): Promise<string> {
    const { clock, random, log } = this.#options;
    // Read in full: a copy that rotted must not be what serves.
    if ((await inspect(file).catch(() => undefined))?.sha256 === sha256) {
      const now = clock.wallTime() / 1000;
      await utimes(file, now, now).catch(() => {}); // the order in which unused ones are given up, no more
      return file;
    }
    for (let waitMs = RETRY_MIN_MS; ; waitMs = Math.min(RETRY_MAX_MS, 2 * waitMs)) {
      try {
        const since = clock.now();
        const bytes = await this.#download(sha256, file);
        log.log('info', 'model-fetched', { sha256, bytes, ms: Math.round(clock.now() - since) });
        return file;
      } catch (error) {
        fetching.reason = error instanceof Error ? error.message : String(error);
      }
      const pauseMs = waitMs * (1 - random.next() / 2);
      if (this.#closed || clock.now() + pauseMs >= fetching.until) throw notFetched(sha256, fetching.reason);
      log.log('warn', 'model-not-fetched', { sha256, reason: fetching.reason, againInMs: Math.round(pauseMs) });
      await new Promise<void>((resolve) => void clock.setTimeout(resolve, pauseMs));
    }
  }

  /** @returns how many bytes */
  async #download(sha256: string, file: string): Promise<number> {
    const content = await this.#options.objects()?.get(sha256, { timeoutMs: EXCHANGE_MS });
    if (!content) throw new Error(this.#options.objects() ? 'the store has no such model; regrow push FILE puts it there' : 'no store');
    const draft = draftOf(file);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      const handle = await open(draft, 'w', 0o600);
      try {
        for await (const chunk of content) {
          if (this.#closed) throw new Error('this host stops');
          hash.update(chunk);
          await handle.writeFile(chunk); // at the place where the last one ended
          bytes += chunk.length;
        }
        await handle.sync();
      } finally {
        await handle.close();
      }
      const found = hash.digest('hex');
      if (found !== sha256) throw new Error(`what the store has under this name has the hash ${found}`);
      await chmod(draft, 0o400);
      await rename(draft, file);
      return bytes;
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }
}

const notFetched = (sha256: string, reason: string): ModelNotFetched => new ModelNotFetched(`model sha256:${sha256} could not be fetched: ${reason}`);
