/**
 * The guardian as its host sees it: a pipe that ends when the guardian is gone, however it went, and a place for beats.
 *
 * Beats come from this process's main loop on purpose: while it stands still there are none, and the guardian judges by
 * their absence. The variable that announced the guardian is removed, so that no child of this host takes it for its own.
 */
import { Socket } from 'node:net';
import { guardianFdVariable, speakLines, type FromGuardian, type FromHost } from './process-lines.js';

export interface GuardianLink {
  /** Begins the beats, four for each span of silence that would count as a stall. Again when a reload changed the times. */
  hello(times: { readonly loopStallMs: number; readonly stopMs: number }): void;
  /** The host has stopped and would exit with this code, however its process ends now. */
  stopped(code: number): void;
  /** What was said before somebody listened is kept. */
  onMessage(listener: (message: FromGuardian) => void): void;
  /** Resolves when the guardian is gone; never after `close`. */
  readonly gone: Promise<void>;
  /** No more beats, and nothing here keeps the process alive any longer. */
  close(): void;
}

const beatsPerStall = 4;

/** Undefined where no guardian started this process. To be called once. */
export function connectGuardian(env: NodeJS.ProcessEnv = process.env): GuardianLink | undefined {
  const fd = Number.parseInt(env[guardianFdVariable] ?? '', 10);
  delete env[guardianFdVariable];
  if (!Number.isInteger(fd)) return undefined;

  const socket = new Socket({ fd });
  let listener: ((message: FromGuardian) => void) | undefined;
  let early: FromGuardian[] = [];
  let beats: NodeJS.Timeout | undefined;
  let closed = false;
  const send = speakLines<FromGuardian, FromHost>(socket, (message) => (listener ? listener(message) : early.push(message)));
  const gone = new Promise<void>((resolve) => {
    // ECONNRESET and EPIPE are followed by 'close'.
    socket.on('error', () => {});
    socket.once('close', () => {
      clearInterval(beats);
      if (!closed) resolve();
    });
  });
  return {
    gone,
    hello({ loopStallMs, stopMs }) {
      const beatMs = loopStallMs / beatsPerStall;
      send({ type: 'hello', loopStallMs, beatMs, stopMs });
      clearInterval(beats);
      beats = setInterval(() => send({ type: 'beat' }), beatMs);
    },
    stopped: (code) => send({ type: 'stopped', code }),
    onMessage(wanted) {
      listener = wanted;
      for (const message of early) wanted(message);
      early = [];
    },
    close() {
      closed = true;
      socket.destroy();
    },
  };
}
