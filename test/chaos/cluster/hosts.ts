/**
 * The hosts of a row: `regrow start … --no-guardian`, each in a process, a folder and a dataDir of its own. What happens to
 * them is what happens to processes: signals. A host that was ended can be started again; all it ever logged stays.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HostOptions } from '../../../src/spec/host.js';
import { startHost, type HostUnderTest, type Line } from '../host.js';
import { nowMs, processState, within } from '../time.js';
import type { Brokers } from './nats.js';

export interface ClusterHost {
  readonly id: string;
  /** Of all its processes so far. */
  readonly lines: readonly Line[];
  readonly running: boolean;
  /** Resolves when it says that it is ready. */
  start(): Promise<void>;
  /** Returns when, in wall ms. */
  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): number;
  /** SIGTERM; resolves when it has ended. */
  stop(): Promise<void>;
  /** It was told to end by somebody else. */
  ended(): Promise<void>;
  /** At once, with everything it started. */
  remove(): Promise<void>;
}

export function hostOf(options: HostOptions & { readonly host: string }, folder: string): ClusterHost {
  const { host: id } = options;
  const own = join(folder, id);
  mkdirSync(own, { recursive: true });
  const processes: HostUnderTest[] = [];
  let current: HostUnderTest | undefined;
  return {
    id,
    get lines() { return processes.flatMap(({ lines }) => [...lines]); },
    get running() { return current !== undefined && !/^[ZX]?$/.test(processState(current.pid) ?? ''); },
    async start() {
      current = await startHost({ options: { ...options, dataDir: join(own, 'data') }, folder: own, form: 'host' });
      processes.push(current);
    },
    signal(signal) {
      const atMs = nowMs();
      process.kill(current!.pid, signal);
      return atMs;
    },
    async stop() {
      await current?.stop();
    },
    async ended() {
      const { pid } = current!;
      await within((async () => {
        while (!/^[ZX]?$/.test(processState(pid) ?? '')) await new Promise((resolve) => setTimeout(resolve, 20));
      })(), `the end of host ${id}`);
    },
    async remove() {
      if (!current) return;
      try {
        process.kill(-current.pid, 'SIGKILL');
      } catch {
        // nobody is left
      }
      await current.stop();
    },
  };
}

const cli = fileURLToPath(new URL('../../../src/cli.js', import.meta.url));

/** The `regrow` command as the operator. Rejects when it fails. */
export async function asOperator(brokers: Brokers, folder: string, ...args: readonly string[]): Promise<void> {
  const { user, pass, inboxPrefix } = brokers.operator;
  const passFile = join(folder, 'operator.pass');
  writeFileSync(passFile, `${pass}\n`, { mode: 0o600 });
  const child = spawn(process.execPath, [cli, ...args, '--nats', brokers.urls.join(','), '--user', user, '--pass-file', passFile, '--inbox-prefix', inboxPrefix], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => { said += chunk; });
  const code = await within(new Promise((resolve) => child.once('close', resolve)), `regrow ${args.join(' ')}`, 120_000);
  if (code !== 0) throw new Error(`regrow ${args.join(' ')} ended with ${String(code)}: ${said.trim()}`);
}
