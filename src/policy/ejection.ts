/**
 * Whether a replica errs so much more than its siblings that the fault must be its own. Errors all replicas share are
 * the model's or the callers', and ejecting for them would eject everybody in turn.
 */

export interface Results {
  /** Of the last results, newest last: true = the run failed with INTERNAL or was refused by the guard. */
  readonly failed: readonly boolean[];
}

const WINDOW = 20;
const RESULTS_MIN = 10;
const OWN_RATE_MIN = 0.5;
const SIBLING_RATE_MAX = 0.1;

export const noResults: Results = { failed: [] };

export function withResult(record: Results, failed: boolean): Results {
  // The common case allocates nothing: a replica that never failed needs no window.
  if (!failed && record.failed.length === 0) return record;
  return { failed: [...record.failed.slice(-(WINDOW - 1)), failed] };
}

const rate = (record: Results): number => (record.failed.length === 0 ? 0 : record.failed.filter(Boolean).length / record.failed.length);

export function shouldEject(own: Results, siblings: readonly Results[]): boolean {
  return siblings.length > 0 && own.failed.length >= RESULTS_MIN && rate(own) >= OWN_RATE_MIN && siblings.every((sibling) => rate(sibling) <= SIBLING_RATE_MAX);
}
