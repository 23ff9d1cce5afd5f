/**
 * An ONNX model on one device (onnxruntime-node), behind the Session a worker asks for.
 *
 * Assumes it is called in a worker thread, one run at a time: `run` is a synchronous native call on that thread. The
 * package is loaded by the first load and never at import time, because a worker that fails at its top level takes its
 * pool with it. It does not check inputs against metadata: the endpoint did, and the runtime does it again.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { performance } from 'node:perf_hooks';
import type * as Ort from 'onnxruntime-node';
import { encodeBytes } from '../tensor/bytes.js';
import type { Datatype, NamedTensor, TensorMetadata } from '../tensor/datatype.js';
import { TensorError, text, toTyped } from '../tensor/typed.js';
import { classifyLoadError, classifyRunError } from './onnx-errors.js';
import type { LoadTask, RunReply, RunTask } from '../protocol/task.js';
import type { LoadFailure, Session } from '../protocol/session.js';

const datatypeOf: Readonly<Record<string, Datatype>> = {
  bool: 'BOOL', string: 'BYTES',
  uint8: 'UINT8', uint16: 'UINT16', uint32: 'UINT32', uint64: 'UINT64',
  int8: 'INT8', int16: 'INT16', int32: 'INT32', int64: 'INT64',
  float16: 'FP16', float32: 'FP32', float64: 'FP64',
};
const ortTypeOf = Object.fromEntries(Object.entries(datatypeOf).map(([ort, oip]) => [oip, ort])) as Partial<Record<Datatype, Ort.Tensor.Type>>;

/** What goes wrong in a run is answered with its text; the runtime need not print it too. */
const runOptions: Ort.InferenceSession.RunOptions = { logSeverityLevel: 4 };

/** Loads the model; what is wrong with the file or the device comes back as a value. */
export async function openOnnxSession(task: LoadTask): Promise<Session | LoadFailure> {
  try {
    const { source, notice } = await readModel(task);
    const ort = await loadRuntime();
    const options = sessionOptions(task, ort);
    const session = await (typeof source === 'string'
      ? ort.InferenceSession.create(source, options)
      : ort.InferenceSession.create(source, options));
    return new OnnxSession(ort, session, notice);
  } catch (error) {
    return classifyLoadError(error, task);
  }
}

/** A model given as bytes, in `LoadTask.file`: for probes, which should not need a place to write to. */
const dataUrl = 'data:application/octet-stream;base64,';

interface ModelSource {
  /** The bytes when they must be the pinned ones, else the path. */
  readonly source: string | Uint8Array;
  readonly notice?: string;
}

/** The pinned bytes: from the spec's file, or from the copy the host kept of them when that file has others by now. */
async function readModel({ file, keptFile, sha256 }: LoadTask): Promise<ModelSource> {
  if (file.startsWith(dataUrl)) return { source: Buffer.from(file.slice(dataUrl.length), 'base64') };
  if (sha256 === undefined) return { source: file };
  const wanted = sha256.toLowerCase();
  const found = await readHashed(file).catch((error: NodeJS.ErrnoException) => error);
  if (!(found instanceof Error) && found.sha256 === wanted) return { source: found.bytes };
  const trouble = found instanceof Error
    ? `model is gone from disk: ${file}: ${found.message}`
    : `model changed on disk: ${file} has sha256 ${found.sha256.slice(0, 12)}, the pinned version has ${wanted.slice(0, 12)}`;
  const kept = keptFile === undefined ? undefined : await readHashed(keptFile).catch(() => undefined);
  if (kept?.sha256 === wanted) return { source: kept.bytes, notice: `${trouble}; serving the kept copy of the pinned version` };
  if (found instanceof Error) throw found;
  throw new LoadProblem(trouble);
}

async function readHashed(file: string): Promise<{ readonly bytes: Uint8Array; readonly sha256: string }> {
  const bytes = await readFile(file);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** A load that fails for a reason of regrow's own, already worded. */
export class LoadProblem extends Error {
  constructor(message: string, readonly deviceFatal = false) {
    super(message);
  }
}

async function loadRuntime(): Promise<typeof Ort> {
  // Where Float16Array exists (Node 23 and later) the package wants it in JavaScript while its native half still makes
  // Uint16Array. Hidden, both agree.
  Reflect.deleteProperty(globalThis, 'Float16Array');
  const module = (await import('onnxruntime-node')) as typeof Ort & { default?: typeof Ort };
  return module.default ?? module;
}

function sessionOptions(task: LoadTask, ort: typeof Ort): Ort.InferenceSession.SessionOptions {
  const { session } = task;
  return {
    executionProviders: [provider(task.device, ort)],
    intraOpNumThreads: session.intraOpThreads,
    interOpNumThreads: session.interOpThreads,
    executionMode: 'sequential',
    graphOptimizationLevel: session.graphOptimization,
    enableCpuMemArena: session.memoryArena,
    logSeverityLevel: 3,
    extra: {
      // Spinning burns a core while a model is mostly idle.
      'session.intra_op.allow_spinning': '0',
      'session.inter_op.allow_spinning': '0',
      // A model created from bytes has no folder to find its weights file in.
      ...(task.sha256 !== undefined && { 'session.model_external_initializers_file_folder_path': dirname(task.file) }),
      ...session.extra,
    },
  };
}

function provider(device: string, ort: typeof Ort): Ort.InferenceSession.ExecutionProviderConfig {
  const [kind = '', index = '0'] = device.split(':');
  if (kind === 'cpu') return 'cpu';
  // A provider that is not compiled in would be dropped with a warning, and the model would run on the CPU unnoticed.
  if (!ort.listSupportedBackends().some(({ name }) => name === kind)) {
    throw new LoadProblem(`device ${device}: this build of onnxruntime has no provider '${kind}'`, true);
  }
  if (kind === 'cuda') return { name: 'cuda', deviceId: Number(index) };
  if (index !== '0') throw new LoadProblem(`device ${device}: onnxruntime chooses the ${kind} adapter itself, only ${kind}:0 exists`, true);
  return kind;
}

class OnnxSession implements Session {
  readonly metadata: { inputs: TensorMetadata[]; outputs: TensorMetadata[] };
  readonly runtime: string;
  readonly #ort: typeof Ort;
  readonly #session: Ort.InferenceSession;
  readonly #outputs: readonly string[];

  constructor(ort: typeof Ort, session: Ort.InferenceSession, readonly notice?: string) {
    this.#ort = ort;
    this.#session = session;
    this.runtime = `onnxruntime-node ${ort.env.versions.node}`;
    // Sequences and maps (scikit-learn's class probabilities) are no tensors: such an output is left out, such an
    // input makes the model unusable here.
    const outputs = session.outputMetadata.filter((value) => value.isTensor);
    this.metadata = { inputs: session.inputMetadata.map(tensorMetadata), outputs: outputs.map(tensorMetadata) };
    this.#outputs = outputs.map(({ name }) => name);
  }

  async run(task: RunTask): Promise<RunReply> {
    const started = performance.now();
    try {
      const feeds: Record<string, Ort.Tensor> = {};
      for (const input of task.inputs) feeds[input.name] = toOrt(this.#ort, input);
      const results = await this.#session.run(feeds, task.outputs ?? this.#outputs, runOptions);
      const outputs: NamedTensor[] = [];
      for (const name in results) outputs.push(fromOrt(name, results[name]!));
      return { ok: true, outputs, runMs: performance.now() - started };
    } catch (error) {
      return classifyRunError(error);
    }
  }

  async unload(): Promise<void> {
    await this.#session.release();
  }
}

function tensorMetadata(value: Ort.InferenceSession.ValueMetadata): TensorMetadata {
  if (!value.isTensor) throw new LoadProblem(`input '${value.name}' is not a tensor`);
  const datatype = datatypeOf[value.type];
  if (datatype === undefined) throw new LoadProblem(`tensor '${value.name}' has type ${value.type}, which has no name in the inference protocol`);
  return { name: value.name, datatype, shape: value.shape.map((dimension) => (typeof dimension === 'number' ? dimension : -1)) };
}

function toOrt(ort: typeof Ort, input: NamedTensor): Ort.Tensor {
  const dims = input.shape as number[];
  if (input.datatype === 'BYTES') {
    const strings = text(input);
    // The package passes strings as C strings: the rest would be lost without a word.
    const cut = strings.findIndex((string) => string.includes('\0'));
    if (cut >= 0) throw new TensorError(`${input.name}: element ${cut} contains a NUL, onnxruntime-node cannot carry it`);
    return new ort.Tensor('string', strings, dims);
  }
  const type = ortTypeOf[input.datatype];
  if (type === undefined) throw new TensorError(`${input.name}: onnxruntime-node cannot run ${input.datatype}`);
  return new ort.Tensor(type, toTyped(input).data as Ort.Tensor.DataType, dims) as Ort.Tensor;
}

function fromOrt(name: string, tensor: Ort.Tensor): NamedTensor {
  const datatype = datatypeOf[tensor.type]!;
  const { data } = tensor;
  const bytes = datatype === 'BYTES'
    ? encodeBytes(data as string[])
    : new Uint8Array((data as Uint8Array).buffer, (data as Uint8Array).byteOffset, (data as Uint8Array).byteLength);
  return { name, datatype, shape: tensor.dims, data: bytes };
}
