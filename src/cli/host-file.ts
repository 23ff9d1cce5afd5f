/** Reads a host file and lets the environment overrule what the contract says it may. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseOrThrow, SpecError } from '../host/create-host.js';
import { STORED_MODEL } from '../spec/fields.js';
import type { HostOptions, HostSpec } from '../spec/host.js';

/** @throws SpecError with every problem by its path */
export function readHostFile(file: string, env: NodeJS.ProcessEnv = process.env): HostSpec {
  const path = resolve(file);
  const document = parseDocument(path);
  return parseOrThrow(withEnvironment(document, env), dirname(path));
}

/**
 * The file as a host on this machine understands it wherever it was started: checked, with absolute paths, and without
 * `nats`, because an order carries nobody's credentials. The environment is left out: it is this command's, not the host's.
 * @throws SpecError with every problem by its path
 */
export function orderDocument(file: string): HostOptions {
  const path = resolve(file);
  const document = parseDocument(path);
  parseOrThrow(document, dirname(path));
  const { nats: _nats, ...rest } = document as HostOptions;
  const absolute = (relative: string): string => resolve(dirname(path), relative);
  return {
    ...rest,
    ...(rest.dataDir !== undefined && { dataDir: absolute(rest.dataDir) }),
    ...(rest.actors && {
      actors: rest.actors.map((actor) => ({
        ...actor,
        ...(actor.model !== undefined && !actor.model.startsWith(STORED_MODEL) && { model: absolute(actor.model) }),
        ...(actor.module !== undefined && !Object.hasOwn(rest.modules ?? {}, actor.module) && { module: absolute(actor.module) }),
      })),
    }),
    ...(rest.modules && { modules: Object.fromEntries(Object.entries(rest.modules).map(([name, relative]) => [name, absolute(relative)])) }),
  };
}

/** @throws SpecError for what cannot be read, or is no JSON */
export function parseDocument(path: string): unknown {
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
