/**
 * What regrow aims at, and whether this run got there. Printed, never asserted: a busy machine must not fail a build.
 * Every number is taken round by round, so that a slow moment hits both sides of it.
 */
import type { GroupResult, Series } from './group.js';
import type { PathName } from './path.js';
import { paired, spreadOf, verdict, type Spread, type Verdict } from './stats.js';

export interface Aim {
  readonly aim: string;
  readonly limit: number;
  readonly wanted: 'at most' | 'at least';
  readonly measured: Spread;
  readonly verdict: Verdict;
}

export function aimsOf(results: readonly GroupResult[]): Aim[] {
  const small = results.find(({ plan }) => plan.model === 'digits');
  const large = results.find(({ plan }) => plan.replicas === 2);
  const one = (path: PathName) => small?.series.find((series) => series.path === path && series.concurrency === 1)?.p50Ms ?? [];
  const minus = (a: readonly (number | undefined)[], b: readonly (number | undefined)[]) => paired(a, b, (left, right) => left - right);
  return [
    aim('digits, 1 caller: p50 of a thread lane beyond raw, ms', minus(one('thread'), one('raw')), 0.15, 'at most'),
    aim('digits, 1 caller: p50 of a cell beyond raw, ms', minus(one('cell'), one('raw')), 0.35, 'at most'),
    aim('digits, 1 caller: p50 over NATS beyond raw and echo, ms', minus(minus(one('nats'), one('raw')), one('echo')), 0.5, 'at most'),
    aim('ocr-rec, 2 replicas: best throughput over NATS / that of two raw processes', paired(best(large, 'nats'), best(large, 'raw'), (a, b) => a / b), 0.85, 'at least'),
  ].filter((each) => each !== undefined);
}

function aim(text: string, values: readonly number[], limit: number, wanted: Aim['wanted']): Aim | undefined {
  if (values.length === 0) return undefined;
  const measured = spreadOf(values);
  return { aim: text, limit, wanted, measured, verdict: verdict(measured, limit, wanted) };
}

/** Of each round, over all numbers of callers. */
function best(result: GroupResult | undefined, path: PathName): (number | undefined)[] {
  const mine = result?.series.filter((series: Series) => series.path === path) ?? [];
  const rounds = Math.max(0, ...mine.map(({ perSecond }) => perSecond.length));
  return Array.from({ length: rounds }, (_, round) => {
    const values = mine.map(({ perSecond }) => perSecond[round]).filter((value) => value !== undefined);
    return values.length === 0 ? undefined : Math.max(...values);
  });
}
