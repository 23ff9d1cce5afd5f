/** The one place that reads the machine's clocks and asks the machine for chance. */
import { randomFillSync } from 'node:crypto';
import { uptime } from 'node:os';
import { performance } from 'node:perf_hooks';
import type { Clock, Random } from '../ports.js';

export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

/** Drawn in advance: one system call for 256 ids, as there is one for every request. */
/** In ms, always in this order: clocks that run on while the machine is suspended, as the monotonic one may not. */
export const wakefulClocksMs = (): readonly number[] => [Date.now(), uptime() * 1000];

const pool = new Uint8Array(4096);
let drawn = pool.byteLength;

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export const systemRandom: Random = {
  next: () => Math.random(),
  ulid() {
    let time = Date.now();
    let stamp = '';
    for (let i = 0; i < 10; i++, time = Math.floor(time / 32)) stamp = CROCKFORD[time % 32] + stamp;
    let chance = '';
    if (drawn + 16 > pool.byteLength) {
      randomFillSync(pool);
      drawn = 0;
    }
    for (let i = 0; i < 16; i++) chance += CROCKFORD[pool[drawn++]! % 32];
    return stamp + chance;
  },
};
