/**
 * Measures one model: opens every path, checks that each gives the bits raw onnxruntime gives, then goes round after round
 * over all numbers of callers and all paths, so that whatever the machine does meanwhile happens to every path alike.
 *
 * A path that fails is named and left out from then on; the others go on. It does not judge what it measured.
 */
import { encodedBytes, encodeRequest, encodeResponse } from '../../src/protocol/infer.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { namedTensors } from '../../src/tensor/typed.js';
import { differenceOf, type Answer } from './answer.js';
import { inputsOf, type ModelName } from './models.js';
import { Path, type PathName, type Slice } from './path.js';
import type { NatsAccess, RoleOrder } from './role.js';
import { quantile } from './stats.js';

export interface GroupPlan {
  readonly model: ModelName;
  readonly replicas: number;
  readonly intraOpThreads: number;
  readonly paths: readonly PathName[];
  readonly levels: readonly number[];
}

export interface Effort {
  readonly rounds: number;
  readonly sliceMs: number;
  readonly warmMs: number;
}

/** What came of one path at one number of callers. Lists are by round, a hole where the path had failed. */
export interface Series {
  readonly path: PathName;
  readonly concurrency: number;
  readonly p50Ms: (number | undefined)[];
  readonly perSecond: (number | undefined)[];
  readonly latenciesMs: number[];
  requests: number;
  cpuMs: number | undefined;
}

export interface Failure {
  readonly row: string;
  readonly why: string;
}

export interface GroupResult {
  readonly plan: GroupPlan;
  readonly series: readonly Series[];
  readonly failures: readonly Failure[];
  readonly runtime: string | undefined;
}

export interface GroupOutside {
  readonly root: string;
  readonly nats: NatsAccess;
  readonly effort: Effort;
  readonly profileDir: string | undefined;
  readonly progress: (line: string) => void;
}

export function groupName({ model, replicas }: Pick<GroupPlan, 'model' | 'replicas'>): string {
  return replicas === 1 ? model : `${model} x${replicas}`;
}

export async function measureGroup(plan: GroupPlan, outside: GroupOutside): Promise<GroupResult> {
  const group = new Group(plan, outside);
  try {
    await group.open();
    await group.measure();
    await group.check('after the load');
  } finally {
    await group.close();
  }
  return group.result();
}

class Group {
  readonly #paths = new Map<PathName, Path>();
  readonly #failures: Failure[] = [];
  readonly #series: Series[];
  #wanted: readonly Answer[] = [];
  #runtime: string | undefined;

  constructor(private readonly plan: GroupPlan, private readonly outside: GroupOutside) {
    this.#series = plan.levels.flatMap((concurrency) =>
      plan.paths.map((path): Series => ({ path, concurrency, p50Ms: [], perSecond: [], latenciesMs: [], requests: 0, cpuMs: 0 })));
  }

  /** Raw first: its answer is what the others are compared with and what the echo is made from. */
  async open(): Promise<void> {
    await this.#openPath('raw');
    const raw = this.#paths.get('raw');
    if (!raw) return;
    this.#runtime = raw.runtime;
    await this.#guarded(raw, async () => { this.#wanted = await raw.ask(); });
    if (!this.#paths.has('raw')) return;
    for (const path of this.plan.paths) if (path !== 'raw') await this.#openPath(path);
    await this.check('before the load');
    for (const path of this.#paths.values()) await this.#guarded(path, () => path.load({ concurrency: 8, durationMs: this.outside.effort.warmMs }));
  }

  async check(when: string): Promise<void> {
    for (const path of [...this.#paths.values()]) {
      if (path.name === 'echo') continue;
      await this.#guarded(path, async () => {
        const difference = differenceOf(await path.ask(), this.#wanted);
        if (difference !== undefined) throw new Error(`wrong answer ${when}: ${difference}`);
      });
    }
  }

  async measure(): Promise<void> {
    const { plan, outside: { effort, progress } } = this;
    for (let round = 0; round < effort.rounds; round++) {
      progress(`${groupName(plan)}: round ${round + 1} of ${effort.rounds}, ${plan.levels.length} numbers of callers, ${this.#paths.size} paths`);
      for (const concurrency of plan.levels) {
        // Nobody is always first, or always after the same neighbour's load.
        for (let turn = 0; turn < plan.paths.length; turn++) await this.#measureSlice(round, concurrency, plan.paths[(turn + round) % plan.paths.length]!);
      }
    }
  }

  async #measureSlice(round: number, concurrency: number, name: PathName): Promise<void> {
    const path = this.#paths.get(name);
    const series = this.#series.find((candidate) => candidate.path === name && candidate.concurrency === concurrency)!;
    let slice: Slice | undefined;
    if (path) await this.#guarded(path, async () => { slice = await path.load({ concurrency, durationMs: this.outside.effort.sliceMs }); });
    series.p50Ms[round] = slice && quantile(slice.latenciesMs, 0.5);
    series.perSecond[round] = slice?.perSecond;
    if (!slice) return;
    for (const latency of slice.latenciesMs) series.latenciesMs.push(latency);
    series.requests += slice.requests;
    series.cpuMs = series.cpuMs === undefined || slice.cpuMs === undefined ? undefined : series.cpuMs + slice.cpuMs;
  }

  async #openPath(name: PathName): Promise<void> {
    this.outside.progress(`${groupName(this.plan)}: opening ${name}`);
    try {
      this.#paths.set(name, await Path.open(name, this.#order(), this.outside.profileDir));
    } catch (error) {
      this.#failed(name, error);
    }
  }

  async #guarded(path: Path, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#failed(path.name, error);
      this.#paths.delete(path.name);
      await path.close();
    }
  }

  #failed(path: PathName, error: unknown): void {
    const failure = { row: `${groupName(this.plan)} ${path}`, why: error instanceof Error ? error.message : String(error) };
    this.outside.progress(`FAILED ${failure.row}: ${failure.why}`);
    this.#failures.push(failure);
  }

  #order(): Omit<RoleOrder, 'role'> {
    const { model, replicas, intraOpThreads } = this.plan;
    const request = encodedBytes(encodeRequest(namedTensors(inputsOf(model))));
    const outputs = this.#wanted.map(({ name, datatype, shape, bytes }) => ({ name, datatype, shape, data: bytes }) as NamedTensor);
    const answer = encodedBytes(encodeResponse({ modelName: model, modelVersion: '0123456789ab', outputs }, { binaryOutputDefault: true }));
    return { root: this.outside.root, model, replicas, intraOpThreads, nats: this.outside.nats, sizes: { request, answer } };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#paths.values()].map((path) => path.close()));
  }

  result(): GroupResult {
    return { plan: this.plan, series: this.#series, failures: this.#failures, runtime: this.#runtime };
  }
}
