/**
 * What a guardian and its host say to each other, over a pipe that only the two of them hold: JSON, one message a line.
 *
 * The end of the pipe is the most important message, and needs no code: it says that the other one is gone, however it
 * went. Lines that are not understood are dropped, because a package may be upgraded on disk under a running guardian.
 */
import type { Duplex } from 'node:stream';

export type FromHost =
  /** The host file was accepted; from now on there are beats. `stopMs`: the longest a drain and stop may take. */
  | { readonly type: 'hello'; readonly loopStallMs: number; readonly beatMs: number; readonly stopMs: number }
  | { readonly type: 'beat' }
  /** It has stopped. Whatever ends the process now (a thread that never returns needs SIGKILL), this was its exit. */
  | { readonly type: 'stopped'; readonly code: number };

export type FromGuardian =
  /** Answer what was accepted, then end. */
  | { readonly type: 'drain'; readonly reason: string }
  | { readonly type: 'reload' };

/** Tells a host that it has a guardian, and on which descriptor. */
export const guardianFdVariable = 'REGROW_GUARDIAN_FD';
/** The first one after the three that everybody has. */
export const guardianFd = 3;

/** Longest line taken; all of ours are far below. */
const lineLengthMax = 64 * 1024;

/** Reads until the stream ends. @returns how to say something; what cannot be sent any more is dropped */
export function speakLines<Heard extends { readonly type: string }, Said>(stream: Duplex, heard: (message: Heard) => void): (message: Said) => void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!.slice(0, lineLengthMax);
    for (const line of lines) {
      const message = parse(line);
      if (message) heard(message as Heard);
    }
  });
  return (message) => {
    if (stream.writable) stream.write(`${JSON.stringify(message)}\n`);
  };
}

function parse(line: string): object | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null ? message : undefined;
  } catch {
    return undefined;
  }
}
