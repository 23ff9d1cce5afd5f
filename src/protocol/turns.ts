/**
 * At most N at once, in order of asking. Pure; it has no time-out, because what holds a turn is watched from outside.
 */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(readonly count: number) {
    this.#free = count;
  }

  /** Undefined when the turn is there at once, which costs no promise. */
  take(): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }

  /** Every turn, once those who asked before have had theirs: nothing runs any more. */
  async takeAll(): Promise<void> {
    for (let left = this.count; left > 0; left--) await this.take();
  }
}
