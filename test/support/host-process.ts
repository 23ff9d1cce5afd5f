/** A `regrow` command as a process of its own: what it says, how it ends, and the group it leads. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { HostOptions } from '../../src/spec/host.js';
import { folder } from './host-stage.js';
import { within } from './lanes.js';
import { groupOf } from './processes.js';
import { Happenings } from './waiting.js';

const cli = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

/** NATS_URL and the like of the machine must not steer a test. */
const cleanEnv = (): NodeJS.ProcessEnv => Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NATS_URL|REGROW_|LOG_LEVEL|NO_COLOR)/.test(name)));

export interface CommandResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs to its end; for commands that talk to nobody in this process. */
export function regrowSync(args: readonly string[]): CommandResult {
  const { status: code, signal, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', env: cleanEnv(), timeout: 20_000 });
  return { code, signal, stdout, stderr };
}

export interface Command {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Lines of each stream, as they come. */
  readonly stdout: Happenings<string>;
  readonly stderr: Happenings<string>;
  readonly ended: Promise<CommandResult>;
}

const running = new Set<ChildProcess>();
after(() => {
  for (const child of running) for (const pid of groupOf(child.pid!)) process.kill(pid, 'SIGKILL');
});

/** In a process group of its own, so that a test can signal the group as a terminal does. */
export function regrow(args: readonly string[], env: NodeJS.ProcessEnv = {}): Command {
  const child = spawn(process.execPath, [cli, ...args], { detached: true, env: { ...cleanEnv(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const stdout = new Happenings<string>();
  const stderr = new Happenings<string>();
  for (const [stream, lines] of [[child.stdout, stdout], [child.stderr, stderr]] as const) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      for (const line of parts) lines.add(line);
    });
  }
  // 'exit' and not 'close': a cell that outlived its host would hold the streams open, and the test must see that.
  const ended = new Promise<CommandResult>((resolve) => child.once('exit', (code, signal) => {
    running.delete(child);
    setImmediate(() => resolve({ code, signal, stdout: stdout.all.join('\n'), stderr: stderr.all.join('\n') }));
  }));
  return { child, pid: child.pid!, stdout, stderr, ended };
}

export interface HostProcess extends Command {
  /** The log line with this event name, as its fields. */
  logged(event: string, from?: number): Promise<Record<string, unknown>>;
  exited(): Promise<CommandResult>;
}

let files = 0;
export function hostFile(options: unknown): string {
  const file = join(folder, `host-${++files}.json`);
  writeFileSync(file, JSON.stringify(options));
  return file;
}

/** `regrow start` with these options; resolves when it serves. */
export async function startHostProcess(options: HostOptions, wait = true): Promise<HostProcess> {
  const file = hostFile({ dataDir: `data-${files + 1}`, ...options });
  const command = regrow(['start', file, '--no-guardian']);
  const host: HostProcess = {
    ...command,
    logged: async (event, from) => JSON.parse(await command.stderr.next((line) => line.includes(`"msg":"${event}"`), `log ${event}`, from)) as Record<string, unknown>,
    exited: () => within(command.ended, 'the end of the host'),
  };
  if (wait) await host.logged('host-ready');
  return host;
}
