/**
 * Pins what an actor runs: the SHA-256 of its file at the moment its spec is accepted. A replica that later finds other
 * bytes refuses to load them. A file that cannot be read pins nothing; its replicas will say why when they try.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { ActorSpec } from '../spec/actor.js';

export interface Pin {
  /** Where replicas load it from: the spec's file, or the kept copy of the pinned bytes. */
  readonly file: string;
  /** Of the file's bytes, or what the spec demands. Undefined only when the file could not be read. */
  readonly sha256: string | undefined;
  /** Name of what is served, in answers and status. */
  readonly version: string;
}

export async function pinActor(spec: ActorSpec): Promise<Pin> {
  const found = spec.sha256 ?? (await sha256Of(spec.file).catch(() => undefined));
  return { file: spec.file, sha256: found, version: spec.version ?? found?.slice(0, 12) ?? 'unknown' };
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

export function sha256OfChunks(chunks: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}
