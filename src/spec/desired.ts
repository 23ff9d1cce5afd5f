/**
 * Actors of a cluster's desired state: the same keys as in a host file, but no paths, because the document must mean the
 * same on every host. A model is named by its hash, a module by its name among the host's `modules`.
 *
 * Says nothing about where an actor runs: that a host has none of its devices, or not its module, is for placement.
 */
import { actorFields, actorSchema, completeActor, type ActorSpec } from './actor.js';
import { STORED_MODEL, storedSha256, token } from './fields.js';
import { deepFreeze, knownKeys } from './host.js';
import { problemsOf, type Problem } from './problems.js';

/** An actor as somebody wrote it: valid, nothing filled in. */
export interface ActorDocument {
  readonly name: string;
  readonly model?: string;
  readonly module?: string;
  readonly sha256?: string;
  readonly [key: string]: unknown;
}

export type ActorFile = { readonly ok: true; readonly actors: readonly ActorDocument[] } | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Whether a file is meant for the cluster: a list of actors, or an object with nothing but that list. With any other key
 * it is a host file.
 */
export function isActorFile(document: unknown): boolean {
  return Array.isArray(document) || (isRecord(document) && Object.keys(document).length === 1 && 'actors' in document);
}

/** A file of actors for the cluster. Models may still be paths: whoever reads the file sends them ahead. Never throws. */
export function parseActorFile(document: unknown): ActorFile {
  const list = Array.isArray(document) ? document : isRecord(document) ? document['actors'] : undefined;
  if (!Array.isArray(list)) return { ok: false, problems: [{ path: 'actors', message: 'must be a list of actors' }] };
  const problems: Problem[] = [];
  const names = new Map<string, number>();
  list.forEach((actor: unknown, index) => {
    for (const { path, message } of problemsOfActor(actor)) problems.push({ path: `actors[${index}]${path && `.${path}`}`, message });
    const name = isRecord(actor) && typeof actor['name'] === 'string' ? actor['name'] : undefined;
    if (name === undefined) return;
    const first = names.get(name);
    if (first === undefined) names.set(name, index);
    else problems.push({ path: `actors[${index}].name`, message: `"${name}" is the name of actors[${first}] already` });
  });
  return problems.length > 0 ? { ok: false, problems } : { ok: true, actors: list as ActorDocument[] };
}

function problemsOfActor(actor: unknown): Problem[] {
  const parsed = actorSchema.safeParse(actor);
  const found = parsed.success ? [] : problemsOf(parsed.error, (path) => knownKeys(['actors', 0, ...path]));
  const module = isRecord(actor) ? actor['module'] : undefined;
  if (typeof module === 'string' && module !== '' && !token.safeParse(module).success) {
    found.push({ path: 'module', message: `"${module}" is a path: in the desired state of a cluster a module is a name that hosts have among their "modules"` });
  }
  return found;
}

export interface DesiredSurroundings {
  readonly cores: number;
  /** Of the host: name to absolute path. */
  readonly modules: Readonly<Record<string, string>>;
  /** Where a model of the store will be once it was fetched; absolute. */
  readonly modelFile: (sha256: string) => string;
}

export type DesiredSpec = { readonly ok: true; readonly spec: ActorSpec } | { readonly ok: false; readonly reason: string };

/**
 * A document of the desired state as this host would run it: frozen, complete; of a model `stored` is true and `sha256`
 * set, of a module `moduleName`. The file of a module that this host does not have is empty: other hosts may have it, and
 * placement must know the actor all the same. Never throws.
 */
export function desiredSpec(document: unknown, { cores, modules, modelFile }: DesiredSurroundings): DesiredSpec {
  const problems = problemsOfActor(document);
  const parsed = actorSchema.safeParse(document);
  if (problems.length > 0 || !parsed.success) return { ok: false, reason: problems.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('; ') };
  const { model, module } = parsed.data;
  if (model !== undefined && storedSha256(model) === undefined) return { ok: false, reason: `model: "${model}" is a path; the desired state names models by their hash, "${STORED_MODEL}…"` };
  const known = module === undefined || Object.hasOwn(modules, module) ? modules : { ...modules, [module]: '' };
  return { ok: true, spec: deepFreeze(completeActor(parsed.data, { resolve: (path) => path, modelFile, modules: known }, cores)) };
}

/** Keys of an actor in their order of documentation. */
export const actorKeys: readonly string[] = Object.keys(actorFields);

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
