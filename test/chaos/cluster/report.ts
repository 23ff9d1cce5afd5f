/** The cluster's table as Markdown: a line per row and caller, then what the hosts did, then the aims. */
import type { Machine } from '../../bench/machine.js';
import { counts, table, whole, windows } from '../report.js';
import type { ClusterMeasured } from './row.js';

export function clusterReport(machine: Machine, command: string, rows: readonly ClusterMeasured[], broken: readonly { row: string; why: string }[]): string {
  return [
    `\`${command}\`, ${machine.date.slice(0, 10)}: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, `
      + `${machine.onnxruntime}, ${machine.natsServer}; load average ${machine.loadBefore.toFixed(2)} before, ${machine.loadAfter.toFixed(2)} after (the run itself included).`,
    table(
      ['row', 'caller', 'per s', 'requests', 'ok', 'failed', 'wrong', 'p50 ms', 'p99 ms', 'longest gap ms', 'last failed, ms after the fault'],
      rows.flatMap((row) => row.callers.map((each, index) => [
        index === 0 ? row.row : '', each.caller, whole(each.perSecond), String(each.requests), String(each.ok), counts(each.failed), String(each.wrong), windows(each.p50Ms), windows(each.p99Ms),
        whole(each.longestGapMs), whole(each.lastFailedMs),
      ])),
    ),
    table(
      ['row', 'settings', 'detect ms', 'out of routing ms', 'all replicas again ms', 'owners at once', 'epochs', 'load average', 'ready replicas per host (ms from the fault)', 'aims'],
      rows.map((row) => [
        row.row, row.settings, whole(row.detectMs), whole(row.outOfRoutingMs), row.recoverMs === null ? 'never' : whole(row.recoverMs), row.ownersAtOnce === null ? '-' : String(row.ownersAtOnce),
        row.epochs.join(', ') || '-', row.loadAverage.toFixed(2), row.said, verdict(row),
      ]),
    ),
    table(['row', 'aim', 'wanted', 'measured', ''], rows.flatMap(({ row, aims }) => aims.map(({ aim, wanted, measured, met }) => [row, aim, wanted, measured, met ? 'met' : '**missed**']))),
    ...(broken.length === 0 ? [] : [table(['row that could not be measured', 'why'], broken.map(({ row, why }) => [row, why.replaceAll(/\s+/g, ' ').replaceAll('|', '/').slice(0, 400)]))]),
  ].join('\n\n');
}

function verdict({ aims }: ClusterMeasured): string {
  const missed = aims.filter(({ met }) => !met);
  return missed.length === 0 ? 'met' : `**missed**: ${missed.map(({ aim }) => aim).join('; ')}`;
}

/** For programs: a row per caller, with the names of the single-host table. */
export function forPrograms(rows: readonly ClusterMeasured[]): readonly object[] {
  return rows.flatMap(({ callers, ...row }) => callers.map((each) => ({ ...row, ...each })));
}
