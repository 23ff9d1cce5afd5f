/**
 * Pins what an actor runs: the SHA-256 of its file at the moment its spec is accepted. Of a model the bytes are kept as
 * well, in `<dataDir>/models/<sha256>.onnx`, so that overwriting or deleting the file cannot keep a replica from coming
 * back: it loads the kept copy then, and status says so. A file that cannot be read pins nothing; its replicas will say
 * why when they try.
 *
 * Deliberately keeps no model whose weights lie in files of their own (`.onnx.data`): its graph alone, beside weights that
 * may have changed with it, would answer wrongly instead of not at all. Such a model fails to load when its file changes.
 */
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../ports.js';
import type { ActorSpec } from '../spec/actor.js';

export interface Pin {
  /** Absolute path; where replicas load it from. */
  readonly file: string;
  /** Copy of the pinned bytes, for when `file` has others or is gone. */
  readonly keptFile?: string | undefined;
  /** Of the file's bytes, or what the spec demands. Undefined only when the file could not be read. */
  readonly sha256: string | undefined;
  /** Name of what is served, in answers and status. */
  readonly version: string;
}

/** How a weights file is named inside a model: the protobuf string field 1, `location`, of a tensor's external data. */
const EXTERNAL_DATA = Buffer.from('\n\blocation');

export class Pins {
  #drafts = 0;

  /** @param folder of the kept copies; undefined keeps none */
  constructor(
    private readonly folder: string | undefined,
    private readonly log: Log,
  ) {}

  /** Never rejects. */
  async pin(spec: ActorSpec): Promise<Pin> {
    const folder = spec.kind === 'model' ? this.folder : undefined;
    // Where the spec says the hash and nothing is kept, the file is read by its replicas only.
    const found = folder === undefined && spec.sha256 !== undefined ? undefined : await inspect(spec.file).catch(() => undefined);
    const kept = folder === undefined ? undefined : await this.#keep(folder, spec, found);
    const sha256 = spec.sha256 ?? kept?.sha256 ?? found?.sha256;
    return { file: spec.file, keptFile: kept?.file, sha256, version: spec.version ?? sha256?.slice(0, 12) ?? 'unknown' };
  }

  /**
   * Forgets copies that none of these uses, and nobody named in `alsoUsed` (hashes of models about to be loaded). Of the
   * others those used last stay, up to `unusedBytesMax` in all: what was fetched from afar may be wanted again soon.
   */
  async collect(inForce: Iterable<Pin>, { alsoUsed = [], unusedBytesMax = 0 }: { readonly alsoUsed?: Iterable<string>; readonly unusedBytesMax?: number } = {}): Promise<void> {
    const { folder } = this;
    if (folder === undefined) return;
    const used = new Set([...[...inForce].map(({ sha256 }) => sha256), ...alsoUsed].map((sha256) => `${sha256}.onnx`));
    const names = (await readdir(folder).catch(() => [])).filter((name) => !used.has(name) && !beingFetched(name));
    const copies: { readonly name: string; readonly size: number; readonly mtimeMs: number }[] = [];
    for (const name of names) {
      const found = name.endsWith('.onnx') ? await stat(join(folder, name)).catch(() => undefined) : undefined;
      if (found) copies.push({ name, size: found.size, mtimeMs: found.mtimeMs });
      else await rm(join(folder, name), { force: true }); // a draft somebody died over
    }
    let bytes = 0;
    for (const { name, size } of copies.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
      bytes += size;
      if (bytes > unusedBytesMax) await rm(join(folder, name), { force: true });
    }
  }

  async #keep(folder: string, spec: ActorSpec, found: Inspected | undefined): Promise<{ readonly file: string; readonly sha256: string } | undefined> {
    const about = { actor: spec.name, file: spec.file };
    if (found?.external) {
      this.log.log('info', 'model-not-kept', { ...about, reason: 'its weights lie in files of their own; a changed file fails the next load' });
      return undefined;
    }
    const wanted = spec.sha256 ?? found?.sha256;
    const place = (sha256: string) => ({ file: join(folder, `${sha256}.onnx`), sha256 });
    if (wanted === undefined) return undefined;
    // Read in full: a copy that rotted must not be what saves the day.
    if ((await inspect(place(wanted).file).catch(() => undefined))?.sha256 === wanted) return place(wanted);
    if (found?.sha256 !== wanted) return undefined;
    const draft = join(folder, `${process.pid}-${++this.#drafts}.tmp`);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      // A clone where the file system can, never a link: the file may be overwritten in place.
      await copyFile(spec.file, draft, constants.COPYFILE_FICLONE);
      const { sha256, external } = await inspect(draft);
      if (external || (spec.sha256 !== undefined && sha256 !== spec.sha256)) throw new Error('it changed while it was copied');
      await chmod(draft, 0o400);
      await rename(draft, place(sha256).file);
      return place(sha256); // of the copy: the file may have changed since it was read
    } catch (error) {
      await rm(draft, { force: true });
      this.log.log('warn', 'model-not-kept', { ...about, reason: String(error) });
      return undefined;
    }
  }
}

/** Where a download of this process goes until it is whole. */
export const draftOf = (file: string): string => `${file}.${process.pid}.part`;

const beingFetched = (name: string): boolean => name.endsWith(`.${process.pid}.part`);

export interface Inspected {
  readonly sha256: string;
  /** It names weights files of its own. */
  readonly external: boolean;
}

/** Reads a file in full. Rejects with what the file system says. */
export async function inspect(file: string): Promise<Inspected> {
  const hash = createHash('sha256');
  let external = false;
  let tail: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    external ||= chunk.includes(EXTERNAL_DATA) || Buffer.concat([tail, chunk.subarray(0, EXTERNAL_DATA.length)]).includes(EXTERNAL_DATA);
    tail = chunk.subarray(-EXTERNAL_DATA.length);
  }
  return { sha256: hash.digest('hex'), external };
}

export function sha256OfChunks(chunks: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}
