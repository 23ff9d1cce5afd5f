/** What lane tests share: both factories, orders, small tasks, and a watchdog instead of sleeping. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCellLanes } from '../../src/adapters/cell-lane.js';
import { createThreadLanes } from '../../src/adapters/thread-lane.js';
import type { Lane, LaneExit, LaneFactory, LaneHost, LaneOrder } from '../../src/ports.js';
import type { LaneLog, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from '../../src/protocol/task.js';
import { fromTyped, text, toTyped } from '../../src/tensor/typed.js';
import type { TensorLike } from '../../src/tensor/typed.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';

export type LaneKind = 'thread' | 'cell';
export const laneKinds: readonly LaneKind[] = ['thread', 'cell'];

export function factory(kind: LaneKind, options: { heapMb?: number } = {}): LaneFactory {
  const limits = options.heapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: options.heapMb } };
  return kind === 'thread' ? createThreadLanes(limits) : createCellLanes(limits);
}

export const session: LoadTask['session'] = {
  intraOpThreads: 1, interOpThreads: 1, graphOptimization: 'all', memoryArena: true, extra: {},
};

/** A compiled fixture module, by name. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/modules/${name}.js`, import.meta.url));
}

/** A failed test leaves its lane behind; the file must end all the same. */
const alive = new Set<Lane>();
after(() => {
  for (const lane of alive) lane.kill('killed', 'the tests are over');
});

export interface TestLane {
  readonly lane: Lane;
  readonly exit: Promise<LaneExit>;
  /** How often `onExit` fired. */
  exits: number;
  readonly logs: LaneLog[];
  readonly nestedCalls: NestedCall[];
  /** The next log line whose message is this one; earlier lines count. */
  logged(message: string, count?: number): Promise<void>;
  run(requestId: string, inputs?: Record<string, TensorLike>, more?: Partial<RunTask>): Promise<RunReply | undefined>;
  lastRunId: number;
}

export interface OpenOptions {
  readonly file: string;
  readonly kind?: 'model' | 'module';
  readonly spec?: LoadTask['spec'];
  readonly sha256?: string;
  readonly device?: string;
  readonly concurrency?: number;
  readonly nested?: (call: NestedCall) => Promise<NestedReply>;
}

export function openLane(lanes: LaneFactory, options: OpenOptions): TestLane {
  const logs: LaneLog[] = [];
  const nestedCalls: NestedCall[] = [];
  let onLog = (): void => {};
  const host: LaneHost = {
    nestedCall: (call) => {
      nestedCalls.push(call);
      return options.nested?.(call) ?? Promise.resolve({ ok: false, code: 'NOT_FOUND', message: 'nobody here' });
    },
    log: (line) => {
      logs.push(line);
      onLog();
    },
  };
  const order: LaneOrder = {
    replica: 'test-0',
    concurrency: options.concurrency ?? 1,
    host,
    load: {
      actor: 'test', kind: options.kind ?? 'module', file: options.file, device: options.device ?? 'cpu', session,
      spec: options.spec ?? {}, ...(options.sha256 !== undefined && { sha256: options.sha256 }),
    },
  };
  const lane = lanes.open(order);
  alive.add(lane);
  lane.onExit(() => alive.delete(lane));
  const opened: TestLane = {
    lane, logs, nestedCalls, exits: 0, lastRunId: 0,
    exit: new Promise((resolve) => lane.onExit((exit) => {
      opened.exits++;
      resolve(exit);
    })),
    logged: (message, count = 1) => within(new Promise((resolve) => {
      onLog = () => {
        if (logs.filter((line) => line.message === message).length >= count) resolve();
      };
      onLog();
    }), `log line '${message}'`),
    run: (requestId, inputs = {}, more = {}) => {
      opened.lastRunId++;
      const task = { id: opened.lastRunId, requestId, inputs: named(inputs), budgetMs: 10_000, path: ['test'], ...more };
      return within(lane.run(task), `run '${requestId}'`);
    },
  };
  return opened;
}

/** Opens and loads; the load must succeed. */
export async function openLoaded(lanes: LaneFactory, options: OpenOptions): Promise<TestLane> {
  const opened = openLane(lanes, options);
  const reply = await within(opened.lane.load(), 'load');
  assert.ok(reply.ok, reply.ok ? '' : reply.message);
  return opened;
}

export async function stopLane(opened: TestLane): Promise<LaneExit> {
  opened.lane.stop(5000);
  return within(opened.exit, 'exit after stop');
}

export function named(inputs: Record<string, TensorLike>): NamedTensor[] {
  return Object.entries(inputs).map(([name, value]) => ({ name, ...fromTyped(value) }));
}

export function floats(...values: number[]): TensorLike {
  return { datatype: 'FP32', shape: [values.length], data: values };
}

/** Outputs as plain values, for comparing. Fails the test where the reply is a failure. */
export function values(reply: RunReply | undefined): Record<string, unknown[]> {
  assert.ok(reply, 'the lane ended instead of answering');
  assert.ok(reply.ok, reply.ok ? '' : `${reply.code}: ${reply.message}`);
  return Object.fromEntries(reply.outputs.map((tensor) => [
    tensor.name, tensor.datatype === 'BYTES' ? text(tensor) : [...(toTyped(tensor).data as Float32Array)],
  ]));
}

/** Rejects when the promise takes longer than any healthy machine needs. */
export async function within<T>(promise: Promise<T>, what: string, ms = 20_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`watchdog: ${what} did not happen within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until something becomes true that has no event, in a process that is not ours. */
export async function eventually(check: () => boolean, what: string, ms = 20_000): Promise<void> {
  await within((async () => {
    while (!check()) await new Promise((resolve) => setTimeout(resolve, 5));
  })(), what, ms);
}

/** True while a process with this id exists and is not merely waiting to be reaped. */
export function isAlive(pid: number): boolean {
  const stat = processStat(pid);
  return stat !== undefined && stat[0] !== 'Z';
}

/** CPU time a process has used, all threads, in ticks of 10 ms: tells that something computes inside it. */
export function cpuTicks(pid: number): number {
  const stat = processStat(pid);
  return stat === undefined ? 0 : Number(stat[11]) + Number(stat[12]);
}

/** The fields of /proc/PID/stat after the name, the state first; undefined when there is no such process. */
function processStat(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  } catch {
    return undefined;
  }
}
