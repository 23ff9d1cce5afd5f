/**
 * A host process as its guardian sees it: the leader of a process group of its own, and a pipe.
 *
 * In a group of its own no Ctrl-C of the terminal reaches the host or its cells; and when the host is dead, the group is
 * what is left of it. It is killed before anybody hears of the death: a stopped cell cannot notice anything itself. The
 * host's stdout and stderr are the guardian's. It does not decide when a host must die.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { guardianFd, guardianFdVariable, speakLines, type FromGuardian, type FromHost } from './process-lines.js';

/** From the death of the host to the end of its pipe; only something that inherited the pipe makes it longer. */
const lastWordsMs = 100;

export interface HostExit {
  /** Absent where a signal ended it, or where there never was a process. */
  readonly code?: number;
  readonly signal?: NodeJS.Signals;
  /** For people: `exit code 134`, `SIGKILL`, `no process: …`. */
  readonly detail: string;
}

export interface HostProcess {
  /** Of the process and of its group; 0 where the system refused. */
  readonly pid: number;
  /** Resolves once; whatever was left of the group has been sent SIGKILL by then. */
  readonly exited: Promise<HostExit>;
  onMessage(listener: (message: FromHost) => void): void;
  /** Dropped where the host is gone. */
  send(message: FromGuardian): void;
  /** SIGKILL to the whole group. */
  kill(): void;
}

/** @param args of this same node, beginning with the file to run. Never throws: a refusal is an exit */
export function startHostProcess(args: readonly string[]): HostProcess {
  try {
    return watched(spawn(process.execPath, [...process.execArgv, ...args], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      env: { ...process.env, [guardianFdVariable]: String(guardianFd) },
    }));
  } catch (error) {
    const detail = `no process: ${(error as Error).message}`;
    return { pid: 0, exited: Promise.resolve({ detail }), onMessage: () => {}, send: () => {}, kill: () => {} };
  }
}

function watched(child: ChildProcess): HostProcess {
  const pid = child.pid ?? 0;
  let listener: (message: FromHost) => void = () => {};
  const pipe = (child.stdio as readonly unknown[] | undefined)?.[guardianFd] as Duplex | undefined;
  // The host is dying or dead (EPIPE, ECONNRESET): its exit says why.
  pipe?.on('error', () => {});
  const send = pipe ? speakLines<FromHost, FromGuardian>(pipe, (message) => listener(message)) : () => {};
  const exited = new Promise<HostExit>((resolve) => {
    child.once('exit', (code, signal) => {
      killGroup(pid);
      const report = (): void => {
        clearTimeout(timer);
        pipe?.destroy();
        resolve(signal !== null ? { signal, detail: signal } : { code: code!, detail: `exit code ${code}` });
      };
      // Its last words may still be in the pipe.
      const timer = setTimeout(report, lastWordsMs);
      if (!pipe || pipe.closed) report();
      else pipe.once('close', report);
    });
    // Without a process there is no 'exit'; with one, this is a signal that could not be sent.
    child.on('error', (error) => {
      if (pid === 0) resolve({ detail: `no process: ${error.message}` });
    });
  });
  return {
    pid,
    exited,
    send,
    onMessage: (wanted) => { listener = wanted; },
    kill: () => killGroup(pid),
  };
}

/** ESRCH: nobody is left. EPERM: a member that became another user's; the others were reached. */
function killGroup(pid: number): void {
  if (pid === 0) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing is left to be done.
  }
}
