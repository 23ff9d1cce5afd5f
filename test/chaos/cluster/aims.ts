/** What is wanted of every row, from what the row says of itself. */
import type { Aim } from '../row.js';
import type { ClusterMeasured, ClusterRow } from './row.js';

/** Out of routing, and replaced apart from the time to load. */
const LOST_MS = 3000;
/** Between the lease's end and the first answer: noticing, five writes, a load. */
const AFTER_LEASE_MS = 2000;

/** @param leaseMs of this run */
export function aimsOf(row: ClusterRow, { callers, detectMs, recoverMs, idleStartMs, ownersAtOnce }: ClusterMeasured, leaseMs: number): Aim[] {
  const aims: Aim[] = [];
  const want = (aim: string, wanted: string, measured: string, met: boolean, hard = false): void => void aims.push({ aim, wanted, measured, met, hard });
  for (const { caller, failed, wrong, lastFailedMs, longestGapMs } of callers) {
    const lost = Object.values(failed).reduce((sum, count) => sum + count, 0);
    if (caller !== 'plain') want(`${caller}: 0 failed, 0 wrong`, '0', lost + wrong === 0 ? '0' : JSON.stringify({ ...failed, ...(wrong > 0 && { wrong }) }), lost + wrong === 0, true);
    else {
      want('plain: 0 wrong', '0', String(wrong), wrong === 0, true);
      const { codes, noneAfterMs } = row.plain ?? { codes: [], noneAfterMs: 0 };
      const others = Object.entries(failed).filter(([code]) => !codes.includes(code));
      want('plain: errors', codes.length === 0 ? '0' : `only ${codes.join(', ')}`, Object.entries(failed).map(([code, count]) => `${code} ${count}`).join(', ') || '0', others.length === 0);
      if (codes.length > 0) want('plain: none asked after', `${noneAfterMs} ms`, lastFailedMs === null ? 'none' : `${Math.round(lastFailedMs)} ms`, (lastFailedMs ?? 0) <= noneAfterMs);
    }
    if (caller === 'singleton') {
      const limitMs = row.singletonGap === 'lease' ? leaseMs + AFTER_LEASE_MS : row.singletonGap;
      want('singleton: longest gap', `<= ${limitMs} ms`, `${Math.round(longestGapMs)} ms`, longestGapMs <= limitMs);
    }
  }
  want('owners at once', '1', String(ownersAtOnce ?? 'nobody answered'), ownersAtOnce === 1, true);
  if (row.loses) {
    const limitMs = LOST_MS + 1.3 * idleStartMs + 200;
    want('noticed', `<= ${LOST_MS} ms`, detectMs === null ? 'never' : `${Math.round(detectMs)} ms`, detectMs !== null && detectMs <= LOST_MS);
    want('all replicas again', `<= ${Math.round(limitMs)} ms (3000 + 1.3 x ${Math.round(idleStartMs)} + 200)`, recoverMs === null ? 'not to the end' : `${Math.round(recoverMs)} ms`, recoverMs !== null && recoverMs <= limitMs);
  } else if (recoverMs === null) want('all replicas in the end', 'yes', 'no', false);
  return aims;
}
