/**
 * Proof before traffic: a replica answers its golden input correctly before it is routed, and again while idle and after
 * doubt. What stands behind "ready" is shown in status:
 *
 * - `golden`: the spec's own question and answer.
 * - `recorded`: models without one are asked with zeros, then ones; the first replica's answer is kept per model hash,
 *   device kind, runtime and session options, and later replicas must agree (policy/golden.ts).
 * - `loaded-only`: modules (a run has effects), models that refuse those inputs, or that answer one input twice differently.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadReply, RunReply } from '../ports.js';
import { emptyBook, judgeGolden, type GoldenBook } from '../policy/golden.js';
import type { ActorSpec } from '../spec/actor.js';
import type { TensorLiteral } from '../spec/fields.js';
import type { ProofResult, ProvingLane } from '../supervision/replica.js';
import { firstDifference } from '../tensor/compare.js';
import { elementBytes, elementCount, type NamedTensor, type TensorMetadata } from '../tensor/datatype.js';
import { fromTyped } from '../tensor/typed.js';
import { writeFileWhole } from './files.js';

type Outputs = readonly NamedTensor[];
type Loaded = LoadReply & { ok: true };

const TOLERANCE = 1e-4;
/** A recorded input larger than this is no quick question any more. */
const RECORDED_ELEMENTS_MAX = 16 * 1024 * 1024;

export interface ProverOptions {
  readonly spec: ActorSpec;
  readonly sha256: string | undefined;
  readonly device: string;
  /** Where recordings outlive the process; absent = in memory. */
  readonly folder: string | undefined;
  readonly nextRunId: () => number;
  /** Something an operator should know: replicas disagreed. */
  readonly tell: (reason: string) => void;
  /** The device broke under the question. */
  readonly deviceFailed: (detail: string) => void;
}

/** Proves the replicas of one actor on one device. */
export class Prover {
  readonly #golden: { readonly inputs: Outputs; readonly outputs: Outputs; readonly tolerance: number } | undefined;
  #books = new Map<string, GoldenBook<readonly Outputs[]>>();
  /** Keys whose model cannot be recorded, with why. */
  readonly #unrecordable = new Map<string, string>();

  /** @throws TensorError when the spec's golden does not fit its own datatypes and shapes */
  constructor(private readonly options: ProverOptions) {
    const { golden } = options.spec;
    this.#golden = golden && { inputs: tensorsOf(golden.inputs), outputs: tensorsOf(golden.outputs), tolerance: golden.tolerance };
  }

  /** Bounded by the caller: a start time-out before traffic, pings and hangMs for each run afterwards. */
  async prove(lane: ProvingLane, loaded: Loaded): Promise<ProofResult> {
    if (this.#golden) return this.#proveGolden(lane, this.#golden);
    if (this.options.spec.kind === 'module' || !loaded.metadata) return { ok: true, proof: 'loaded-only' };
    return this.#proveRecorded(lane, loaded);
  }

  async #proveGolden(lane: ProvingLane, golden: { inputs: Outputs; outputs: Outputs; tolerance: number }): Promise<ProofResult> {
    const reply = await this.#ask(lane, golden.inputs, golden.outputs.map(({ name }) => name));
    if (!reply) return { ok: false, detail: 'ended while it answered its golden input' };
    if (!reply.ok) return { ok: false, detail: `failed on its golden input: ${reply.message}` };
    const difference = firstDifference(reply.outputs, golden.outputs, golden.tolerance);
    return difference === undefined ? { ok: true, proof: 'golden' } : { ok: false, detail: `answered its golden input wrong: ${difference}` };
  }

  async #proveRecorded(lane: ProvingLane, loaded: Loaded): Promise<ProofResult> {
    const key = this.#key(loaded.runtime);
    if (this.#unrecordable.has(key)) return { ok: true, proof: 'loaded-only' };
    const questions = recordableInputs(loaded.metadata!.inputs);
    if (!questions) return this.#cannotRecord(key, 'its inputs are too large to make up');
    const book = this.#bookOf(key);
    const answers: Outputs[] = [];
    for (const inputs of questions) {
      const reply = await this.#ask(lane, inputs);
      if (!reply) return { ok: false, detail: 'ended while it answered its recorded input' };
      if (!reply.ok && book.recorded === undefined) return this.#cannotRecord(key, reply.message);
      if (!reply.ok) return { ok: false, detail: `failed on its recorded input: ${reply.message}` };
      answers.push(reply.outputs);
    }
    if (book.recorded === undefined) {
      // Recording: a model that answers one question in two ways has no answer to compare with.
      const again = await this.#ask(lane, questions[0]!);
      if (!again) return { ok: false, detail: 'ended while its answer was recorded' };
      if (!again.ok || firstDifference(again.outputs, answers[0]!, TOLERANCE) !== undefined) return this.#cannotRecord(key, 'it answers the same input differently');
    }
    return this.#judge(key, answers);
  }

  #judge(key: string, answers: readonly Outputs[]): ProofResult {
    // Read again: another replica may have recorded while this one was asked.
    const { book, verdict } = judgeGolden(this.#bookOf(key), answers, differenceOf);
    const before = this.#bookOf(key);
    this.#books.set(key, book);
    if (verdict === 'recorded' || verdict === 'overruled') this.#keep(key, answers);
    if (verdict === 'overruled') this.options.tell('two replicas in a row disagreed with the recorded answer in the same way; theirs is the recorded one now');
    if (verdict !== 'disagrees') return { ok: true, proof: 'recorded' };
    const detail = `answered its recorded input differently: ${differenceOf(answers, before.recorded!)}`;
    this.options.tell(detail);
    return { ok: false, detail };
  }

  #cannotRecord(key: string, why: string): ProofResult {
    this.#unrecordable.set(key, why);
    return { ok: true, proof: 'loaded-only' };
  }

  async #ask(lane: ProvingLane, inputs: Outputs, outputs?: readonly string[]): Promise<RunReply | undefined> {
    const { spec, nextRunId, deviceFailed } = this.options;
    const reply = await lane.run({ id: nextRunId(), requestId: 'golden', inputs, ...(outputs && { outputs }), budgetMs: spec.startTimeoutMs, path: [spec.name] });
    if (reply && !reply.ok && reply.deviceFatal) deviceFailed(reply.message);
    return reply;
  }

  /** Session options change the last digits, so they are part of what an answer is compared within. */
  #key(runtime: string): string {
    const { spec, sha256, device } = this.options;
    const facts = [sha256 ?? spec.file, device.split(':')[0], runtime, spec.session];
    return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
  }

  #bookOf(key: string): GoldenBook<readonly Outputs[]> {
    const known = this.#books.get(key);
    if (known) return known;
    const recorded = this.#read(key);
    const book = recorded ? { recorded, dissent: undefined } : emptyBook;
    this.#books.set(key, book);
    return book;
  }

  #read(key: string): readonly Outputs[] | undefined {
    const { folder } = this.options;
    if (folder === undefined) return undefined;
    try {
      const answers = JSON.parse(readFileSync(join(folder, `${key}.json`), 'utf8')) as (Omit<NamedTensor, 'data'> & { data: string })[][];
      return answers.map((outputs) => outputs.map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data, 'base64') })));
    } catch {
      return undefined; // none yet, or unreadable: it is recorded anew
    }
  }

  #keep(key: string, answers: readonly Outputs[]): void {
    const { folder, tell } = this.options;
    if (folder === undefined) return;
    const plain = answers.map((outputs) => outputs.map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data).toString('base64') })));
    try {
      writeFileWhole(join(folder, `${key}.json`), JSON.stringify(plain));
    } catch (error) {
      tell(`the recorded answer could not be kept: ${String(error)}`);
    }
  }
}

function differenceOf(a: readonly Outputs[], b: readonly Outputs[]): string | undefined {
  for (let i = 0; i < b.length; i++) {
    const difference = firstDifference(a[i] ?? [], b[i]!, TOLERANCE);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** Free dimensions 1; all zeros, then all ones. Undefined when that would be huge. */
function recordableInputs(inputs: readonly TensorMetadata[]): NamedTensor[][] | undefined {
  const elements = inputs.reduce((sum, { shape }) => sum + elementCount(shape.map((size) => (size < 0 ? 1 : size))), 0);
  if (elements > RECORDED_ELEMENTS_MAX) return undefined;
  return [0, 1].map((value) => inputs.map((input) => filled(input, value)));
}

function filled({ name, datatype, shape: declared }: TensorMetadata, value: number): NamedTensor {
  const shape = declared.map((size) => (size < 0 ? 1 : size));
  const count = elementCount(shape);
  if (datatype === 'BYTES') return { name, ...fromTyped({ datatype, shape, data: Array<string>(count).fill(value === 0 ? '' : '1') }) };
  if (value === 0) return { name, datatype, shape, data: new Uint8Array(count * elementBytes[datatype]) };
  const ones = datatype === 'INT64' || datatype === 'UINT64' ? Array<bigint>(count).fill(1n) : Array<number>(count).fill(1);
  return { name, ...fromTyped({ datatype, shape, data: datatype === 'BOOL' ? Array<boolean>(count).fill(true) : ones } as Parameters<typeof fromTyped>[0]) };
}

function tensorsOf(literals: Readonly<Record<string, TensorLiteral>>): NamedTensor[] {
  return Object.entries(literals).map(([name, literal]) => ({ name, ...fromTyped(literal as Parameters<typeof fromTyped>[0]) }));
}
