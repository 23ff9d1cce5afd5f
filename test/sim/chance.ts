/** All chance of a simulation, from one seed: the same seed is the same run. */
import type { Random } from '../../src/ports.js';

const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export class Chance implements Random {
  #state: number;

  /** `stream` keeps the users of one seed apart, so that one more draw here does not change everything there. */
  constructor(seed: number, stream = '') {
    let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 0;
    for (const letter of `${seed}/${stream}`) mixed = Math.imul(mixed ^ letter.charCodeAt(0), 0x01000193);
    this.#state = mixed;
    for (let i = 0; i < 4; i++) this.next();
  }

  /** mulberry32: one word of state, good enough to choose by. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  ulid(): string {
    return Array.from({ length: 26 }, () => LETTERS[this.integer(0, 31)]).join('');
  }

  real(min: number, max: number): number {
    return min + (max - min) * this.next();
  }

  /** Both ends included. */
  integer(min: number, max: number): number {
    return Math.floor(this.real(min, max + 1));
  }

  /** True with this probability. */
  flip(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!;
  }

  /** Time to the next of events that come independently of each other. */
  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean;
  }
}
