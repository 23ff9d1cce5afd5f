/**
 * What `npm start` does once everything is built: starts a host with the demo actors, reads a sample page through it the
 * way any other program would, says how to call it, and serves until it is asked to stop.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createHost, text, type HostOptions, type InferResult, type RegrowEvent } from 'regrow';

export interface DemoOptions {
  /** Of the repository. */
  readonly root: string;
  /** How to reach the broker; absent = in this process only. */
  readonly nats: NonNullable<HostOptions['nats']> | undefined;
}

const PAGE = 'demo/pages/invoice.png';
const PAGE_TIMEOUT_MS = 30_000;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Resolves after the drain that SIGINT or SIGTERM asked for. */
export async function runDemo({ root, nats }: DemoOptions): Promise<void> {
  const started = performance.now();
  const { nats: _address, ...file } = JSON.parse(readFileSync(join(root, 'demo', 'host.json'), 'utf8')) as HostOptions;
  say(`starting ${file.actors!.map(({ name, replicas = 1 }) => (replicas > 1 ? `${name} x${replicas}` : name)).join(', ')}`);
  const stopAsked = new Promise<string>((resolve) => {
    process.on('SIGINT', () => resolve('Ctrl-C'));
    process.on('SIGTERM', () => resolve('SIGTERM'));
  });
  const log = { log: (level: string, event: string, fields?: object) => level === 'error' && say(`${event} ${JSON.stringify(fields)}`) };
  const host = await createHost({ dataDir: join(root, '.regrow'), ...file, ...(nats && { nats }) }, { baseDir: join(root, 'demo'), log });
  host.onEvent((event) => say(eventLine(event)));
  say(`ready in ${seconds(performance.now() - started)}: host ${host.id}`);

  const page = readFileSync(join(root, PAGE));
  const inputs = { image: { datatype: 'BYTES' as const, shape: [1], data: [page] } };
  const servers = nats && [nats.servers].flat();
  if (servers) {
    await using client = await connect({ servers });
    printPage(await client.infer('ocr-page', inputs, { timeoutMs: PAGE_TIMEOUT_MS }), 'over NATS');
  } else {
    printPage(await host.infer('ocr-page', inputs, { timeoutMs: PAGE_TIMEOUT_MS }), 'in this process');
  }
  say(servers ? callIt(servers, file.prefix ?? 'regrow') : '\nServing this process only. Ctrl-C stops it.');

  const why = await stopAsked;
  say(`\n${why}: answering what was accepted, then stopping`);
  await host.stop();
  say('stopped');
}

function printPage({ outputs, servedBy }: InferResult, how: string): void {
  const lines = text(outputs['text']!);
  const confidence = outputs['confidence']!.data as Float32Array;
  say(`\n${PAGE}, read ${how} by ${servedBy}:`);
  lines.forEach((line, index) => say(`  ${(confidence[index]! * 100).toFixed(0).padStart(3)} %  ${line}`));
  const stages = text(outputs['stages']!);
  const times = outputs['stage_ms']!.data as Float32Array;
  say(`  ${stages.map((stage, index) => `${stage} ${times[index]!.toFixed(0)} ms`).join(', ')}`);
}

function callIt(servers: readonly string[], prefix: string): string {
  const url = servers[0] === 'nats://127.0.0.1:4222' ? '' : `NATS_URL=${servers.join(',')} `;
  return [
    '',
    `Serving on ${servers.join(', ')}: subjects ${prefix}.infer.ocr-page, ${prefix}.infer.digits, … In another terminal:`,
    `  ${url}npx regrow infer ocr-page --in image=demo/pages/scan.jpg`,
    `  ${url}npx regrow status --watch      then kill any pid it shows, and watch it come back`,
    `  ${url}npx regrow events`,
    'Ctrl-C drains and stops.',
  ].join('\n');
}

const eventLine = ({ type, replica, actor, reason }: RegrowEvent): string => `  ${[type, replica ?? actor, reason].filter(Boolean).join('  ')}`;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
