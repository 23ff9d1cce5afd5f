/** One time axis for all processes of a run: wall milliseconds, with the resolution of the monotonic clock in this one. */
import { readFileSync } from 'node:fs';

export const nowMs = (): number => performance.timeOrigin + performance.now();

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

/** Rejects when it takes longer than any healthy machine needs. */
export async function within<T>(promise: Promise<T>, what: string, ms = 60_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function until<T>(check: () => T | undefined | false, what: string, ms = 60_000): Promise<T> {
  const endMs = performance.now() + ms;
  for (;;) {
    const found = check();
    if (found) return found;
    if (performance.now() > endMs) throw new Error(`${what} did not happen within ${ms} ms`);
    await pause(5);
  }
}

/** Letter of /proc/PID/stat: R S D running or waiting, T stopped, Z dead and unburied; undefined = no such process. */
export function processState(pid: number): string | undefined {
  try {
    return /^.*\) (.)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
  } catch {
    return undefined;
  }
}
