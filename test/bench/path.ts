/**
 * One way a request can take: the processes it needs, opened and closed together, and its load spread over those that
 * generate it. Raw onnxruntime with two replicas is two processes, each with its share of the callers.
 */
import type { Answer } from './answer.js';
import { Child } from './child.js';
import { cpuTimeMs } from './cpu-time.js';
import type { LoadOrder } from './load.js';
import type { RoleOrder } from './role.js';

export const pathNames = ['raw', 'thread', 'cell', 'bus', 'nats', 'echo'] as const;
export type PathName = (typeof pathNames)[number];

export interface Slice {
  readonly latenciesMs: Float64Array;
  readonly perSecond: number;
  readonly requests: number;
  /** Of the processes that serve, all of them; undefined where it cannot be read. */
  readonly cpuMs: number | undefined;
}

export class Path {
  static async open(name: PathName, order: Omit<RoleOrder, 'role'>, profileDir?: string): Promise<Path> {
    const children: Child[] = [];
    const open = async (role: RoleOrder['role']): Promise<Child> => {
      const child = await Child.open({ ...order, role }, profileDir);
      children.push(child);
      return child;
    };
    try {
      switch (name) {
        case 'raw': {
          for (let replica = 0; replica < order.replicas; replica++) await open('raw');
          return new Path(name, children, children);
        }
        case 'nats':
          await open('host');
          return new Path(name, children, [await open('caller')]);
        case 'echo':
          await open('echo');
          return new Path(name, children, [await open('echo-caller')]);
        default:
          return new Path(name, children, [await open(name)]);
      }
    } catch (error) {
      await Promise.all(children.map((child) => child.close()));
      throw error;
    }
  }

  private constructor(
    readonly name: PathName,
    private readonly children: readonly Child[],
    private readonly callers: readonly Child[],
  ) {}

  get runtime(): string | undefined {
    return this.children.find(({ runtime }) => runtime !== undefined)?.runtime;
  }

  ask(): Promise<Answer[]> {
    return this.callers[0]!.ask();
  }

  async load({ concurrency, durationMs }: LoadOrder): Promise<Slice> {
    const shares = this.callers.map((_, index) => Math.floor((concurrency + index) / this.callers.length));
    const pids = this.children.flatMap((child) => child.pids);
    const before = cpuTimeMs(pids);
    const results = await Promise.all(this.callers.flatMap((caller, index) => (shares[index]! > 0 ? [caller.load({ concurrency: shares[index]!, durationMs })] : [])));
    const after = cpuTimeMs(pids);
    const latenciesMs = new Float64Array(results.reduce((sum, result) => sum + result.latenciesMs.length, 0));
    let at = 0;
    for (const result of results) {
      latenciesMs.set(result.latenciesMs, at);
      at += result.latenciesMs.length;
    }
    return {
      latenciesMs,
      perSecond: results.reduce((sum, { perSecond }) => sum + perSecond, 0),
      requests: results.reduce((sum, { requests }) => sum + requests, 0),
      cpuMs: before === undefined || after === undefined ? undefined : after - before,
    };
  }

  /** Never rejects. Callers first, so that nobody asks a host that is leaving. */
  async close(): Promise<void> {
    await Promise.all(this.callers.map((child) => child.close()));
    await Promise.all(this.children.filter((child) => !this.callers.includes(child)).map((child) => child.close()));
  }
}
