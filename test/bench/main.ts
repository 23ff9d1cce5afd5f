/**
 * `npm run bench`: regrow beside raw onnxruntime and a bare NATS echo, in one run. The table goes to stdout, progress to
 * stderr. Fails when a path fails or answers wrongly, never for being slow.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { aimsOf } from './aims.js';
import { measureGroup, type GroupResult } from './group.js';
import { startMachine } from './machine.js';
import { parseOptions, usage } from './options.js';
import type { NatsAccess } from './role.js';
import { rowsOf } from './rows.js';
import { report } from './table.js';

export interface BenchSurroundings {
  readonly root: string;
  readonly args: readonly string[];
  /** Starts a broker of the run's own, with the project's nats.conf. Called once the options are known to be right. */
  readonly startNats: () => Promise<NatsAccess & { readonly version: string; stop(): Promise<void> }>;
}

/** Resolves with the exit code: 0, 1 when a path failed, 64 for a wrong command line. */
export async function runBench({ root, args, startNats }: BenchSurroundings): Promise<number> {
  const progress = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
  let options;
  try {
    options = parseOptions(args, availableParallelism());
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}\n`);
    return 64;
  }
  const { effort, plans, json, profileDir } = options;
  if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true });
  const nats = await startNats();
  const machine = startMachine(root, nats.version);
  const results: GroupResult[] = [];
  try {
    for (const plan of plans) results.push(await measureGroup(plan, { root, nats, effort, profileDir, progress }));
  } finally {
    await nats.stop();
  }
  const facts = machine(results.find(({ runtime }) => runtime !== undefined)?.runtime);
  const [aims, rows, failures] = [aimsOf(results), results.flatMap(rowsOf), results.flatMap((result) => result.failures)];
  process.stdout.write(`${report(facts, ['npm run bench', ...(args.length > 0 ? ['--', ...args] : [])].join(' '), aims, rows, failures)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ machine: facts, aims, rows, failures }, null, 2)}\n`);
  for (const { row, why } of failures) progress(`FAILED ${row}: ${why}`);
  return failures.length === 0 ? 0 : 1;
}
