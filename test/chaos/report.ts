/** The result as Markdown, for a terminal and for docs/failures.md alike. */
import type { Machine } from '../bench/machine.js';
import type { Measured, Windows } from './row.js';

export function report(machine: Machine, command: string, rows: readonly Measured[], broken: readonly { row: string; why: string }[]): string {
  return [
    `\`${command}\`, ${machine.date.slice(0, 10)}: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, `
      + `${machine.onnxruntime}, ${machine.natsServer}; load average ${machine.loadBefore.toFixed(2)} before, ${machine.loadAfter.toFixed(2)} after (the run itself included).`,
    table(
      ['row', 'per s', 'requests', 'ok', 'failed', 'wrong', 'p50 ms', 'p99 ms', 'longest gap ms', 'detect ms', 'recover ms (idle start)', 'aims'],
      rows.map((row) => [
        row.row, whole(row.perSecond), String(row.requests), String(row.ok), counts(row.failed), String(row.wrong), windows(row.p50Ms), windows(row.p99Ms),
        whole(row.longestGapMs), whole(row.detectMs), `${whole(row.recoverMs)}${row.idleStartMs === null ? '' : ` (${whole(row.idleStartMs)})`}`, verdict(row),
      ]),
    ),
    table(
      ['row', 'subject', 'settings', 'deaths', 'load average', 'what status said (ms from the fault)'],
      rows.map((row) => [row.row, `${row.subject} x${row.replicas}${row.isolation === 'thread' ? ', threads' : ''}`, row.settings, String(row.deaths), row.loadAverage.toFixed(2), row.said]),
    ),
    table(['row', 'aim', 'wanted', 'measured', ''], rows.flatMap(({ row, aims }) => aims.map(({ aim, wanted, measured, met }) => [row, aim, wanted, measured, met ? 'met' : '**missed**']))),
    ...(broken.length === 0 ? [] : [table(['row that could not be measured', 'why'], broken.map(({ row, why }) => [row, why.replaceAll(/\s+/g, ' ').replaceAll('|', '/').slice(0, 400)]))]),
  ].join('\n\n');
}

function verdict({ aims }: Measured): string {
  const missed = aims.filter(({ met }) => !met);
  return missed.length === 0 ? 'met' : `**missed**: ${missed.map(({ aim }) => aim).join('; ')}`;
}

export const counts = (failed: Readonly<Record<string, number>>): string => Object.entries(failed).map(([code, count]) => `${code} ${count}`).join(', ') || '0';

export const windows = ({ before, during, after }: Windows): string => [before, during, after].map(size).join(' / ');

function size(ms: number | null): string {
  if (ms === null) return '-';
  return ms >= 100 ? ms.toFixed(0) : ms.toFixed(1);
}

export const whole = (value: number | null): string => (value === null ? '-' : String(Math.round(value)));

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) => Math.max(3, cell.length, ...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join('\n');
}
