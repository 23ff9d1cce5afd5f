/** One row from start to end: host, capacity, load, fault, and what became of every request. */
import { mkdirSync, mkdtempSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ActorOptions } from '../../src/spec/actor.js';
import type { HostOptions } from '../../src/spec/host.js';
import { toTyped } from '../../src/tensor/typed.js';
import { startTestNats } from '../support/nats-server.js';
import { quantile } from '../bench/stats.js';
import { openCaller } from './caller.js';
import type { Bite } from './fixtures/faulty.js';
import { startHost, type Line } from './host.js';
import { closedLoop, openLoop, type Shot } from './load.js';
import type { Aim, Measured, Row, Stage, Windows } from './row.js';
import { actorOf, answerQuestions, makeSubject, spawnToProvenMs, type Question, type Subject } from './subject.js';
import { nowMs, pause, until } from './time.js';
import { startWatch, toldBy } from './watch.js';

const SHARE_OF_CAPACITY = 0.4;
const CALLERS = 8;
/** Of a row before anything is counted, and before anything breaks. */
const WARM = 0.1;
const CALM = 0.35;

export interface MeasureOptions {
  readonly root: string;
  readonly seconds: number;
  readonly quick: boolean;
  /** Folder for what hosts log. */
  readonly logs: string | undefined;
  readonly progress: (line: string) => void;
}

export async function measureRow(row: Row, { root, seconds, quick, logs, progress }: MeasureOptions): Promise<Measured> {
  const { isolation = 'process', replicas = 2, settings = {}, form = 'host' } = row;
  const folder = mkdtempSync(join(tmpdir(), 'regrow-chaos-'));
  const loadAverage = loadavg()[0]!;
  const closing: (() => Promise<unknown>)[] = [async () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 })];
  try {
    const subject = makeSubject(root, row.subject, join(folder, 'subject'), row.rounds);
    await answerQuestions(subject);
    const idleStartMs = row.startsAtOnce === undefined ? null : await spawnToProvenMs(subject, row.startsAtOnce, isolation);
    const nats = await startTestNats();
    closing.push(() => nats.remove());
    const actor = actorOf(subject, { replicas, isolation, ...settings, ...(row.golden && { golden: goldenOf(subject) }) });
    const options: HostOptions = { host: 'chaos', dataDir: join(folder, 'data'), nats: { servers: nats.url, ...nats.host }, actors: [actor] };
    mkdirSync(join(folder, 'host'), { recursive: true });
    const host = await startHost({ options, folder: join(folder, 'host'), form, ...(row.env && { env: row.env }) });
    closing.push(async () => {
      await host.stop();
      if (logs !== undefined) writeFileSync(join(logs, `${row.name.replaceAll(/[^A-Za-z0-9]+/g, '-')}.jsonl`), host.lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    });
    const caller = await openCaller(nats.url, subject.name);
    closing.push(() => caller.close());
    const watch = startWatch(caller, subject.name);
    closing.push(() => watch.stop());
    await until(() => watch.latest()?.ready === replicas, 'all replicas ready');

    let questions: readonly Question[] = subject.questions;
    const ask = (n: number): ReturnType<typeof caller.ask> => caller.ask(questions[n % questions.length]!);
    await closedLoop(CALLERS, 300, ask); // lets the compilers on both sides do their work first
    const capacityPerSecond = await closedLoop(CALLERS, quick ? 1000 : 2500, ask);
    const perSecond = capacityPerSecond * SHARE_OF_CAPACITY * (form === 'embedded' ? 0.5 : 1);
    progress(`${row.name}: ${Math.round(capacityPerSecond)} requests/s at most, ${Math.round(perSecond)} offered`);
    await pause(300);
    const loop = openLoop(perSecond, ask);
    const endMs = loop.startedMs + seconds * 1000;
    const aside: string[] = [];
    const stage: Stage = {
      subject, host, nats, caller, watch,
      leftMs: () => endMs - nowMs(),
      arm: async (order) => {
        writeFileSync(join(subject.folder, 'arm.draft'), JSON.stringify(order));
        renameSync(join(subject.folder, 'arm.draft'), join(subject.folder, 'arm'));
        const bitten = join(subject.folder, 'bitten');
        await until(() => existsSync(bitten), 'the bite of the fault', 20_000);
        return JSON.parse(readFileSync(bitten, 'utf8')) as Bite;
      },
      cells: () => watch.latest()!.replicas.map(({ pid }) => pid),
      askFromNowOn: (others) => { questions = others; },
      askAside: (question) => caller.ask(question).then((outcome) => {
        aside.push(outcome);
        return outcome;
      }),
      notes: { perSecond, shots: loop.shots },
    };
    await pause(seconds * 1000 * CALM);
    const faultMs = await row.fault(stage);
    stage.notes['faultMs'] = faultMs;
    await pause(stage.leftMs());
    await loop.stop();
    const wholeAgain = await until(() => watch.latest()?.ready === replicas, 'all replicas ready again', 20_000).then(() => true, () => false);
    await watch.stop();

    const events = host.lines.filter((line) => line.time >= Math.floor(faultMs) && (line['actor'] === undefined || line['actor'] === subject.name));
    const noticed = events.find(({ msg }) => (row.noticedBy ?? []).includes(msg));
    const { spanMs, untilMs, deaths } = recovery(events, host.lines, replicas, faultMs);
    const recoverMs = spanMs ?? (noticed ? overlapMs(events, noticed) : null);
    const counted = loop.shots.filter(({ dueMs }) => dueMs >= loop.startedMs + seconds * 1000 * WARM);
    const duringUntilMs = Math.max(untilMs ?? 0, faultMs + 1000);
    const windows = (fraction: number): Windows => ({
      before: latency(counted, fraction, -Infinity, faultMs), during: latency(counted, fraction, faultMs, duringUntilMs), after: latency(counted, fraction, duringUntilMs, Infinity),
    });
    const outcomes = tally(loop.shots.map(({ outcome }) => (outcome.startsWith('wrong') ? 'wrong' : outcome)));
    const { ok = 0, wrong = 0, ...failed } = outcomes;
    const firstWrong = loop.shots.find(({ outcome }) => outcome.startsWith('wrong'));
    if (firstWrong) progress(`${row.name}: first ${firstWrong.outcome}`);
    const bare: Measured = {
      row: row.name, subject: row.subject, replicas, isolation, settings: inWords(settings, row), capacityPerSecond, perSecond,
      requests: loop.shots.length, ok, failed, wrong, aside: tally(aside),
      p50Ms: windows(0.5), p99Ms: windows(0.99), longestGapMs: longestGap(counted),
      detectMs: noticed ? noticed.time - faultMs : null, recoverMs, recovered: wholeAgain, idleStartMs, deaths,
      said: toldBy(watch.samples, faultMs), lies: watch.lies, loadAverage, aims: [],
    };
    return { ...bare, aims: [...aimsOf(row, bare), ...(row.alsoWanted?.(stage, bare) ?? [])] };
  } finally {
    for (const close of closing.reverse()) await close().catch((error: unknown) => progress(`${row.name}: while tidying up: ${String(error)}`));
  }
}

function aimsOf(row: Row, { ok, wrong, requests, failed, lies, detectMs, recoverMs, recovered, idleStartMs }: Measured): Aim[] {
  const lost = requests - ok - wrong;
  const aims: Aim[] = [];
  if (row.mayFail) aims.push({ aim: '0 wrong', wanted: '0', measured: String(wrong), met: wrong === 0, hard: true });
  else aims.push({ aim: '0 failed, 0 wrong', wanted: '0', measured: lost + wrong === 0 ? '0' : JSON.stringify({ ...failed, ...(wrong > 0 && { wrong }) }), met: lost + wrong === 0, hard: true });
  aims.push({ aim: 'status never calls ready what is dead or frozen', wanted: '0', measured: lies.length === 0 ? '0' : `${lies.length}: ${lies[0]}`, met: lies.length === 0, hard: true });
  aims.push({ aim: 'as many ready as wanted in the end', wanted: 'yes', measured: recovered ? 'yes' : 'no', met: recovered, hard: false });
  if (row.noticedWithinMs !== undefined) {
    aims.push({ aim: 'noticed', wanted: `<= ${row.noticedWithinMs} ms`, measured: detectMs === null ? 'never' : `${Math.round(detectMs)} ms`, met: detectMs !== null && detectMs <= row.noticedWithinMs, hard: false });
  }
  if (idleStartMs !== null) {
    const limitMs = 1.3 * idleStartMs + 200;
    aims.push({ aim: 'recovered', wanted: `<= ${Math.round(limitMs)} ms (1.3 x ${Math.round(idleStartMs)} + 200)`, measured: recoverMs === null ? 'never' : `${Math.round(recoverMs)} ms`, met: recoverMs !== null && recoverMs <= limitMs, hard: false });
  }
  return aims;
}

/** The longest stretch with fewer ready than wanted, and when the last one ended; from the story the host tells. */
function recovery(events: readonly Line[], all: readonly Line[], wanted: number, faultMs: number): { spanMs: number | null; untilMs: number | null; deaths: number } {
  const ready = new Set(all.filter(({ msg, time }) => msg === 'replica-ready' && time < faultMs).map((line) => line['replica'] as string));
  let [sinceMs, spanMs, untilMs, deaths] = [undefined as number | undefined, null as number | null, null as number | null, 0];
  for (const { msg, time, replica, kept } of events) {
    const whole = ready.size >= wanted;
    if (msg === 'replica-exit') {
      ready.delete(replica as string);
      deaths++;
    } else if (msg === 'replica-ejected' && kept !== true) ready.delete(replica as string);
    else if (msg === 'replica-ready') ready.add(replica as string);
    else if (msg === 'guardian-host-ended') ready.clear();
    if (whole && ready.size < wanted) sinceMs = time;
    if (!whole && ready.size >= wanted && sinceMs !== undefined) {
      spanMs = Math.max(spanMs ?? 0, time - sinceMs);
      untilMs = time;
      sinceMs = undefined;
    }
  }
  return { spanMs, untilMs, deaths };
}

/** A replica that was exchanged with overlap was never missing: how long the exchange took. */
function overlapMs(events: readonly Line[], noticed: Line): number | null {
  const exchanged = events.find(({ msg, kept }) => /^replica-(ejected|recycled)$/.test(msg) && kept !== true);
  return exchanged ? exchanged.time - noticed.time : null;
}

export function latency(shots: readonly Shot[], fraction: number, fromMs: number, toMs: number): number | null {
  const took = shots.filter(({ outcome, dueMs }) => outcome === 'ok' && dueMs >= fromMs && dueMs < toMs).map(({ doneMs, dueMs }) => doneMs - dueMs);
  return took.length === 0 ? null : quantile(took, fraction);
}

export function longestGap(shots: readonly Shot[]): number {
  const answered = shots.filter(({ outcome }) => outcome === 'ok').map(({ doneMs }) => doneMs).sort((a, b) => a - b);
  let longest = 0;
  for (let index = 1; index < answered.length; index++) longest = Math.max(longest, answered[index]! - answered[index - 1]!);
  return longest;
}

export function tally(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

function goldenOf({ questions: [first] }: Subject): NonNullable<ActorOptions['golden']> {
  const side = (tensors: Question['inputs']) => Object.fromEntries(tensors.map((tensor) => [tensor.name, { datatype: tensor.datatype, shape: [...tensor.shape], data: [...(toTyped(tensor).data as Float32Array)] }]));
  return { inputs: side(first!.inputs), outputs: side(first!.answer!) } as NonNullable<ActorOptions['golden']>;
}

function inWords(settings: object, row: Row): string {
  const words = Object.entries(settings).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
  if (row.golden) words.push('golden given');
  for (const [name, value] of Object.entries(row.env ?? {})) words.push(`${name}=${value}`);
  return words.length === 0 ? 'defaults' : words.join(', ').replaceAll('"', '');
}
