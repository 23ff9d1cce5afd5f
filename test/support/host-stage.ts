/** An embedded host on a stage: every event and log line is kept to wait on, and no host outlives its test file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createHost, type EmbeddedHost } from '../../src/host/create-host.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import type { ActorStatus, ReplicaStatus } from '../../src/protocol/status.js';
import type { ActorOptions } from '../../src/spec/actor.js';
import type { HostOptions } from '../../src/spec/host.js';
import { text, type TensorLike, type TypedTensor } from '../../src/tensor/typed.js';
import { projectRoot } from './nats-server.js';
import { Happenings } from './waiting.js';

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface HostStage extends AsyncDisposable {
  readonly host: EmbeddedHost;
  readonly events: Happenings<RegrowEvent>;
  readonly logs: Happenings<LogLine>;
  actor(name: string): ActorStatus;
  replica(actor: string, index?: number): ReplicaStatus;
}

/** Of this test file; gone with it. */
export const folder = mkdtempSync(join(tmpdir(), 'regrow-host-'));
const open = new Set<EmbeddedHost>();
after(async () => {
  await Promise.allSettled([...open].map((host) => host.stop()));
  rmSync(folder, { recursive: true, force: true });
});

export async function stageHost(options: HostOptions): Promise<HostStage> {
  const events = new Happenings<RegrowEvent>();
  const logs = new Happenings<LogLine>();
  const host = await createHost({ host: 'stage', ...options }, {
    baseDir: folder,
    log: { log: (level, event, fields) => logs.add({ level, event, ...fields }) },
  });
  open.add(host);
  host.onEvent((event) => events.add(event));
  const stage: HostStage = {
    host, events, logs,
    actor: (name) => host.status().hosts[0]!.actors.find((actor) => actor.name === name)!,
    replica: (actor, index = 0) => stage.actor(actor).replicas[index]!,
    [Symbol.asyncDispose]: async () => {
      await host.stop();
      open.delete(host);
    },
  };
  return stage;
}

/** The module that does what its input says (test/fixtures/modules/acts.ts). */
export function acts(name: string, more: Omit<ActorOptions, 'name'> = {}): ActorOptions {
  return { name, module: fileURLToPath(new URL('../fixtures/modules/acts.js', import.meta.url)), ...more };
}

export const digits = (more: Partial<ActorOptions> = {}): ActorOptions => ({ name: 'digits', model: join(projectRoot, 'demo', 'models', 'digits.onnx'), ...more });

export const blankDigit = { image: { datatype: 'FP32' as const, shape: [1, 1, 28, 28], data: new Float32Array(28 * 28) } };

/** Quick returns to life, for tests that kill often: the first restart is at once, later ones within 20 ms. */
export const briskRestart = { intensity: 100, consecutiveMax: 100, backoff: { minMs: 20, maxMs: 20, factor: 1, jitter: 0 } } as const;

/** What the module shall do. */
export const act = (...words: string[]): Record<string, TensorLike> => ({ act: { datatype: 'BYTES', shape: [words.length], data: words } });

/** What it answered. */
export const said = (outputs: Record<string, TypedTensor>): string[] => text(outputs['said']!);

let gates = 0;
/** A file a run can wait for. */
export function gate(): { readonly file: string; open(): void } {
  const file = join(folder, `gate-${++gates}`);
  return { file, open: () => writeFileSync(file, '') };
}

/** Of a promise that must reject: what it rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string; outcome?: string; retryAfterMs?: number; retryable?: boolean }> {
  return promise.then(
    (value) => {
      throw new Error(`expected a rejection, got ${JSON.stringify(value)}`);
    },
    (error: Error) => error,
  );
}
