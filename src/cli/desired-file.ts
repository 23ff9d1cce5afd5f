/** A file of actors for the cluster: checked as a host would check it, its local models found, and named by their hash. */
import { dirname, resolve } from 'node:path';
import { SpecError } from '../host/create-host.js';
import { storedSha256 } from '../spec/fields.js';
import { parseActorFile, type ActorDocument } from '../spec/desired.js';
import type { Problem } from '../spec/problems.js';
import { parseDocument } from './host-file.js';
import { modelFile, type ModelFile } from './push.js';

export interface ActorFileContent {
  /** As they are stored: models by their hash. */
  readonly actors: readonly ActorDocument[];
  /** Models that lie here, each once. */
  readonly local: readonly ModelFile[];
  /** Hashes of models that must be in the store already, with the place in the file that names them. */
  readonly stored: readonly { readonly sha256: string; readonly path: string }[];
}

/** Rejects with a SpecError that has every problem by its path. */
export async function readActorFile(file: string): Promise<ActorFileContent> {
  const parsed = parseActorFile(parseDocument(resolve(file)));
  if (!parsed.ok) throw new SpecError(parsed.problems);
  const problems: Problem[] = [];
  const local = new Map<string, ModelFile>();
  const stored: { sha256: string; path: string }[] = [];
  const actors: ActorDocument[] = [];
  for (const [index, actor] of parsed.actors.entries()) {
    const path = `actors[${index}].model`;
    const sha256 = actor.model === undefined ? undefined : storedSha256(actor.model);
    if (sha256 !== undefined) stored.push({ sha256, path });
    if (actor.model === undefined || sha256 !== undefined) {
      actors.push(actor);
      continue;
    }
    const model = await modelFile(resolve(dirname(resolve(file)), actor.model)).catch((error: Error) => void problems.push({ path, message: error.message }));
    if (!model) continue;
    const { sha256: wanted, ...rest } = actor;
    if (wanted !== undefined && wanted !== model.sha256) problems.push({ path: `actors[${index}].sha256`, message: `${model.file} has the hash ${model.sha256}` });
    local.set(model.sha256, model);
    actors.push({ ...rest, model: `sha256:${model.sha256}` });
  }
  if (problems.length > 0) throw new SpecError(problems);
  return { actors, local: [...local.values()], stored };
}
