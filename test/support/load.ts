/** Steady load: callers that ask again as soon as they are answered, and a record of what each got. */
import { after } from 'node:test';
import { isServeError } from '../../src/errors.js';
import { Happenings } from './waiting.js';

export interface Load {
  /** Resolves when this many more requests were answered, well or not. */
  answered(more: number): Promise<void>;
  /** No new requests; resolves when the last one under way was answered. */
  stop(): Promise<LoadResult>;
}

export interface LoadResult {
  readonly ok: number;
  /** One line per failed request. */
  readonly failures: readonly string[];
}

/** A failed test leaves its load running; the file must end all the same. */
let fileOver = false;
after(() => {
  fileOver = true;
});

/** @param ask the n-th request; must settle. A value it throws is a failure. */
export function steadyLoad(ask: (n: number) => Promise<unknown>, callers = 4): Load {
  let over = false;
  let n = 0;
  let ok = 0;
  const failures: string[] = [];
  const answers = new Happenings<number>();
  const caller = async (): Promise<void> => {
    while (!over && !fileOver) {
      const mine = n++;
      try {
        await ask(mine);
        ok++;
      } catch (error) {
        failures.push(isServeError(error) ? `#${mine} ${error.code}: ${error.message}` : `#${mine} ${String(error)}`);
      }
      answers.add(mine);
      // A caller in the same process whose requests fail at once must leave room for everybody else.
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const all = Promise.all(Array.from({ length: callers }, caller));
  return {
    answered: (more) => answers.times(more, () => true, 'answers', answers.all.length),
    async stop() {
      over = true;
      await all;
      return { ok, failures };
    },
  };
}
