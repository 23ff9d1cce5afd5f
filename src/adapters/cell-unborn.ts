/**
 * The lane of a cell that could not be made: no memory, no process, no file descriptor left. It has ended before it
 * began, and says so the way every lane does, so that supervision needs no second path for a machine that is full.
 */
import type { Lane, LaneExit } from '../ports.js';

export function unbornLane(cause: unknown): Lane {
  const detail = `no process: ${cause instanceof Error ? cause.message : String(cause)}`;
  const exit: LaneExit = { reason: 'crashed', detail };
  const spawned = Promise.reject(new Error(detail, { cause }));
  spawned.catch(() => {});
  return {
    pid: 0,
    threadId: 0,
    memoryBytes: 0,
    spawned,
    load: () => Promise.resolve({ ok: false, message: detail, permanent: false, deviceFatal: false }),
    run: () => Promise.resolve(undefined),
    cancel: () => {},
    ping: () => Promise.resolve(false),
    stop: () => {},
    kill: () => {},
    onExit: (listener) => queueMicrotask(() => listener(exit)),
  };
}
