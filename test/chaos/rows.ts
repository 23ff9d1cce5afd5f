/** Every row: what breaks, under which settings, and what is wanted. The order is that of the table. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { actorFields } from '../../src/spec/actor.js';
import { packed, type FromEmbedded, type ToEmbedded } from './embedded.js';
import { poisons, rightWeights, type FaultOrder } from './fixtures/faulty.js';
import type { Aim, Measured, Row, Stage } from './row.js';
import { poisonQuestion } from './subject.js';
import { nowMs, pause, processState, within } from './time.js';

/** For rows in which one replica after another ends: back at once or nearly so, and no end to it within a row. */
const brisk = { restart: { intensity: 30, consecutiveMax: 30, resetAfterMs: 5000, backoff: { minMs: 100, maxMs: 500 } } } as const;

const kill = (pid: number, signal: NodeJS.Signals = 'SIGKILL'): number => {
  const atMs = nowMs();
  process.kill(pid, signal);
  return atMs;
};
const killOne = async ({ cells }: Stage): Promise<number> => kill(cells()[0]!);
const killAll = async ({ cells }: Stage): Promise<number> => Math.min(...cells().map((pid) => kill(pid)));
const bite = (order: FaultOrder) => async (stage: Stage): Promise<number> => (await stage.arm(order)).atMs;
/** The thread is gone at once, so status has to say so at once. */
const biteThread = (order: FaultOrder) => async (stage: Stage): Promise<number> => {
  const { atMs, pid, threadId } = await stage.arm(order);
  stage.watch.threadEnded(pid, threadId, atMs);
  return atMs;
};

const oneDeath = { noticedBy: ['replica-exit'], startsAtOnce: 1 } as const;

export const rows: readonly Row[] = [
  { name: 'cell SIGKILL, digits', quick: true, subject: 'digits', ...oneDeath, noticedWithinMs: 50, fault: killOne },
  { name: 'cell SIGKILL, ocr-cls', quick: false, subject: 'ocr-cls', ...oneDeath, noticedWithinMs: 50, fault: killOne },
  { name: 'cell SIGSTOP for 10 s', quick: true, subject: 'ocr-cls', ...oneDeath, noticedWithinMs: 2200, fault: freeze },
  { name: 'thread throw', quick: false, subject: 'module', isolation: 'thread', ...oneDeath, noticedWithinMs: 50, fault: biteThread({ fault: 'throw' }) },
  { name: 'thread exit', quick: true, subject: 'module', isolation: 'thread', ...oneDeath, noticedWithinMs: 50, fault: biteThread({ fault: 'exit' }) },
  { name: 'heap out of memory, thread', quick: false, subject: 'module', isolation: 'thread', env: { NODE_OPTIONS: '--max-old-space-size=256' }, ...oneDeath, fault: bite({ fault: 'heap' }) },
  { name: 'heap out of memory, cell', quick: false, subject: 'module', env: { NODE_OPTIONS: '--max-old-space-size=256' }, ...oneDeath, fault: bite({ fault: 'heap' }) },
  { name: 'native abort', quick: true, subject: 'module', ...oneDeath, noticedWithinMs: 50, fault: bite({ fault: 'abort' }) },
  { name: 'endless loop', quick: true, subject: 'module', settings: { hangMs: 1000 }, ...oneDeath, noticedWithinMs: 1100, fault: bite({ fault: 'loop' }) },
  { name: 'slow to twice', quick: false, subject: 'module', rounds: 400, noticedBy: [], fault: slow(2) },
  { name: 'slow to ten times', quick: true, subject: 'module', rounds: 400, noticedBy: [], fault: slow(10) },
  { name: 'NaN output', quick: true, subject: 'module', golden: true, noticedBy: ['doubt'], startsAtOnce: 1, fault: bite({ fault: 'nan' }) },
  { name: 'wrong weights after a restart, module', quick: true, subject: 'module', golden: true, settings: brisk, noticedBy: ['replica-exit'], noticedWithinMs: 50, fault: wrongWeights, alsoWanted: neverReady },
  { name: 'wrong weights after a restart, model', quick: false, subject: 'digits', ...oneDeath, noticedWithinMs: 50, fault: damaged(otherWeights) },
  { name: 'model file corrupted before a restart', quick: true, subject: 'digits', ...oneDeath, noticedWithinMs: 50, fault: damaged(truncated) },
  ...('memory' in actorFields ? [{
    name: 'memory leak', quick: false, subject: 'module', settings: { memory: { bytesMax: 200 * 2 ** 20 } } as Row['settings'] & object, noticedBy: ['replica-recycled', 'replica-ejected'], fault: bite({ fault: 'leak', bytes: 2 ** 20 }), alsoWanted: recycled,
  } satisfies Row] : []),
  { name: 'five poison payloads, one a second', quick: true, subject: 'module', settings: { ...brisk, hangMs: 1000 }, noticedBy: ['replica-exit'], fault: poison(1000), alsoWanted: poisonTold },
  { name: 'five poison payloads at once', quick: false, subject: 'module', settings: { ...brisk, hangMs: 1000 }, noticedBy: ['replica-exit'], mayFail: true, fault: poison(0), alsoWanted: poisonTold },
  { name: 'NaN in every tenth input', quick: true, subject: 'digits', noticedBy: [], fault: nanInputs, alsoWanted: nobodyBlamed },
  { name: 'every cell killed at once', quick: true, subject: 'digits', noticedBy: ['replica-exit'], startsAtOnce: 2, noticedWithinMs: 50, fault: killAll },
  { name: 'only replica killed', quick: true, subject: 'digits', replicas: 1, ...oneDeath, noticedWithinMs: 50, fault: killOne },
  { name: 'host SIGKILL under its guardian', quick: true, subject: 'digits', form: 'guarded', noticedBy: ['guardian-host-ended'], mayFail: true, fault: killHost },
  { name: 'nats-server SIGKILL and restart', quick: true, subject: 'digits', form: 'embedded', noticedBy: ['bus-down'], mayFail: true, fault: restartBroker, alsoWanted: brokerAims },
];

// ------------------------------------------------------------------------------------------------------------- faults

async function freeze({ cells }: Stage): Promise<number> {
  const pid = cells()[0]!;
  const atMs = kill(pid, 'SIGSTOP');
  setTimeout(() => {
    if (processState(pid) !== undefined) kill(pid, 'SIGCONT');
  }, 10_000).unref();
  return atMs;
}

function slow(times: number): Row['fault'] {
  return async (stage) => (await stage.arm({ fault: 'slow', times, forMs: stage.leftMs() * 0.5 })).atMs;
}

/** Whoever loads from now on computes something else; after a while the right weights are back. */
async function wrongWeights(stage: Stage): Promise<number> {
  const file = join(stage.subject.folder, 'weights.json');
  writeFileSync(file, JSON.stringify(rightWeights().map((weight, index) => (index % 7 === 0 ? weight * 1.05 : weight))));
  const atMs = kill(stage.cells()[0]!);
  await pause(stage.leftMs() * 0.4);
  stage.notes['rightAgainMs'] = nowMs();
  writeFileSync(file, JSON.stringify(rightWeights()));
  return atMs;
}

function neverReady({ watch, notes }: Stage, measured: Measured): Aim[] {
  const { deaths } = measured;
  const untilMs = notes['rightAgainMs'] as number;
  const sinceMs = notes['faultMs'] as number;
  const claims = watch.samples.filter(({ atMs, actor }) => atMs > sinceMs + 100 && atMs < untilMs && actor !== undefined && actor.ready > 1).length;
  return [{ aim: 'a replica with wrong weights is never ready', wanted: '0 claims', measured: `${claims} claims, ${deaths - 1} starts refused by proof`, met: claims === 0 && deaths > 1, hard: true }];
}

function damaged(damage: (bytes: Buffer) => Buffer): Row['fault'] {
  return async (stage) => {
    writeFileSync(stage.subject.file, damage(readFileSync(stage.subject.file)));
    return killOne(stage);
  };
}

/** Still a model that loads and answers: a few bits of its weights are others. */
function otherWeights(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  for (let at = Math.floor(bytes.length * 0.4); at < bytes.length * 0.6; at += 64) changed[at] = changed[at]! ^ 0x10;
  return changed;
}

function truncated(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.length / 2);
}

function recycled({ host, notes }: Stage): Aim[] {
  const sinceMs = notes['faultMs'] as number;
  const line = host.lines.find(({ msg, time }) => time >= sinceMs && /^replica-(recycled|ejected)$/.test(msg));
  return [{ aim: 'the leaking replica is replaced, with overlap', wanted: 'recycled', measured: line ? `${line.msg}: ${String(line['reason'])}` : 'nothing happened', met: line !== undefined, hard: false }];
}

/** Each is a request of its own kind that ends whoever runs it. */
function poison(everyMs: number): Row['fault'] {
  return async (stage) => {
    const atMs = nowMs();
    const told: Promise<unknown>[] = [];
    for (const first of Object.keys(poisons).map(Number)) {
      told.push(stage.askAside(poisonQuestion(first)));
      await pause(everyMs);
    }
    await Promise.all(told);
    return atMs;
  };
}

function poisonTold(_stage: Stage, { aside, deaths }: Measured): Aim[] {
  const count = Object.keys(poisons).length;
  return [
    { aim: 'every poison caller is told POISON', wanted: `POISON ${count}`, measured: JSON.stringify(aside), met: aside['POISON'] === count, hard: false },
    { aim: 'at most two deaths a payload', wanted: `<= ${2 * count}`, measured: String(deaths), met: deaths <= 2 * count, hard: false },
  ];
}

async function nanInputs({ subject, askFromNowOn }: Stage): Promise<number> {
  askFromNowOn(subject.questions.map((question, index) => (index % 10 === 0 ? subject.nanQuestions[index]! : question)));
  return nowMs();
}

function nobodyBlamed({ host, notes, watch }: Stage, { deaths }: Measured): Aim[] {
  const sinceMs = notes['faultMs'] as number;
  const blamed = host.lines.filter(({ msg, time }) => time >= sinceMs && /doubt|ejected|replica-exit/.test(msg)).length;
  const suspected = watch.samples.filter(({ actor, atMs }) => atMs >= sinceMs && actor?.replicas.some(({ phase }) => phase !== 'ready')).length;
  return [{ aim: 'no replica is blamed', wanted: '0 doubts, 0 deaths', measured: `${blamed} doubts, ${deaths} deaths, ${suspected} samples not ready`, met: blamed + deaths + suspected === 0, hard: true }];
}

async function killHost({ host }: Stage): Promise<number> {
  const line = host.lines.find(({ msg }) => msg === 'guardian-host-started')!;
  return kill(line['hostPid'] as number);
}

async function restartBroker(stage: Stage): Promise<number> {
  const { host, nats, notes, subject } = stage;
  const report = new Promise<FromEmbedded>((resolve) => host.onMessage((message) => resolve(message as FromEmbedded)));
  const questions = subject.questions.map(({ inputs, answer }) => ({ inputs: inputs.map(packed), answer: answer!.map(packed) }));
  host.send({ type: 'load', perSecond: notes['perSecond'] as number, questions } satisfies ToEmbedded);
  await pause(stage.leftMs() * 0.1);
  const atMs = nowMs();
  await nats.kill();
  await nats.start();
  notes['listensMs'] = nowMs();
  await pause(stage.leftMs() - 200);
  host.send({ type: 'report' } satisfies ToEmbedded);
  notes['memory'] = await within(report, 'the report of the embedded host');
  return atMs;
}

function brokerAims({ host, caller, notes }: Stage): Aim[] {
  const { requests, outcomes, longestMs } = notes['memory'] as FromEmbedded;
  const failed = requests - (outcomes['ok'] ?? 0);
  const faultMs = notes['faultMs'] as number;
  const listensMs = notes['listensMs'] as number;
  const shots = notes['shots'] as readonly { dueMs: number; doneMs: number; outcome: string }[];
  const backMs = Math.max(host.lines.find(({ msg, time }) => msg === 'bus-up' && time >= faultMs)?.time ?? Infinity, caller.reconnectsMs.find((at) => at >= faultMs) ?? Infinity);
  const late = shots.filter(({ outcome, dueMs }) => outcome !== 'ok' && dueMs > backMs).length;
  const firstMs = Math.min(...shots.filter(({ outcome, dueMs }) => outcome === 'ok' && dueMs > faultMs + 1).map(({ doneMs }) => doneMs));
  const limitMs = 500 + 500; // the longest reconnect wait of a host (250 + up to 250 jitter)
  return [
    { aim: 'calls in memory', wanted: '0 failed, 0 wrong', measured: `${requests} requests, ${failed} not ok, slowest ${Math.round(longestMs)} ms`, met: failed === 0, hard: true },
    { aim: 'over NATS nothing fails that was sent after both ends were back', wanted: '0', measured: String(late), met: late === 0, hard: true },
    { aim: 'first success after the broker listens again', wanted: `<= ${limitMs} ms`, measured: `${Math.round(firstMs - listensMs)} ms`, met: firstMs - listensMs <= limitMs, hard: false },
  ];
}
