/**
 * A user's ES module behind the Session a worker asks for.
 *
 * It exports `run(state, inputs, context)` and may export `load(spec, context)`, `metadata` (an object or a function of
 * the state) and `unload(state)`. What `run` throws is an answer: an Error whose `code` is one of regrow's answers with
 * that code, anything else with INTERNAL, and the replica lives on. What is thrown outside `run` (a timer, a rejection
 * nobody awaits) means the module is broken: this file does not catch it, the thread ends and the supervisor decides.
 */
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { errorCodes } from '../errors.js';
import { isDatatype } from '../tensor/datatype.js';
import type { ModelMetadata, NamedTensor, TensorMetadata } from '../tensor/datatype.js';
import { fromTyped, typedRecord } from '../tensor/typed.js';
import type { TensorLike, TypedTensor } from '../tensor/typed.js';
import { loadContext, runContext } from './module-context.js';
import type { ModuleContext, ModuleLoadContext, RunContext } from './module-context.js';
import type { LoadFailure, Session, SessionHost } from '../protocol/session.js';
import type { LoadTask, RunReply, RunTask } from '../protocol/task.js';

type MaybePromise<T> = T | Promise<T>;

/** What a module file exports. */
export interface ModuleExports {
  readonly load?: (spec: LoadTask['spec'], context: ModuleLoadContext) => MaybePromise<unknown>;
  readonly run: (
    state: unknown,
    inputs: Record<string, TypedTensor>,
    context: ModuleContext,
  ) => MaybePromise<Readonly<Record<string, TensorLike>>>;
  readonly metadata?: ModelMetadata | ((state: unknown) => MaybePromise<ModelMetadata>);
  readonly unload?: (state: unknown) => MaybePromise<void>;
}

/** Imports the file and runs its `load`. The thread is fresh, so there is never an older copy in the module cache. */
export async function openModuleSession(task: LoadTask, host: SessionHost): Promise<Session | LoadFailure> {
  try {
    const module = checkExports((await import(pathToFileURL(task.file).href)) as Record<string, unknown>, task.file);
    const state = await module.load?.(task.spec, loadContext(host));
    const declared = typeof module.metadata === 'function' ? await module.metadata(state) : module.metadata;
    return new ModuleSession(module, state, declared === undefined ? undefined : checkMetadata(declared), host);
  } catch (error) {
    // A code that says "try again" is the module's way to tell a passing condition from a broken file.
    const code = codeOf(error);
    const permanent = code === undefined || !errorCodes[code].retryable;
    return { ok: false, message: `${task.file}: ${textOf(error)}`, permanent, deviceFatal: false };
  }
}

function checkExports(module: Record<string, unknown>, file: string): ModuleExports {
  const problems: string[] = [];
  if (typeof module['run'] !== 'function') problems.push('it must export a function `run(state, inputs, context)`');
  for (const name of ['load', 'unload']) {
    if (module[name] !== undefined && typeof module[name] !== 'function') problems.push(`its export \`${name}\` is not a function`);
  }
  if (problems.length > 0) throw new Error(`not a regrow module (${file}): ${problems.join('; ')}`);
  return module as unknown as ModuleExports;
}

function checkMetadata(metadata: ModelMetadata): ModelMetadata {
  const side = (name: 'inputs' | 'outputs'): TensorMetadata[] => {
    const list: unknown = (metadata as Partial<ModelMetadata> | null)?.[name];
    if (!Array.isArray(list)) throw new Error(`metadata.${name} must be an array of { name, datatype, shape }`);
    return list.map((entry: Partial<TensorMetadata> | null, index) => {
      const { name: tensor, datatype, shape } = entry ?? {};
      const fine = typeof tensor === 'string' && typeof datatype === 'string' && isDatatype(datatype)
        && Array.isArray(shape) && shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= -1);
      if (!fine) throw new Error(`metadata.${name}[${index}] must be { name, datatype, shape }, got ${JSON.stringify(entry)}`);
      return { name: tensor, datatype, shape: [...shape] as number[] };
    });
  };
  return { inputs: side('inputs'), outputs: side('outputs') };
}

class ModuleSession implements Session {
  readonly runtime = `node ${process.versions.node}`;
  readonly #active = new Map<number, RunContext>();

  constructor(
    readonly module: ModuleExports,
    readonly state: unknown,
    readonly metadata: ModelMetadata | undefined,
    readonly host: SessionHost,
  ) {}

  async run(task: RunTask): Promise<RunReply> {
    const started = performance.now();
    let inputs: Record<string, TypedTensor>;
    try {
      inputs = typedRecord(task.inputs);
    } catch (error) {
      return { ok: false, code: 'INVALID_ARGUMENT', message: textOf(error) };
    }
    const context = runContext(task, this.host);
    this.#active.set(task.id, context);
    try {
      const outputs = checkOutputs(await this.module.run(this.state, inputs, context), task.outputs);
      return { ok: true, outputs, runMs: performance.now() - started };
    } catch (error) {
      return failure(error);
    } finally {
      this.#active.delete(task.id);
      context.end();
    }
  }

  cancel(runId: number): void {
    this.#active.get(runId)?.abort();
  }

  async unload(): Promise<void> {
    await this.module.unload?.(this.state);
  }
}

/** Outputs in the order the module gave them, or as asked for. What is wrong with one is the module's fault: INTERNAL. */
function checkOutputs(outputs: unknown, wanted: readonly string[] | undefined): NamedTensor[] {
  if (typeof outputs !== 'object' || outputs === null || Array.isArray(outputs)) {
    throw new Error(`run must return an object of named tensors, got ${outputs === null ? 'null' : typeof outputs}`);
  }
  const record = outputs as Record<string, TensorLike>;
  return (wanted ?? Object.keys(record)).map((name) => {
    if (!Object.hasOwn(record, name)) throw Object.assign(new Error(`the module has no output '${name}'`), { code: 'INVALID_ARGUMENT' });
    try {
      const tensor = fromTyped(record[name]!);
      return { name, datatype: tensor.datatype, shape: tensor.shape, data: tensor.data };
    } catch (error) {
      throw new Error(`output '${name}': ${textOf(error)}`, { cause: error });
    }
  });
}

function failure(error: unknown): RunReply {
  const { retryable, outcome } = (error ?? {}) as { retryable?: unknown; outcome?: unknown };
  return {
    ok: false,
    code: codeOf(error) ?? 'INTERNAL',
    message: textOf(error),
    ...(typeof retryable === 'boolean' && { retryable }),
    ...(outcome === 'unknown' && { outcome }),
  };
}

function codeOf(error: unknown): keyof typeof errorCodes | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' && Object.hasOwn(errorCodes, code) ? (code as keyof typeof errorCodes) : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
