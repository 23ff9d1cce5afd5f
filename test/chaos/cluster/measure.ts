/** One row of the cluster's table from start to end: the stage, load, the fault, and what became of every request. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Line } from '../host.js';
import { openLoop, type Shot } from '../load.js';
import { latency, longestGap, tally } from '../measure.js';
import type { Windows } from '../row.js';
import { answerQuestions, makeSubject, spawnToProvenMs } from '../subject.js';
import { nowMs, pause } from '../time.js';
import { aimsOf } from './aims.js';
import type { ClusterCaller } from './callers.js';
import { lostChanges, ownersAtOnce } from './owners.js';
import type { CallerFigures, ClusterMeasured, ClusterRow, ClusterStage, Fault } from './row.js';
import { openStage, QUICK_LEASE, WANTED } from './stage.js';
import { longestShortage, toldOf } from './watch.js';

/** Before the fault: `[full, quick]`. */
const CALM_MS = [5000, 3000] as const;
const LEASE_MS = 18_000;
/** Kept for programs to look at. */
const FAILURES_MAX = 200;

export interface MeasureClusterOptions {
  readonly root: string;
  readonly quick: boolean;
  readonly logs: string | undefined;
  readonly progress: (line: string) => void;
}

export async function measureClusterRow(row: ClusterRow, { root, quick, logs, progress }: MeasureClusterOptions): Promise<ClusterMeasured> {
  const folder = mkdtempSync(join(tmpdir(), 'regrow-chaos-'));
  const loadAverage = loadavg()[0]!;
  const closing: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 })];
  const keep = (hosts: ClusterStage['hosts']): void => {
    if (logs !== undefined) keepLogs(join(logs, row.name.replaceAll(/[^A-Za-z0-9]+/g, '-')), hosts);
  };
  try {
    const subject = makeSubject(root, 'digits', join(folder, 'subject'));
    await answerQuestions(subject);
    const idleStartMs = await spawnToProvenMs(subject, 1, 'process');
    const { stage, callers, salvos, told, settled } = await openStage(row, { subject, folder, quick, progress, keep, closing });
    const { watch, victim, ids, hosts } = stage;
    const beganMs = nowMs();
    const loops = callers.map((caller) => [caller, openLoop(caller.perSecond, caller.ask)] as const);
    await pause(CALM_MS[quick ? 1 : 0]);
    progress(`${row.name}: ${toldOf(watch.timeline(subject.name), nowMs())}; hit is ${victim}`);
    await stage.salvo();
    const fault = await row.fault(stage);
    await pause(row.tailS[quick ? 1 : 0] * 1000);
    await Promise.all([...loops.map(([, loop]) => loop.stop()), settled()]);
    await watch.stop();

    const timeline = watch.timeline(subject.name);
    const { spanMs, untilMs } = longestShortage(timeline, WANTED, fault.atMs);
    const duringUntilMs = Math.max(fault.atMs + 1000, fault.untilMs ?? 0, Number.isFinite(untilMs) ? untilMs : 0);
    const answers = told.filter(({ sentMs }) => sentMs >= beganMs);
    const figures = loops.map(([caller, { shots }]) => figuresOf(caller, [...shots, ...(salvos.get(caller) ?? [])], fault.atMs, duringUntilMs, caller.name === 'singleton' ? lostChanges(answers).length : 0));
    for (const { name, said } of callers) for (const line of said) progress(`${row.name}: ${name}: ${line}`);
    const bare: ClusterMeasured = {
      row: row.name, hosts: ids.length, servers: row.servers, settings: inWords(row, quick), callers: figures,
      detectMs: detected(hosts, victim, fault), outOfRoutingMs: figures.find(({ caller }) => caller === 'plain')!.lastFailedMs ?? 0, recoverMs: spanMs, idleStartMs,
      ownersAtOnce: answers.length === 0 ? null : ownersAtOnce(answers), epochs: [...new Set(answers.map(({ epoch }) => epoch))].sort((a, b) => a - b),
      said: toldOf(timeline, fault.atMs), loadAverage, aims: [],
    };
    return { ...bare, aims: [...aimsOf(row, bare, quick ? QUICK_LEASE.leaseMs : LEASE_MS), ...(row.alsoWanted?.(stage, bare, fault) ?? [])] };
  } finally {
    for (const close of closing.reverse()) {
      try {
        await close();
      } catch (error) {
        progress(`${row.name}: while tidying up: ${String(error)}`);
      }
    }
  }
}

function figuresOf({ name, perSecond }: ClusterCaller, shots: readonly Shot[], faultMs: number, duringUntilMs: number, lost: number): CallerFigures {
  const { ok = 0, wrong = 0, ...failed } = tally(shots.map(({ outcome }) => (outcome.startsWith('wrong') ? 'wrong' : outcome)));
  const windows = (fraction: number): Windows => ({
    before: latency(shots, fraction, -Infinity, faultMs), during: latency(shots, fraction, faultMs, duringUntilMs), after: latency(shots, fraction, duringUntilMs, Infinity),
  });
  const failures = shots.filter(({ outcome }) => outcome !== 'ok').map(({ outcome, dueMs }) => ({ outcome, atMs: Math.round(dueMs - faultMs) })).sort((a, b) => a.atMs - b.atMs);
  const last = failures.at(-1)?.atMs;
  return {
    caller: name, perSecond, requests: shots.length, ok: ok - lost, failed, wrong: wrong + lost, p50Ms: windows(0.5), p99Ms: windows(0.99),
    longestGapMs: longestGap(shots), failures: failures.slice(0, FAILURES_MAX), lastFailedMs: last === undefined || last < 0 ? null : last,
  };
}

/** From the logs: the first of the others that says so, or itself where it is the only one that can know. */
function detected(hosts: ClusterStage['hosts'], victim: string, { atMs }: Fault): number | null {
  const told = (id: string, { msg, time, suspect, gone, dead, deaf }: Line): boolean => {
    if (time < Math.floor(atMs)) return false;
    if (id === victim) return msg === 'deaf' && deaf === true;
    return msg === 'bus-down' || (/^host-(suspect|gone|dead)$/.test(msg) && [suspect, gone, dead].includes(victim));
  };
  const seen = [...hosts.values()].flatMap(({ id, lines }) => lines.filter((line) => told(id, line)).map(({ time }) => time - atMs));
  return seen.length === 0 ? null : Math.max(0, Math.min(...seen));
}

function inWords({ kick, proxied, servers, hosts = 3 }: ClusterRow, quick: boolean): string {
  return [`${hosts} hosts`, `${servers} nats-server${servers > 1 ? 's' : ''}`, kick ? 'kick' : 'no kick', ...(proxied ? ['through proxies'] : []), ...(quick ? [`shorter faults, lease ${QUICK_LEASE.leaseMs} ms`] : [])].join(', ');
}

function keepLogs(folder: string, hosts: ClusterStage['hosts']): void {
  mkdirSync(folder, { recursive: true });
  for (const { id, lines } of hosts.values()) writeFileSync(join(folder, `${id}.jsonl`), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}
