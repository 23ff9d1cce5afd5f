/**
 * CPU time of other processes, all their threads, from Linux' /proc. Counted in ticks of 10 ms, so it says something about
 * many requests and nothing about one.
 */
import { readFileSync } from 'node:fs';

/** USER_HZ: 100 on every architecture Node.js supports. */
const TICK_MS = 10;

/** In ms since they started; undefined where there is no /proc, or one of them is gone. */
export function cpuTimeMs(pids: readonly number[]): number | undefined {
  let ticks = 0;
  for (const pid of pids) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The name, in parentheses, may contain blanks; user and system time are fields 14 and 15.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      return undefined;
    }
  }
  return ticks * TICK_MS;
}
