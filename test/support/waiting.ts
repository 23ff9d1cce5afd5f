/** One list of things that happened, to wait on under a watchdog. */
import { within } from './lanes.js';

/** Everything of one kind that happened so far, in order. */
export class Happenings<T> {
  readonly all: T[] = [];
  #waiting = new Set<() => void>();

  add(item: T): void {
    this.all.push(item);
    for (const look of [...this.#waiting]) look();
  }

  /** The first one that fits, at or after index `from`; `from` is usually an earlier `all.length`. */
  next(fits: (item: T) => boolean, what: string, from = 0): Promise<T> {
    let look = (): void => {};
    const found = new Promise<T>((resolve) => {
      look = () => {
        const item = this.all.slice(from).find(fits);
        if (item === undefined) return;
        this.#waiting.delete(look);
        resolve(item);
      };
      this.#waiting.add(look);
      look();
    });
    return within(found, what).finally(() => this.#waiting.delete(look)).catch((error: Error) => {
      throw new Error(`${error.message}; happened: ${this.all.slice(from).map((item) => JSON.stringify(item)).join('\n  ').slice(0, 3000)}`);
    });
  }

  /** `count` of them that fit. */
  async times(count: number, fits: (item: T) => boolean, what: string, from = 0): Promise<void> {
    await this.next(() => this.all.slice(from).filter(fits).length >= count, `${count} times ${what}`, from);
  }
}

/** Looks again every few milliseconds until there is something to see; for what tells nobody when it happens. */
export function until<T>(look: () => T | undefined | Promise<T | undefined>, what: string): Promise<NonNullable<T>> {
  let over = false;
  const found = (async () => {
    while (!over) {
      const seen = await look();
      if (seen !== undefined && seen !== null && seen !== false) return seen as NonNullable<T>;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`gave up waiting: ${what}`);
  })();
  return within(found, what).finally(() => (over = true));
}
