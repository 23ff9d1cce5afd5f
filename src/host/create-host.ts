/** A host inside somebody's own service: typed, no NATS, no HTTP port, no signal handlers unless asked. */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock, systemRandom, wakefulClocksMs } from '../adapters/system-clock.js';
import type { InferOptions, InferResult, TensorInputs } from '../client/client.js';
import { ServeError } from '../errors.js';
import type { Log } from '../ports.js';
import type { RegrowEvent } from '../protocol/events.js';
import type { StatusDocument } from '../protocol/status.js';
import { parseHost, type HostOptions, type HostSpec } from '../spec/host.js';
import type { Problem } from '../spec/problems.js';
import { namedTensors, TensorError, typedRecord } from '../tensor/typed.js';
import { Host } from './host.js';
import { packageVersion } from './version.js';

export interface EmbedOptions {
  /** Relative paths of the spec start here. Default: the working folder. A `file:` URL or a path. */
  readonly baseDir?: string | URL;
  /** Default: silent. */
  readonly log?: Log;
  /** For bundlers: where the compiled entries of cells and threads are. */
  readonly entries?: { readonly cell?: URL; readonly worker?: URL };
}

/** The spec was refused; `problems` names each place in it. */
export class SpecError extends Error {
  override readonly name = 'SpecError';
  constructor(readonly problems: readonly Problem[]) {
    super(problems.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('\n'));
  }
}

export interface EmbeddedHost extends AsyncDisposable {
  readonly id: string;
  /** Rejects with a ServeError, or with the reason of `options.signal`. */
  infer(actor: string, inputs: TensorInputs, options?: InferOptions): Promise<InferResult>;
  status(): StatusDocument;
  /** Called for every event; returns the way to stop listening. */
  onEvent(listener: (event: RegrowEvent) => void): () => void;
  /** Stops accepting, answers what was accepted, ends every replica. */
  stop(): Promise<void>;
}

/** Gives a host spec its type, for specs kept in files of their own. */
export function defineHost(options: HostOptions): HostOptions {
  return options;
}

/**
 * Resolves when every actor was proven once or failed with a reason (see `status()`); a broken actor does not keep the
 * others from serving. Rejects with a SpecError when the spec itself is wrong, or asks for a guardian: it would have to be
 * this process's parent.
 */
export async function createHost(options: HostOptions, embed: EmbedOptions = {}): Promise<EmbeddedHost> {
  const base = embed.baseDir instanceof URL ? fileURLToPath(embed.baseDir) : (embed.baseDir ?? '.');
  const spec = parseOrThrow(options, base);
  if (options.guardian === true) throw new SpecError([{ path: 'guardian', message: 'embedded hosts have none: `regrow start` starts a host under a guardian; leave the key out' }]);
  const host = await Host.start(spec, { clock: systemClock, random: systemRandom, wakefulClocksMs, log: embed.log ?? silentLog, version: packageVersion(), cores: availableParallelism(), entries: embed.entries });
  await host.settled;
  return embedded(host);
}

export function parseOrThrow(document: unknown, baseDir: string): HostSpec {
  const parsed = parseHost(document, { cores: availableParallelism(), resolve: (path) => resolve(baseDir, path) });
  if (!parsed.ok) throw new SpecError(parsed.problems);
  return parsed.spec;
}

/** Tensors as people write them, around a host that carries bytes. */
export function embedded(host: Host): EmbeddedHost {
  return {
    id: host.id,
    async infer(actor, inputs, options = {}) {
      const { servedBy, host: at = host.id, attempts, version, device, degraded, outputs } = await host.infer(actor, {
        inputs: tensorsOf(inputs),
        requestId: options.requestId ?? systemRandom.ulid(),
        outputs: options.outputs,
        timeoutMs: options.timeoutMs,
        idempotent: options.idempotent,
        priority: options.priority,
        signal: options.signal,
      });
      return { outputs: typedRecord(outputs), servedBy: `${at}/${servedBy}`, attempts, modelVersion: version, device, ...(degraded !== undefined && { degraded }) };
    },
    status: () => host.status(),
    onEvent: (listener) => host.onEvent(listener),
    stop: () => host.stop(),
    [Symbol.asyncDispose]: () => host.stop(),
  };
}

function tensorsOf(inputs: TensorInputs): ReturnType<typeof namedTensors> {
  try {
    return namedTensors(inputs);
  } catch (error) {
    if (error instanceof TensorError) throw new ServeError('INVALID_ARGUMENT', error.message, { cause: error });
    throw error;
  }
}
