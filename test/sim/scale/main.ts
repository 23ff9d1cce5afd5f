/**
 * `npm run sim -- --scale`: what one host pays at several sizes, a cluster that loses a tenth of its hosts, and what that
 * means for the NATS server. Prints tables; the numbers are of this machine, the counts are not.
 */
import { cpus, loadavg } from 'node:os';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { sizeOf, type Size } from './cast.js';
import { measureCosts, type Costs } from './costs.js';
import { KINDS } from './counting-bus.js';
import { simulateScale, type Outcome, type Phase } from './scale.js';
import { measureServer, type ServerRate } from './server.js';

/** As dense everywhere, then one side at a time. */
const SIZES: readonly Size[] = [sizeOf(30, 500, 2000), sizeOf(100, 1667, 6668), sizeOf(300, 5000, 20_000), sizeOf(300, 2500, 10_000), sizeOf(150, 5000, 20_000)];
const SIMULATED = SIZES.slice(0, 3);
const SECONDS = { steady: 10, after: 75 };

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const cells = [head, ...rows.map((row) => row.map(told))];
  const width = head.map((_, at) => Math.max(...cells.map((row) => String(row[at]).length)));
  cells.forEach((row, at) => {
    say(`| ${row.map((cell, column) => String(cell).padEnd(width[column]!)).join(' | ')} |`);
    if (at === 0) say(`| ${width.map((count) => '-'.repeat(count)).join(' | ')} |`);
  });
  say('');
}

const told = (value: string | number): string => (typeof value === 'string' ? value : value === 0 || Number.isInteger(value) ? String(value) : value >= 100 ? value.toFixed(0) : value.toPrecision(3));
const nameOf = ({ hosts, actors, replicas }: Size): string => `${hosts} / ${actors} / ${replicas}`;

function tellCosts(all: readonly (readonly [Size, Costs])[]): void {
  say('What one host pays, in ms of CPU time of one core (state and beat: bytes)');
  table(
    ['hosts / actors / replicas', 'state', 'beat', 'one look', 'of it placement', 'decode a state', 'encode', 'hear a beat', 'all beats of 1 s', 'tick', 'all states anew'],
    all.map(([size, costs]) => [nameOf(size), Math.round(costs.stateBytes), costs.beatBytes, costs.lookMs, costs.placementMs, costs.decodeStateMs, costs.encodeStateMs, costs.beatMs, costs.beatMs * size.hosts * 2, costs.tickMs, costs.decodeStateMs * size.hosts]),
  );
}

function tellPhases(all: readonly (readonly [Size, Outcome])[]): void {
  const rows = all.flatMap(([size, outcome]) => ([['steady', outcome.steady], ['10 % die', outcome.loss], ['they are back', outcome.back]] as const).flatMap(([name, phase]) => (phase ? [[size, name, phase] as const] : [])));
  say('What happens (times in ms from the event)');
  table(
    ['hosts / actors / replicas', 'phase', 'lost', 'judged', 'first start', 'last start', 'all ready', 'started', 'most on one host', 'removed', 'looks per host', 'busy share', 'longest wait'],
    rows.map(([size, name, phase]) => [nameOf(size), name, phase.missing, phase.judgedMs, phase.firstStartMs, phase.lastStartMs, phase.readyMs, phase.replicasStarted, phase.mostOnOneHost, phase.replicasRemoved, phase.looks, phase.busyShare, phase.lateMs]),
  );
  say('What the server delivers: mean per second, and the busiest second');
  table(
    ['hosts / actors / replicas', 'phase', ...KINDS.map((kind) => `${kind}s/s`), 'MB/s', 'busiest: messages', 'busiest: MB', 'states said per host'],
    rows.map(([size, name, phase]) => [nameOf(size), name, ...KINDS.map((kind) => phase.rates.kinds[kind].delivered / phase.rates.seconds), megabytes(phase) / phase.rates.seconds, phase.rates.peak.delivered, phase.rates.peak.bytes / 1e6, phase.rates.kinds.state.published / size.hosts]),
  );
}

const megabytes = ({ rates }: Phase): number => KINDS.reduce((sum, kind) => sum + rates.kinds[kind].bytes, 0) / 1e6;

function tellServer(rates: readonly ServerRate[]): void {
  say('One real nats-server: everybody publishes, everybody receives everything');
  table(
    ['connections', 'bytes', 'published/s each', 'deliveries/s', 'received', 'deliveries per CPU second of the server', 'MB per CPU second'],
    rows(rates),
  );
}

const rows = (rates: readonly ServerRate[]): (string | number)[][] =>
  rates.map((rate) => [rate.connections, rate.bytes, rate.perSecond, Math.round(rate.deliveriesPerSecond), `${Math.round(rate.receivedShare * 100)} %`, Math.round(rate.deliveriesPerCpuSecond), (rate.deliveriesPerCpuSecond * rate.bytes) / 1e6]);

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { scale: { type: 'boolean' }, looking: { type: 'string', default: '4' }, seed: { type: 'string', default: '1' }, json: { type: 'string' }, quick: { type: 'boolean', default: false }, costs: { type: 'boolean', default: false }, server: { type: 'boolean', default: false } },
  });
  const only = values.costs || values.server;
  say(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}, Node ${process.versions.node}\n`);
  const costs: (readonly [Size, Costs])[] = [];
  const outcomes: (readonly [Size, Outcome])[] = [];
  const rates: ServerRate[] = [];
  if (!only || values.costs) {
    measureCosts(SIZES[0]!); // compiled code, from here on
    for (const size of values.quick ? SIMULATED.slice(0, 1) : SIZES) costs.push([size, measureCosts(size)]);
    tellCosts(costs);
  }
  if (!only) {
    for (const [size, measured] of costs.filter(([each]) => SIMULATED.includes(each))) {
      outcomes.push([size, await simulateScale({ size, costs: measured, seed: Number(values.seed), looking: Number(values.looking), lostShare: 0.1, loadMs: [2000, 8000], startsParallelMax: 4, comeBack: true, seconds: SECONDS })]);
      process.stderr.write(`simulated ${nameOf(size)}\n`);
    }
    tellPhases(outcomes);
  }
  if ((!only && !values.quick) || values.server) {
    for (const [connections, bytes, perSecond] of [[30, 113, 20], [30, 113, 200], [30, 8000, 10], [300, 113, 2]] as const) rates.push(await measureServer(connections, bytes, perSecond, 5));
    tellServer(rates);
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ costs, outcomes, rates }, undefined, 2)}\n`);
  return outcomes.every(([, { wronglyJudged, unmet, loss }]) => wronglyJudged === 0 && unmet === 0 && loss.readyMs < Infinity) ? 0 : 1;
}
