/** The result as Markdown, for a terminal and for docs/performance.md alike. */
import type { Aim } from './aims.js';
import type { Failure } from './group.js';
import type { Machine } from './machine.js';
import type { Row } from './rows.js';

export function report(machine: Machine, command: string, aims: readonly Aim[], rows: readonly Row[], failures: readonly Failure[]): string {
  return [
    `\`${command}\`, ${machine.date.slice(0, 10)}: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, `
      + `${machine.onnxruntime}, ${machine.natsServer}; load average ${machine.loadBefore.toFixed(2)} before, ${machine.loadAfter.toFixed(2)} after.`,
    ...(aims.length === 0 ? [] : [table(
      ['aim', 'limit', 'measured (quartiles)', ''],
      aims.map(({ aim, wanted, limit, measured, verdict }) => [aim, `${wanted === 'at most' ? '<=' : '>='} ${limit}`, `${digits(measured.median)} (${digits(measured.low)} to ${digits(measured.high)})`, verdict]),
    )]),
    ...[...new Set(rows.map(({ model, replicas }) => `${model} x${replicas}`))].map((group) => table(
      ['model', 'path', 'callers', 'p50 ms', 'p99 ms', 'added ms', 'per second', 'to raw', 'to echo', 'CPU ms'],
      rows.filter(({ model, replicas }) => `${model} x${replicas}` === group).map((row) => [
        row.model, row.path, String(row.concurrency), digits(row.p50Ms), digits(row.p99Ms), digits(row.addedMs), digits(row.perSecond),
        withSpread(row.toRaw, row.spread.toRaw), withSpread(row.toEcho, row.spread.toEcho), digits(row.cpuMs),
      ]),
    )),
    ...(failures.length === 0 ? [] : [table(['failed', 'why'], failures.map(({ row, why }) => [row, why.replaceAll(/\s+/g, ' ').replaceAll('|', '/')]))]),
  ].join('\n\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) => Math.max(3, cell.length, ...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join('\n');
}

/** Three significant digits say all there is. */
function digits(value: number | null): string {
  if (value === null || Number.isNaN(value)) return '';
  if (Math.abs(value) >= 100) return String(Math.round(value));
  const size = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toFixed(size);
}

function withSpread(value: number | null, spread: readonly [number, number] | null): string {
  return value === null || spread === null ? '' : `${value.toFixed(2)} (${spread[0].toFixed(2)}-${spread[1].toFixed(2)})`;
}
