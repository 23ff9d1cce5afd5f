/** Reads a host file and lets the environment overrule what the contract says it may. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseOrThrow, SpecError } from '../host/create-host.js';
import type { HostSpec } from '../spec/host.js';

/** @throws SpecError with every problem by its path */
export function readHostFile(file: string, env: NodeJS.ProcessEnv = process.env): HostSpec {
  const path = resolve(file);
  const document = parseDocument(path);
  return parseOrThrow(withEnvironment(document, env), dirname(path));
}

function parseDocument(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new SpecError([{ path: '', message: `cannot read ${path}: ${(error as Error).message}` }]);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new SpecError([{ path: '', message: `${path} is no JSON: ${(error as Error).message}` }]);
  }
}

function withEnvironment(document: unknown, env: NodeJS.ProcessEnv): unknown {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) return document;
  const host = document as { nats?: object; dataDir?: string };
  const { NATS_URL: url, REGROW_DATA_DIR: dataDir } = env;
  return {
    ...host,
    dataDir: dataDir ? resolve(dataDir) : (host.dataDir ?? '.regrow'),
    ...(url && { nats: { ...host.nats, servers: url.split(',') } }),
  };
}
