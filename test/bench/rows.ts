/** From series to the rows people and programs read. Ratios are of throughput, paired by round: 1 = as fast as the baseline. */
import { groupName, type GroupResult, type Series } from './group.js';
import type { PathName } from './path.js';
import { paired, quantile, spreadOf, type Spread } from './stats.js';

export interface Row {
  /** `<model> <path> <concurrency>`: what --only compares with. */
  readonly row: string;
  readonly model: string;
  readonly replicas: number;
  readonly path: string;
  readonly concurrency: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly perSecond: number;
  /** CPU time per request of the processes that serve: host and cells. Null where it cannot be read. */
  readonly cpuMs: number | null;
  /** p50 beyond that of raw onnxruntime, in ms. */
  readonly addedMs: number | null;
  readonly toRaw: number | null;
  readonly toEcho: number | null;
  /** Lower and upper quartile over the rounds. */
  readonly spread: Readonly<Record<'p50Ms' | 'perSecond' | 'addedMs' | 'toRaw' | 'toEcho', readonly [number, number] | null>>;
}

export function rowsOf(result: GroupResult): Row[] {
  const { plan } = result;
  return result.series.filter(({ requests }) => requests > 0).map((series): Row => {
    const isServing = series.path !== 'raw' && series.path !== 'echo';
    const toRaw = isServing ? compare(result, series, 'raw', 'perSecond', (mine, base) => mine / base) : undefined;
    const addedMs = isServing ? compare(result, series, 'raw', 'p50Ms', (mine, base) => mine - base) : undefined;
    const toEcho = series.path === 'nats' ? compare(result, series, 'echo', 'perSecond', (mine, base) => mine / base) : undefined;
    const p50Ms = spreadOf(known(series.p50Ms));
    const perSecond = spreadOf(known(series.perSecond));
    const path = plan.replicas === 1 ? series.path : `${series.path} x${plan.replicas}`;
    return {
      row: `${groupName(plan)} ${series.path} ${series.concurrency}`,
      model: plan.model,
      replicas: plan.replicas,
      path,
      concurrency: series.concurrency,
      requests: series.requests,
      p50Ms: p50Ms.median,
      p99Ms: quantile(series.latenciesMs, 0.99),
      perSecond: perSecond.median,
      cpuMs: series.cpuMs === undefined ? null : series.cpuMs / series.requests,
      addedMs: addedMs?.median ?? null,
      toRaw: toRaw?.median ?? null,
      toEcho: toEcho?.median ?? null,
      spread: { p50Ms: range(p50Ms), perSecond: range(perSecond), addedMs: range(addedMs), toRaw: range(toRaw), toEcho: range(toEcho) },
    };
  });
}

/** Undefined when the baseline was not measured. */
export function compare(
  { series }: GroupResult, mine: Series, baseline: PathName, what: 'p50Ms' | 'perSecond', combine: (mine: number, base: number) => number,
): Spread | undefined {
  const base = series.find(({ path, concurrency }) => path === baseline && concurrency === mine.concurrency);
  const values = base ? paired(mine[what], base[what], combine) : [];
  return values.length === 0 ? undefined : spreadOf(values);
}

const known = (values: readonly (number | undefined)[]): number[] => values.filter((value) => value !== undefined);
const range = (spread: Spread | undefined): readonly [number, number] | null => (spread ? [spread.low, spread.high] : null);
