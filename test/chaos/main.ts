/**
 * `npm run chaos`: real processes, open-loop load without retries, one fault a row. The table goes to stdout, progress to
 * stderr. Fails when an answer was wrong, when a request failed in a row that must lose none, or when status lied.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { startMachine } from '../bench/machine.js';
import { runClusterChaos } from './cluster/main.js';
import { measureRow } from './measure.js';
import { parseOptions, usage } from './options.js';
import { report } from './report.js';
import type { Measured } from './row.js';
import { rows as allRows } from './rows.js';

export interface ChaosSurroundings {
  readonly root: string;
  readonly args: readonly string[];
  readonly natsVersion: string;
}

/** Resolves with the exit code: 0, 1 when a row missed an aim it must not miss or broke, 64 for a wrong command line. */
export async function runChaos({ root, args, natsVersion }: ChaosSurroundings): Promise<number> {
  if (args[0] === 'cluster') return runClusterChaos({ root, args: args.slice(1), natsVersion });
  const progress = (line: string): void => void process.stderr.write(`chaos: ${line}\n`);
  let options;
  try {
    options = parseOptions(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}\n`);
    return 64;
  }
  const { quick, only, seconds, json, logs, list, help } = options;
  if (help) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  const chosen = allRows.filter((row) => (only.length > 0 ? only.some((word) => row.name.includes(word)) : !quick || row.quick));
  if (list || chosen.length === 0) {
    process.stdout.write(`${allRows.map(({ name, quick: isQuick }) => `${name}${isQuick ? '' : '  (not in --quick)'}`).join('\n')}\n`);
    return list ? 0 : 64;
  }
  const machine = startMachine(root, natsVersion);
  const rows: Measured[] = [];
  const broken: { row: string; why: string }[] = [];
  for (const [index, row] of chosen.entries()) {
    progress(`${index + 1} of ${chosen.length}: ${row.name}`);
    try {
      const measured = await measureRow(row, { root, seconds, quick, logs, progress });
      rows.push(measured);
      const missed = measured.aims.filter(({ met }) => !met);
      progress(`${row.name}: ${measured.ok} of ${measured.requests} ok${missed.map(({ aim, wanted, measured: found }) => `; MISSED ${aim}: ${found}, wanted ${wanted}`).join('')}`);
    } catch (error) {
      broken.push({ row: row.name, why: (error as Error).stack ?? String(error) });
      progress(`${row.name}: NOT MEASURED: ${(error as Error).message}`);
    }
  }
  const facts = machine(undefined);
  process.stdout.write(`${report(facts, ['npm run chaos', ...(args.length > 0 ? ['--', ...args] : [])].join(' '), rows, broken)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ machine: facts, rows, broken }, null, 2)}\n`);
  return broken.length > 0 || rows.some(({ aims }) => aims.some(({ met, hard }) => hard && !met)) ? 1 : 0;
}
