/**
 * `npm run soak`: kills a real replica hundreds of times under load and watches what a leak would show in: heap after
 * garbage collection, open files, timers and handles, machines that ended and were kept. Fails when a figure grows.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { join } from 'node:path';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { parseOrThrow } from '../../src/host/create-host.js';
import { Host } from '../../src/host/host.js';
import { fromTyped } from '../../src/tensor/typed.js';

export interface SoakOptions {
  readonly root: string;
  readonly cycles: number;
}

interface Figures {
  readonly heapMiB: number;
  readonly files: number;
  readonly handles: number;
}

/** Cycles before the first look: caches fill, code is compiled. */
const WARM_UP = 30;
const READY_WITHIN_MS = 20_000;
/** What may differ between two looks without being growth. */
const SLACK: Figures = { heapMiB: 4, files: 3, handles: 3 };

/** @returns the exit code */
export async function runSoak({ root, cycles }: SoakOptions): Promise<number> {
  const restart = { intensity: 'infinity' as const, consecutiveMax: 1_000_000, resetAfterMs: 1000, backoff: { minMs: 1, maxMs: 1, factor: 1, jitter: 0 } };
  const spec = parseOrThrow({ actors: [{ name: 'digits', model: 'demo/models/digits.onnx', restart }] }, root);
  const host = await Host.start(spec, { clock: systemClock, random: systemRandom, log: silentLog, version: 'soak' });
  await host.settled;
  const image = { name: 'image', ...fromTyped({ datatype: 'FP32', shape: [1, 1, 28, 28], data: new Float32Array(784) }) };
  const replica = () => host.hostStatus().actors[0]!.replicas[0]!;
  let answered = 0;
  let failed = 0;
  const looks: Figures[] = [];
  for (let cycle = 1; cycle <= cycles; cycle++) {
    const { pid, incarnation } = replica();
    const requests = Array.from({ length: 4 }, () => host.infer('digits', { inputs: [image], requestId: systemRandom.ulid() }));
    process.kill(pid, 'SIGKILL');
    for (const outcome of await Promise.allSettled(requests)) outcome.status === 'fulfilled' ? answered++ : failed++;
    const until = systemClock.now() + READY_WITHIN_MS;
    while (!(replica().phase === 'ready' && replica().incarnation > incarnation)) {
      if (systemClock.now() > until) throw new Error(`cycle ${cycle}: the replica did not come back: ${JSON.stringify(replica())}`);
      await pause(5);
    }
    if (cycle >= WARM_UP && (cycle - WARM_UP) % Math.max(1, Math.floor((cycles - WARM_UP) / 9)) === 0) {
      looks.push(await figures());
      process.stderr.write(`${cycle} of ${cycles}: ${JSON.stringify(looks.at(-1))}\n`);
    }
  }
  const restarts = replica().restarts;
  await host.stop();
  const first = looks[0]!;
  const last = looks.at(-1)!;
  const grown = (Object.keys(SLACK) as (keyof Figures)[]).filter((key) => last[key] > first[key] + SLACK[key]);
  process.stdout.write(`${JSON.stringify({ cycles, restarts, answered, failed, first, last, grown })}\n`);
  return grown.length === 0 && failed === 0 && restarts === cycles ? 0 : 1;
}

async function figures(): Promise<Figures> {
  if (!globalThis.gc) throw new Error('run with --expose-gc');
  await pause(50); // what ended a moment ago closes its sockets
  globalThis.gc();
  globalThis.gc();
  return {
    heapMiB: Math.round((process.memoryUsage().heapUsed / 1024 / 1024) * 10) / 10,
    files: readdirSync(join('/proc', String(process.pid), 'fd')).length,
    handles: process.getActiveResourcesInfo().length,
  };
}
