/** The command line of `npm run chaos`. */
import { parseArgs } from 'node:util';

export const usage = `npm run chaos -- [--quick] [--only ROW] [--seconds N] [--json FILE] [--logs DIR] [--list]
  --quick        about 8 s a row, fewer rows
  --only ROW     rows whose name contains the word; may come several times
  --seconds N    length of each row (default 30, with --quick 8)
  --json FILE    the table for programs
  --logs DIR     what the host of each row logged
  --list         names of the rows
  --help         this
npm run chaos -- cluster [...]: the same with several hosts; its own --help says the rest`;

export interface ChaosOptions {
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly seconds: number;
  readonly json: string | undefined;
  readonly logs: string | undefined;
  readonly list: boolean;
  readonly help: boolean;
}

/** Throws with what is wrong. */
export function parseOptions(args: readonly string[]): ChaosOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean' }, only: { type: 'string', multiple: true }, seconds: { type: 'string' }, json: { type: 'string' }, logs: { type: 'string' },
      list: { type: 'boolean' }, help: { type: 'boolean', short: 'h' },
    },
  });
  const { quick = false, only = [], json, logs, list = false, help = false } = values;
  const seconds = Number(values.seconds ?? (quick ? 8 : 30));
  if (!(seconds >= 4 && seconds <= 3600)) throw new Error(`--seconds ${values.seconds}: expected a number from 4 to 3600`);
  return { quick, only, seconds, json, logs, list, help };
}
