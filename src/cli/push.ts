/** `regrow push MODEL…`, and how `apply` sends the models of its file ahead: files into the object store, by their hash. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { CliValues } from '../cli.js';
import { inspect } from '../host/pins.js';
import { StoreError, type Objects } from '../ports.js';
import { openDesired, refuse, STORE_CALL } from './desired-store.js';
import { EXIT, OrderRefused, UsageError } from './exit.js';

export interface ModelFile {
  /** Absolute path. */
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
}

const MB = 1_000_000;
/** Progress is told at each quarter of a file that takes its time. */
const LARGE_BYTES = 32 * MB;

export const EXTERNAL_WEIGHTS = 'its weights lie in files of their own, which the store does not take: save it as one file (onnx.save_model(…, save_as_external_data=False)), or name it in each host\'s own file';

/** Rejects with the reason why it cannot be sent. */
export async function modelFile(path: string): Promise<ModelFile> {
  const file = resolve(path);
  const found = await inspect(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(error.code === 'ENOENT' ? `there is no file ${file}` : `cannot read ${file}: ${error.message}`);
  });
  if (found.external) throw new Error(`${file}: ${EXTERNAL_WEIGHTS}`);
  return { file, sha256: found.sha256, bytes: (await stat(file)).size };
}

export async function pushCommand(operands: readonly string[], values: CliValues): Promise<number> {
  if (operands.length === 0) throw new UsageError('push needs one or several models');
  const models: ModelFile[] = [];
  for (const path of operands) models.push(await modelFile(path).catch((error: Error) => { throw new OrderRefused(error.message); }));
  await using desired = await openDesired(values);
  for (const model of models) {
    await send(desired.objects, model);
    process.stdout.write(`sha256:${model.sha256}\n`);
  }
  return EXIT.ok;
}

/** Does nothing when it is there. Progress goes to stderr. */
export async function send(objects: Objects, model: ModelFile): Promise<void> {
  const name = basename(model.file);
  if (await objects.has(model.sha256, STORE_CALL).catch(refuse)) {
    process.stderr.write(`${name} is in the store already\n`);
    return;
  }
  process.stderr.write(`${name}: sending ${(model.bytes / MB).toFixed(1)} MB\n`);
  await objects.put(model.sha256, withProgress(model, name), STORE_CALL).catch((error: unknown) => {
    if (error instanceof StoreError && error.code === 'CONFLICT') throw new OrderRefused(`${model.file} changed while it was sent; run this again`);
    refuse(error);
  });
  process.stderr.write(`${name} is in the store\n`);
}

async function* withProgress({ file, bytes }: ModelFile, name: string): AsyncGenerator<Uint8Array> {
  let sent = 0;
  let told = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    yield chunk;
    sent += chunk.length;
    const quarters = Math.floor((4 * sent) / bytes);
    if (bytes >= LARGE_BYTES && quarters > told && quarters < 4) process.stderr.write(`${name}: ${25 * (told = quarters)} %\n`);
  }
}
