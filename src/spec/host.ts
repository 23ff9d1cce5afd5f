/**
 * The host file: what one host serves and how it meets the others. `parseHost` is the only way in; it either gives a
 * frozen spec with every default filled in, or every problem with its path.
 */
import { z } from 'zod';
import { actorFields, actorSchema, completeActor, type ActorSpec } from './actor.js';
import { bytes, deviceId, milliseconds, STORED_MODEL, token } from './fields.js';
import { problemsOf, type Problem } from './problems.js';

const MiB = 1024 * 1024;

/** As many as a host can tell the others of. */
const MODULES_MAX = 1024;
/** Clocks of two hosts may drift apart by this much before an owner and its successor overlap. */
const DRIFT = 1.4;
/** Renewals that must fit before an owner gives up: a lost one, or a slow store, costs nobody an actor. */
const RENEWALS_MIN = 4;

const systemSchema = z.strictObject({
  user: z.string().optional().describe('User name.'),
  pass: z.string().optional().describe('Password of the user.'),
  passFile: z.string().optional().describe('File that holds the password of the user instead, relative to the host file.'),
  credsFile: z.string().optional().describe('Credentials file (JWT and NKey seed), relative to the host file.'),
  nkeySeedFile: z.string().optional().describe('File with an NKey seed, relative to the host file.'),
  inboxPrefix: z.string().regex(/^[A-Za-z0-9_.-]+$/).optional().describe('Private inbox prefix.'),
});

const natsSchema = z.strictObject({
  servers: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe('One or several server addresses, such as nats://127.0.0.1:4222.'),
  user: z.string().optional().describe('User name.'),
  pass: z.string().optional().describe('Password of the user.'),
  passFile: z.string().optional().describe('File that holds the password of the user instead, relative to the host file. Read again at every connect.'),
  token: z.string().optional().describe('Authentication token.'),
  credsFile: z.string().optional().describe('Credentials file (JWT and NKey seed), relative to the host file.'),
  nkeySeedFile: z.string().optional().describe('File with an NKey seed, relative to the host file.'),
  tls: z.strictObject({
    caFile: z.string().optional().describe('Authority to trust, PEM.'),
    certFile: z.string().optional().describe('Client certificate, PEM.'),
    keyFile: z.string().optional().describe('Key of the client certificate, PEM.'),
  }).optional().describe('TLS files, relative to the host file. {} = TLS with the system\'s authorities.'),
  inboxPrefix: z.string().regex(/^[A-Za-z0-9_.-]+$/).optional().describe('Private inbox prefix, so that other users of the account cannot read answers.'),
  system: systemSchema.nullable().default(null).describe('A user of the system account whose only permission is to publish to `$SYS.REQ.SERVER.*.KICK`: with it hosts have the connection of a frozen host closed at once. null = the server notices by itself, after its own pings.'),
});

const hostFields = {
  host: z.union([z.literal('auto'), token]).default('auto').describe('Id of this host. auto = host name plus four characters kept in dataDir.'),
  dataDir: z.string().min(1).optional().describe('What outlives a restart; used by one process at a time. Default .regrow beside the host file; embedded hosts keep nothing unless it is set.'),
  prefix: z.string().regex(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/).default('regrow').describe('First tokens of every subject; dots allowed.'),
  nats: natsSchema.optional().describe('How to reach NATS. Absent = the host serves this process only.'),
  devices: z.array(z.union([deviceId, z.strictObject({
    id: deviceId.describe('cpu, cuda:0, webgpu:0.'),
    capacity: z.number().int().min(1).optional().describe('Replicas this device takes at most.'),
  })])).min(1).default(['cpu']).describe('Devices of this host.'),
  beatMs: milliseconds.min(50).default(500).describe('How often this host tells the others that it lives, in ms.'),
  suspectAfterMs: milliseconds.min(100).default(1500).describe('Without a beat for this long a host is suspect: nothing new is sent there, in ms.'),
  deadAfterMs: milliseconds.min(200).default(3000).describe('Without a beat for this long a host counts as dead, in ms.'),
  forgetMs: milliseconds.min(1000).default(600_000).describe('A host that was not heard of for this long is no member any more, in ms.'),
  leaseMs: milliseconds.min(100).default(18_000).describe('A singleton whose owner did not renew its lease for this long is taken over, in ms. Argues with renewDeadlineMs.'),
  renewDeadlineMs: milliseconds.min(50).default(12_000).describe('An owner whose last renewal is older refuses work, in ms. 1.4 times as long must be less than leaseMs, or a slow clock could make two owners.'),
  renewMs: milliseconds.min(10).default(1000).describe('How often an owner of singletons renews its lease, in ms; at most a quarter of renewDeadlineMs. Hosts without singletons write nothing.'),
  resyncMs: milliseconds.min(100).default(5000).describe('How often what the store holds is read in full, in ms. In between its changes are followed.'),
  takeOversPerSecondMax: z.number().positive().max(1000).default(5).describe('Singletons this host takes over at most per second.'),
  hostsMax: z.number().int().min(1).max(1024).default(2).describe('Hosts on which an actor may use up its restart budget before it is tried on no further one.'),
  revision: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe('Of this file. Where the files of several hosts differ about an actor, the higher revision wins.'),
  modules: z.record(token, z.string().min(1)).default({}).describe('Module files by name, relative to the host file: the only code a cluster\'s desired state can run on this host.'),
  holdMs: milliseconds.min(0).default(2000).describe('How long requests wait for an actor whose last replica is being restarted, in ms.'),
  startsParallelMax: z.number().int().min(1).optional().describe('Replicas that load at the same time. Default: number of cores.'),
  queueBytesMax: bytes.default(512 * MiB).describe('Bytes of waiting requests over all actors.'),
  guardian: z.boolean().default(true).describe('Whether `regrow start` puts this host under a guardian process, which replaces it when it dies or stands still. Embedded hosts have none.'),
  loopStallMs: milliseconds.min(100).default(10_000).describe('How long the main loop of a guarded host may stand still before the host is replaced, in ms.'),
  deadLetters: z.union([z.literal(false), z.strictObject({
    countMax: z.number().int().min(1).max(10_000).default(100).describe('Requests kept at most; the oldest give way.'),
    bytesMax: bytes.default(256 * MiB).describe('Bytes of kept requests at most; a larger one is kept by its shapes only.'),
    keepMs: milliseconds.min(1).default(86_400_000).describe('How long a request is kept, in ms.'),
  })]).prefault({}).describe('Requests that ended a replica in a run of their own, kept in dataDir (else in memory) to look at and to try again. false = their hash and shapes only.'),
  drainMs: milliseconds.min(0).default(30_000).describe('How long a stopping host waits for the requests it accepted, in ms.'),
  actors: z.array(actorSchema).default([]).describe('What this host serves.'),
} as const;

export const hostSchema = z.strictObject(hostFields).superRefine((host, context) => {
  const problem = (path: (string | number)[], message: string): void => context.addIssue({ code: 'custom', path, message });
  if (host.nats?.passFile !== undefined && host.nats.pass !== undefined) problem(['nats', 'passFile'], 'pass is given as well; one of the two');
  if (host.nats?.passFile !== undefined && host.nats.user === undefined) problem(['nats', 'passFile'], 'is the password of nobody: give user as well');
  if (host.suspectAfterMs < 2 * host.beatMs) problem(['suspectAfterMs'], `${host.suspectAfterMs} is less than two beats (beatMs is ${host.beatMs}): one lost beat would make a host suspect`);
  if (host.deadAfterMs <= host.suspectAfterMs) problem(['deadAfterMs'], `${host.deadAfterMs} is not over suspectAfterMs (${host.suspectAfterMs})`);
  if (host.forgetMs <= host.deadAfterMs) problem(['forgetMs'], `${host.forgetMs} is not over deadAfterMs (${host.deadAfterMs})`);
  const system = host.nats?.system;
  if (system) {
    if (system.passFile !== undefined && system.pass !== undefined) problem(['nats', 'system', 'passFile'], 'pass is given as well; one of the two');
    const named = system.user !== undefined && (system.pass !== undefined || system.passFile !== undefined);
    if (!named && system.credsFile === undefined && system.nkeySeedFile === undefined) problem(['nats', 'system'], 'needs user with pass or passFile, or credsFile, or nkeySeedFile');
  }
  if (host.leaseMs <= DRIFT * host.renewDeadlineMs) problem(['leaseMs'], `${host.leaseMs} is not over ${DRIFT} x renewDeadlineMs (${host.renewDeadlineMs}): with clocks that drift two hosts could own one actor`);
  if (host.renewMs * RENEWALS_MIN > host.renewDeadlineMs) problem(['renewMs'], `${host.renewMs} is over a quarter of renewDeadlineMs (${host.renewDeadlineMs}): one late renewal would cost the lease`);
  if (Object.keys(host.modules).length > MODULES_MAX) problem(['modules'], `has ${Object.keys(host.modules).length} names, at most ${MODULES_MAX}`);
  const seen = new Map<string, number>();
  const devices = new Map(host.devices.map((device) => (typeof device === 'string' ? [device, undefined] : [device.id, device.capacity])));
  host.actors.forEach((actor, index) => {
    const first = seen.get(actor.name);
    if (first !== undefined) problem(['actors', index, 'name'], `"${actor.name}" is the name of actors[${first}] already`);
    else seen.set(actor.name, index);
    if (!actor.devices.some((device) => devices.has(device))) {
      problem(['actors', index, 'devices'], `none of [${actor.devices}] is among the host's devices [${[...devices.keys()]}]`);
    }
    if (actor.queue.bytesMax > host.queueBytesMax) problem(['actors', index, 'queue', 'bytesMax'], `${actor.queue.bytesMax} is over the host's queueBytesMax (${host.queueBytesMax})`);
  });
});

type ParsedHost = z.output<typeof hostSchema>;

/** What a host file or a caller of createHost writes. */
export type HostOptions = z.input<typeof hostSchema>;
export type NatsSpec = z.output<typeof natsSchema>;

export type HostSpec = Readonly<Omit<ParsedHost, 'actors' | 'devices' | 'startsParallelMax'>> & {
  readonly actors: readonly ActorSpec[];
  readonly devices: readonly { readonly id: string; readonly capacity: number | undefined }[];
  readonly startsParallelMax: number;
};

/** What parsing needs to know of the world. Paths are joined by the caller's function, so this stays free of I/O. */
export interface SpecSurroundings {
  readonly cores: number;
  /** Makes a path of the document absolute. */
  readonly resolve: (path: string) => string;
}

export type ParseResult = { readonly ok: true; readonly spec: HostSpec } | { readonly ok: false; readonly problems: readonly Problem[] };

/** @returns a deeply frozen spec, or every problem found. Never throws. */
export function parseHost(document: unknown, surroundings: SpecSurroundings): ParseResult {
  const parsed = hostSchema.safeParse(document);
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error, knownKeys) };
  const { actors, devices, startsParallelMax, nats, dataDir, ...rest } = parsed.data;
  const resolve = surroundings.resolve;
  const modules = Object.fromEntries(Object.entries(rest.modules).map(([name, file]) => [name, resolve(file)]));
  // Without a dataDir the folder is the host's to choose, once it fetches.
  const modelFile = (sha256: string): string => (dataDir === undefined ? `${STORED_MODEL}${sha256}` : resolve(`${dataDir}/models/${sha256}.onnx`));
  const spec: HostSpec = {
    ...rest,
    modules,
    ...(dataDir !== undefined && { dataDir: resolve(dataDir) }),
    ...(nats && { nats: resolveNatsFiles(nats, resolve) }),
    devices: devices.map((device) => (typeof device === 'string' ? { id: device, capacity: undefined } : { id: device.id, capacity: device.capacity })),
    startsParallelMax: startsParallelMax ?? surroundings.cores,
    actors: actors.map((actor) => completeActor(actor, { resolve, modelFile, modules }, surroundings.cores)),
  };
  return { ok: true, spec: deepFreeze(spec) };
}

function resolveNatsFiles(nats: NatsSpec, resolve: (path: string) => string): NatsSpec {
  return {
    ...withFiles(nats, resolve),
    ...(nats.tls && { tls: Object.fromEntries(Object.entries(nats.tls).map(([key, path]) => [key, path === undefined ? path : resolve(path)])) }),
    system: nats.system && withFiles(nats.system, resolve),
  };
}

/** Where credentials lie. */
function withFiles<T extends { passFile?: string | undefined; credsFile?: string | undefined; nkeySeedFile?: string | undefined }>(login: T, resolve: (path: string) => string): T {
  const { passFile, credsFile, nkeySeedFile } = login;
  return {
    ...login,
    ...(passFile && { passFile: resolve(passFile) }),
    ...(credsFile && { credsFile: resolve(credsFile) }),
    ...(nkeySeedFile && { nkeySeedFile: resolve(nkeySeedFile) }),
  };
}

/** Keys allowed at a path of the document, for "did you mean". */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let schema: unknown = hostSchema;
  for (const part of path) schema = descend(schema, part);
  const shape = (unwrap(schema) as { shape?: object } | undefined)?.shape;
  return Object.keys(shape ?? (path.length === 0 ? hostFields : path.at(-2) === 'actors' ? actorFields : {}));
}

function descend(schema: unknown, part: PropertyKey): unknown {
  const inner = unwrap(schema) as { shape?: Record<PropertyKey, unknown>; element?: unknown } | undefined;
  return typeof part === 'number' ? inner?.element : inner?.shape?.[part];
}

/** Looks through default, prefault, optional. */
function unwrap(schema: unknown): unknown {
  let inner = schema as { unwrap?: () => unknown; shape?: object; element?: unknown } | undefined;
  while (inner && !inner.shape && !inner.element && typeof inner.unwrap === 'function') inner = inner.unwrap() as typeof inner;
  return inner;
}

export function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
