/** The one place that reads the machine's clocks and asks the machine for chance. */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type { Clock, Random } from '../ports.js';

export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export const systemRandom: Random = {
  next: () => Math.random(),
  ulid() {
    let time = Date.now();
    let stamp = '';
    for (let i = 0; i < 10; i++, time = Math.floor(time / 32)) stamp = CROCKFORD[time % 32] + stamp;
    let chance = '';
    for (const byte of randomBytes(16)) chance += CROCKFORD[byte % 32];
    return stamp + chance;
  },
};
