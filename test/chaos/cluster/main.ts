/**
 * `npm run chaos -- cluster`: several hosts in processes of their own, one or three nats-servers, one fault a row, and three
 * callers with open-loop load. Fails when a row missed an aim it must not miss, or could not be measured.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { startMachine } from '../../bench/machine.js';
import { parseOptions } from '../options.js';
import { measureClusterRow } from './measure.js';
import { clusterReport, forPrograms } from './report.js';
import type { ClusterMeasured } from './row.js';
import { clusterRows } from './rows.js';

export const clusterUsage = `npm run chaos -- cluster [--quick] [--only ROW] [--json FILE] [--logs DIR] [--list]
  --quick        shorter faults, leases of 4.5 s, fewer rows
  --only ROW     rows whose name contains the word; may come several times
  --json FILE    the table for programs
  --logs DIR     what the hosts of each row logged
  --list         names of the rows
  --help         this`;

/** Resolves with the exit code: 0, 1 when a row missed an aim it must not miss or broke, 64 for a wrong command line. */
export async function runClusterChaos({ root, args, natsVersion }: { readonly root: string; readonly args: readonly string[]; readonly natsVersion: string }): Promise<number> {
  const progress = (line: string): void => void process.stderr.write(`chaos: ${line}\n`);
  let options;
  try {
    options = parseOptions(args);
    if (args.some((arg) => arg.startsWith('--seconds'))) throw new Error('--seconds: a row of the cluster is as long as its fault');
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${clusterUsage}\n`);
    return 64;
  }
  const { quick, only, json, logs, list, help } = options;
  if (help) {
    process.stdout.write(`${clusterUsage}\n`);
    return 0;
  }
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  const chosen = clusterRows.filter((row) => (only.length > 0 ? only.some((word) => row.name.includes(word)) : !quick || row.quick));
  if (list || chosen.length === 0) {
    process.stdout.write(`${clusterRows.map(({ name, quick: isQuick }) => `${name}${isQuick ? '' : '  (not in --quick)'}`).join('\n')}\n`);
    return list ? 0 : 64;
  }
  // Hosts are in process groups of their own, and a frozen one would stay for ever: whoever ends this run ends them.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  const machine = startMachine(root, natsVersion);
  const rows: ClusterMeasured[] = [];
  const broken: { row: string; why: string }[] = [];
  for (const [index, row] of chosen.entries()) {
    progress(`${index + 1} of ${chosen.length}: ${row.name}`);
    try {
      const measured = await measureClusterRow(row, { root, quick, logs, progress });
      rows.push(measured);
      const missed = measured.aims.filter(({ met }) => !met);
      progress(`${row.name}: ${measured.callers.map(({ caller, ok, requests }) => `${caller} ${ok} of ${requests} ok`).join(', ')}${missed.map(({ aim, wanted, measured: found }) => `; MISSED ${aim}: ${found}, wanted ${wanted}`).join('')}`);
    } catch (error) {
      broken.push({ row: row.name, why: (error as Error).stack ?? String(error) });
      progress(`${row.name}: NOT MEASURED: ${(error as Error).message}`);
    }
  }
  const facts = machine(undefined);
  process.stdout.write(`${clusterReport(facts, ['npm run chaos -- cluster', ...args].join(' '), rows, broken)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ machine: facts, rows: forPrograms(rows), broken }, null, 2)}\n`);
  return broken.length > 0 || rows.some(({ aims }) => aims.some(({ met, hard }) => hard && !met)) ? 1 : 0;
}
