/** What a table of numbers means nothing without. */
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, platform, arch, release, totalmem } from 'node:os';
import { join } from 'node:path';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly natsServer: string;
  /** Averages over the last minute; the benchmark itself is in the second one. */
  readonly loadBefore: number;
  readonly loadAfter: number;
  readonly date: string;
}

export function startMachine(root: string, natsServer: string): (runtime: string | undefined) => Machine {
  const loadBefore = loadavg()[0]!;
  const date = new Date().toISOString();
  const { version } = createRequire(join(root, 'package.json'))('onnxruntime-node/package.json') as { version: string };
  return (runtime) => ({
    cpu: cpus()[0]?.model.trim() ?? '?',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${arch()} ${release()}`,
    node: process.version,
    onnxruntime: `onnxruntime-node ${version}${runtime === undefined || runtime === version ? '' : ` (runtime ${runtime})`}`,
    natsServer: `nats-server ${natsServer}`,
    loadBefore,
    loadAfter: loadavg()[0]!,
    date,
  });
}
