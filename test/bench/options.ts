/** The command line of `npm run bench`, and what it makes the run consist of. */
import { parseArgs } from 'node:util';
import { groupName, type Effort, type GroupPlan } from './group.js';
import { pathNames, type PathName } from './path.js';

export const usage = `npm run bench -- [--quick] [--only ROW] [--rounds N] [--json FILE] [--profile DIR]
  --quick        about a minute: every path, fewer callers, short slices
  --only ROW     rows whose "<model> [x2] <path>" contains the word, and the baselines they are compared with
  --rounds N     how often each row is measured (5; with --quick 3)
  --json FILE    the rows for programs
  --profile DIR  a CPU profile of every process of the benchmark but the cells`;

export interface BenchOptions {
  readonly effort: Effort;
  readonly plans: readonly GroupPlan[];
  readonly json: string | undefined;
  readonly profileDir: string | undefined;
}

/** Throws with what is wrong. @param cores of this machine: a model gets all of them, two replicas half each */
export function parseOptions(args: readonly string[], cores: number): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: { quick: { type: 'boolean' }, only: { type: 'string' }, rounds: { type: 'string' }, json: { type: 'string' }, profile: { type: 'string' } },
  });
  const { quick = false, only = '', json, profile } = values;
  const rounds = Number(values.rounds ?? (quick ? 3 : 5));
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) throw new Error(`--rounds ${values.rounds}: expected a whole number from 1 to 1000`);
  const plans = allPlans(quick, cores).map((plan) => ({ ...plan, paths: chosen(plan, only) })).filter(({ paths }) => paths.length > 0);
  if (plans.length === 0) throw new Error(`--only ${only}: no row is called so; rows are ${allPlans(quick, cores).flatMap((plan) => plan.paths.map((path) => `"${groupName(plan)} ${path}"`)).join(', ')}`);
  return { effort: { rounds, sliceMs: quick ? 100 : 400, warmMs: quick ? 400 : 1500 }, plans, json, profileDir: profile };
}

function allPlans(quick: boolean, cores: number): GroupPlan[] {
  const all = [1, 2, 4, 8, 16, 32, 64];
  const threads = (replicas: number): number => Math.max(1, Math.floor(cores / replicas));
  return [
    { model: 'digits', replicas: 1, intraOpThreads: threads(1), paths: pathNames, levels: quick ? [1, 8, 64] : all },
    { model: 'ocr-cls', replicas: 1, intraOpThreads: threads(1), paths: pathNames, levels: quick ? [1, 8] : all },
    { model: 'ocr-rec', replicas: 1, intraOpThreads: threads(1), paths: pathNames, levels: quick ? [1, 4] : all },
    { model: 'ocr-rec', replicas: 2, intraOpThreads: threads(2), paths: ['raw', 'cell', 'nats', 'echo'], levels: quick ? [2, 8] : all.slice(1) },
  ];
}

/** A row needs its baselines: raw always, the echo for what goes over NATS. */
function chosen(plan: GroupPlan, only: string): PathName[] {
  const named = plan.paths.filter((path) => `${groupName(plan)} ${path}`.includes(only));
  if (named.length === 0) return [];
  return plan.paths.filter((path) => named.includes(path) || path === 'raw' || (path === 'echo' && named.includes('nats')));
}
