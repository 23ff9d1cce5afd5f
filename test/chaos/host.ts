/**
 * A host under test: `regrow start` in a process of its own, and everything it says in its log, with the time it said it.
 * No hooks: what is known of it is what an operator would know.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HostOptions } from '../../src/spec/host.js';
import { until, within } from './time.js';

export interface Line {
  /** Wall ms. */
  readonly time: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface HostUnderTest {
  /** Of the process started: the guardian where there is one. */
  readonly pid: number;
  readonly lines: readonly Line[];
  /** The first such line at or after the time. */
  logged(msg: string, sinceMs?: number, forMs?: number): Promise<Line>;
  /** A message to the embedded form. */
  send(message: object): void;
  onMessage(listener: (message: unknown) => void): void;
  stop(): Promise<void>;
}

const cli = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const embedded = fileURLToPath(new URL('embedded.js', import.meta.url));

export interface HostWish {
  readonly options: HostOptions;
  readonly folder: string;
  readonly form: 'host' | 'guarded' | 'embedded';
  readonly env?: NodeJS.ProcessEnv;
}

export async function startHost({ options, folder, form, env }: HostWish): Promise<HostUnderTest> {
  const file = join(folder, 'host.json');
  writeFileSync(file, JSON.stringify(options, null, 1));
  const args = form === 'embedded' ? [embedded, file, folder] : [cli, 'start', file, ...(form === 'host' ? ['--no-guardian'] : [])];
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NATS_URL|REGROW_|LOG_LEVEL|NO_COLOR|NODE_OPTIONS)/.test(name)));
  const child = spawn(process.execPath, args, { detached: true, env: { ...clean, ...env }, stdio: ['ignore', 'ignore', 'pipe', ...(form === 'embedded' ? ['ipc' as const] : [])] });
  const pid = child.pid!;
  const lines: Line[] = [];
  const rest: string[] = [];
  let half = '';
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (half + chunk).split('\n');
    half = parts.pop()!;
    for (const part of parts) {
      try {
        lines.push(JSON.parse(part) as Line);
      } catch {
        rest.push(part); // what Node or a native library says
      }
    }
  });
  let exited = false;
  const exit = new Promise<void>((resolve) => child.once('exit', () => {
    exited = true;
    resolve();
  }));
  const end = (): void => {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // nobody is left
    }
  };
  process.once('exit', end);
  const host: HostUnderTest = {
    pid,
    lines,
    logged: (msg, sinceMs = 0, forMs = 60_000) => until(() => {
      const found = lines.find((line) => line.msg === msg && line.time >= sinceMs);
      if (!found && exited && form !== 'guarded') throw new Error(`the host ended before "${msg}": ${[...lines.slice(-5).map((line) => JSON.stringify(line)), ...rest.slice(-5)].join('\n')}`);
      return found;
    }, `"${msg}" in the log of the host`, forMs),
    send: (message) => void child.send(message),
    onMessage: (listener) => void child.on('message', listener),
    async stop() {
      if (!exited) process.kill(pid, 'SIGTERM');
      await within(exit, 'the end of the host', 40_000).catch(end);
      end();
      process.removeListener('exit', end);
    },
  };
  await host.logged('host-ready').catch(async (error: unknown) => {
    await host.stop();
    throw error;
  });
  return host;
}
