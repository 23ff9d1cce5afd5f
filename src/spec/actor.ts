/**
 * What an operator asks of one actor. Parsed once, defaulted once, relations checked once; frozen after that.
 *
 * Knows nothing of files: paths are resolved by host.ts and desired.ts of this folder, hashes are pinned by the host that
 * accepts the spec.
 */
import { z } from 'zod';
import { budgetReachable } from '../policy/backoff.js';
import { fromTyped, type TensorLike } from '../tensor/typed.js';
import { bytes, deviceId, milliseconds, sha256Hex, STORED_MODEL, storedSha256, tensorLiteral, token } from './fields.js';
import { restartSchema, type RestartSpec } from './restart.js';

const MiB = 1024 * 1024;

const sessionSchema = z.strictObject({
  intraOpThreads: z.number().int().min(1).max(256).optional()
    .describe('Threads onnxruntime uses inside one operator. Default: cores / replicas of this actor, at least 1.'),
  interOpThreads: z.number().int().min(1).max(256).default(1).describe('Threads across operators; 1 = run them one after the other.'),
  graphOptimization: z.enum(['disabled', 'basic', 'extended', 'all']).default('all').describe('onnxruntime graph optimisation level.'),
  memoryArena: z.boolean().default(true).describe('false gives memory back after each run: slower, but no high-water mark for models with very different input sizes.'),
  extra: z.record(z.string(), z.string()).default({}).describe('Further onnxruntime session configuration entries; values are strings. Unknown ones are ignored by onnxruntime without a word.'),
});

const goldenSchema = z.strictObject({
  inputs: z.record(z.string(), tensorLiteral).describe('Named input tensors, in OIP JSON form.'),
  outputs: z.record(z.string(), tensorLiteral).describe('What the actor must answer; outputs not named here are not compared.'),
  tolerance: z.number().min(0).default(1e-4).describe('Floats are equal when abs(a-b) <= tolerance * (1 + abs(b)); NaN equals NaN; integers, booleans and strings must be exact.'),
});

/** Field by field. Everything an operator may write about an actor; docs/reference is generated from these descriptions. */
export const actorFields = {
  name: token.describe('Name callers use; one NATS subject token.'),
  model: z.string().min(1).optional().describe('ONNX file, relative to the host file, or "sha256:" and 64 hex digits: a model from the store (`regrow push`). Exactly one of model and module.'),
  module: z.string().min(1).optional().describe('Name among the host\'s `modules`, or an ES module file that exports load and run, relative to the host file. In the desired state of a cluster names only.'),
  options: z.record(z.string(), z.unknown()).default({}).describe('Free for a module: it finds them as `spec.options` in load(spec, context).'),
  version: z.string().min(1).max(64).optional().describe('Version name in answers and paths. Default: first 12 hex digits of the file\'s SHA-256.'),
  sha256: sha256Hex.optional().describe('Hash the file must have. Default: pinned when the spec is accepted, so later bytes cannot differ unnoticed.'),
  replicas: z.number().int().min(1).max(1024).default(1).describe('Replicas wanted, over all hosts of the cluster.'),
  singleton: z.boolean().default(false).describe('At most one replica in the whole cluster, on the host that owns the actor by a lease in the store. Down (`no store`) without JetStream. Argues with replicas, which must be 1.'),
  devices: z.array(deviceId).min(1).default(['cpu']).describe('Devices in order of preference.'),
  isolation: z.enum(['process', 'thread']).default('process')
    .describe('process = every replica in a child process of its own (a cell): a native crash ends only that. thread = in the host process: microseconds faster, for trusted models only.'),
  idempotent: z.boolean().optional().describe('Whether a request may run twice. Default true for models, false for modules. A caller\'s header may only forbid, never allow.'),
  concurrency: z.number().int().min(1).max(1024).default(1).describe('Modules: runs at once in one replica. Models always run one at a time.'),
  timeoutMs: milliseconds.min(1).default(5000).describe('Budget of a request that brings none, in ms.'),
  timeoutMaxMs: milliseconds.min(1).default(30_000).describe('Cap on the budget a caller may bring, in ms.'),
  hangMs: milliseconds.min(1).default(10_000).describe('Longest a single run may take, in ms; beyond it the replica is ended as hung and the request replayed.'),
  suspectMs: milliseconds.min(1).optional().describe('A run that takes longer is run elsewhere too, and its replica gets no new work until it answers. Default: learned, 8 times the p99 of the request\'s shape, between 100 ms and a third of timeoutMs.'),
  queue: z.strictObject({
    sizeMax: z.number().int().min(1).default(4096).describe('Requests waiting at most; a backstop, the byte bound and the predicted wait refuse earlier.'),
    bytesMax: bytes.default(64 * MiB).describe('Bytes of waiting requests at most.'),
  }).prefault({}).describe('Bounds of the actor\'s queue. A request over them is refused at once with RESOURCE_EXHAUSTED.'),
  replaysMax: z.number().int().min(0).max(100).default(2).describe('Times a request is run again after the replica it ran on was lost.'),
  quarantineMs: milliseconds.min(0).default(600_000).describe('How long a request that ended replicas (and any equal one) is refused with POISON, in ms.'),
  poison: z.strictObject({
    intensity: z.number().int().min(0).default(10).describe('Replicas that may end in runs of suspect requests within periodMs without counting against restart.intensity.'),
    periodMs: milliseconds.min(1).default(60_000).describe('Window of poison.intensity, in ms.'),
  }).prefault({}).describe('Budget for deaths a request is suspected of.'),
  session: sessionSchema.prefault({}).describe('onnxruntime options.'),
  golden: goldenSchema.optional().describe('A known question and its answer; a replica that fails it is not routed.'),
  guard: z.strictObject({
    finite: z.boolean().default(true).describe('Refuse answers with NaN where no input had any.'),
    range: z.record(z.string(), z.strictObject({ min: z.number().optional(), max: z.number().optional() })).optional().describe('Per output: least and greatest value allowed.'),
  }).prefault({}).describe('Answers refused before they leave. A refused one is tried once elsewhere, and the replica proves itself again.'),
  proveEveryMs: milliseconds.min(100).default(60_000).describe('An idle replica answers its golden input again this often, in ms; stretched so that proving costs a host less than 0.5 % of a core.'),
  freshMs: milliseconds.min(100).optional().describe('Ready means a success or a proof within this time, in ms. Default: twice proveEveryMs.'),
  memory: z.strictObject({
    bytesMax: bytes.optional().describe('Resident memory a replica\'s cell may have. Default: no bound, only steady growth counts.'),
  }).optional().describe('When set, a cell that is larger than memory.bytesMax, or that grows without an end, is replaced with overlap. Needs isolation "process".'),
  startTimeoutMs: milliseconds.min(1).default(60_000).describe('Longest a start (spawn, load, prove) may take, in ms.'),
  shutdownMs: milliseconds.min(0).default(5000).describe('Time a replica gets to finish what it runs when it is stopped, in ms.'),
  restart: restartSchema.prefault({}).describe('Restart type, budget and backoff.'),
} as const;

export const actorSchema = z.strictObject(actorFields).superRefine((actor, context) => {
  const problem = (path: (string | number)[], message: string): void => context.addIssue({ code: 'custom', path, message });
  if ((actor.model === undefined) === (actor.module === undefined)) {
    problem([], 'needs exactly one of "model" (an .onnx file) and "module" (a JavaScript file)');
  }
  const stored = actor.model === undefined ? undefined : storedSha256(actor.model);
  if (actor.model?.startsWith(STORED_MODEL) && stored === undefined) problem(['model'], `"${actor.model}" names no model of the store: "${STORED_MODEL}" and 64 lower-case hex digits do`);
  if (stored !== undefined && actor.sha256 !== undefined && actor.sha256 !== stored) problem(['sha256'], 'is another hash than the one in "model"; leave it out');
  if (actor.singleton && actor.replicas > 1) problem(['replicas'], `${actor.replicas} of a singleton: it has one in the whole cluster`);
  if (actor.timeoutMs > actor.timeoutMaxMs) problem(['timeoutMs'], `${actor.timeoutMs} is over timeoutMaxMs (${actor.timeoutMaxMs})`);
  if (actor.model !== undefined && actor.concurrency !== 1) problem(['concurrency'], 'is for modules; a model runs one request at a time per replica, use "replicas"');
  if (actor.memory !== undefined && actor.isolation === 'thread') problem(['memory'], 'is for isolation "process": a thread shares the memory of the host');
  if (actor.restart.backoff.minMs > actor.restart.backoff.maxMs) problem(['restart', 'backoff', 'minMs'], `is over maxMs (${actor.restart.backoff.maxMs})`);
  const restart = withIntensity(actor.restart, actor.replicas);
  const reachable = budgetReachable(restart, actor.replicas);
  if (!reachable.ok) problem(['restart'], reachable.message);
  for (const [side, tensors] of Object.entries({ inputs: actor.golden?.inputs, outputs: actor.golden?.outputs })) {
    for (const [name, tensor] of Object.entries(tensors ?? {})) {
      const wanted = tensor.shape.reduce((product, dimension) => product * dimension, 1);
      if (tensor.data.length !== wanted) problem(['golden', side, name, 'data'], `has ${tensor.data.length} elements, shape [${tensor.shape}] needs ${wanted}`);
      else {
        try {
          fromTyped(tensor as TensorLike);
        } catch (error) {
          problem(['golden', side, name, 'data'], (error as Error).message);
        }
      }
    }
  }
});

type ParsedActor = z.output<typeof actorSchema>;

/** What a caller of createHost writes; everything but the name and one of model and module is optional. */
export type ActorOptions = z.input<typeof actorSchema>;

/** An accepted actor: every default filled in, every relation checked. */
export type ActorSpec = Readonly<Omit<ParsedActor, 'restart' | 'model' | 'module' | 'session' | 'idempotent' | 'freshMs'>> & {
  readonly kind: 'model' | 'module';
  /** Absolute path. Of a stored model: where the host keeps it once it was fetched. */
  readonly file: string;
  /** Its model comes from the store, by `sha256`. */
  readonly stored: boolean;
  /** Under which name the host's `modules` have its module; absent for models and for modules given by their file. */
  readonly moduleName?: string;
  readonly idempotent: boolean;
  readonly freshMs: number;
  readonly restart: RestartSpec;
  readonly session: Readonly<Omit<ParsedActor['session'], 'intraOpThreads'>> & { readonly intraOpThreads: number };
};

function withIntensity(restart: ParsedActor['restart'], replicas: number): RestartSpec {
  const intensity = restart.intensity === 'infinity' ? Infinity : (restart.intensity ?? Math.max(5, 3 * replicas));
  return { ...restart, intensity };
}

/** Where files are on this host. */
export interface Places {
  /** Makes a path of the spec absolute. */
  readonly resolve: (path: string) => string;
  /** Where a model of the store will be once it was fetched; absolute. */
  readonly modelFile: (sha256: string) => string;
  /** Of the host: name to absolute path. */
  readonly modules: Readonly<Record<string, string>>;
}

/**
 * Fills in what depends on other fields or on the machine.
 * @param cores of this machine, for the default of session.intraOpThreads
 */
export function completeActor(parsed: ParsedActor, places: Places, cores: number): ActorSpec {
  const { model, module, restart, session, idempotent, ...rest } = parsed;
  const kind = model === undefined ? 'module' : 'model';
  const stored = model === undefined ? undefined : storedSha256(model);
  const named = module !== undefined && Object.hasOwn(places.modules, module);
  return {
    ...rest,
    kind,
    file: stored !== undefined ? places.modelFile(stored) : named ? places.modules[module]! : places.resolve((model ?? module)!),
    stored: stored !== undefined,
    ...(stored !== undefined && { sha256: stored }),
    ...(named && { moduleName: module }),
    idempotent: idempotent ?? kind === 'model',
    freshMs: parsed.freshMs ?? 2 * parsed.proveEveryMs,
    restart: withIntensity(restart, parsed.replicas),
    session: { ...session, intraOpThreads: session.intraOpThreads ?? Math.max(1, Math.floor(cores / parsed.replicas)) },
  };
}
