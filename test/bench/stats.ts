/**
 * The few numbers a benchmark row is made of. Pure.
 *
 * Every comparison is paired: a path and its baseline are measured within seconds of each other in the same round, and
 * what is reported is the median over rounds with its quartiles. No mean anywhere: one stall must not move a row.
 */

/** Median and quartiles of one value over the rounds. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export type Verdict = 'met' | 'missed' | 'within noise';

/** Linear between neighbours. @param fraction 0 = smallest, 1 = largest. NaN for an empty list */
export function quantile(values: Iterable<number>, fraction: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  const position = (sorted.length - 1) * fraction;
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (sorted[above]! - sorted[below]!) * (position - below);
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75) };
}

/** Round by round; rounds either side lacks are left out. */
export function paired(left: readonly (number | undefined)[], right: readonly (number | undefined)[], combine: (left: number, right: number) => number): number[] {
  const combined: number[] = [];
  for (let round = 0; round < Math.min(left.length, right.length); round++) {
    const [a, b] = [left[round], right[round]];
    if (a !== undefined && b !== undefined) combined.push(combine(a, b));
  }
  return combined;
}

/** Whether half of all rounds, the middle half, lie on one side of the limit. */
export function verdict(measured: Spread, limit: number, wanted: 'at most' | 'at least'): Verdict {
  const { low, high } = measured;
  if (wanted === 'at most' ? high <= limit : low >= limit) return 'met';
  if (wanted === 'at most' ? low > limit : high < limit) return 'missed';
  return 'within noise';
}
