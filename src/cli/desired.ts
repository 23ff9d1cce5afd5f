/** `regrow apply` of a file of actors, `regrow get` and `regrow diff`: what a cluster is to serve, kept in its store. */
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { StoreError, type Store } from '../ports.js';
import { canonical, desiredKey, encodeDesired, decodeDesired } from '../protocol/desired.js';
import { storedSha256 } from '../spec/fields.js';
import type { ActorDocument } from '../spec/desired.js';
import { readActorFile } from './desired-file.js';
import { planOf, planTable, stepOf, type DesiredChange } from './desired-plan.js';
import { openDesired, refuse, STORE_CALL, type DesiredStore, type StoredActor } from './desired-store.js';
import { EXIT, OrderRefused, UsageError } from './exit.js';
import { send } from './push.js';
import { client } from './remote.js';

/** Of one actor: others may be changing it at the same time. */
const TRIES_MAX = 5;
const WAIT_MS = 120_000;
const LOOK_EVERY_MS = 500;

/** Models first, so that no host ever looks for one that is not there yet. */
export async function applyDesired(file: string, values: CliValues): Promise<number> {
  const { actors, local, stored } = await readActorFile(file);
  const revisionMin = revisionOf(values);
  await using desired = await openDesired(values);
  for (const { sha256, path } of stored) {
    if (!(await desired.objects.has(sha256, STORE_CALL).catch(refuse))) throw new OrderRefused(`${path}: the store has no model sha256:${sha256}; regrow push FILE puts it there`);
  }
  for (const model of local) await send(desired.objects, model);
  const changes: DesiredChange[] = [];
  for (const { write, ...planned } of planOf(actors, await desired.read(), { prune: values.prune ?? false, revisionMin })) {
    const wanted = actors.find(({ name }) => name === planned.actor) ?? null;
    changes.push(write ? await carryOut(desired, planned.actor, wanted, revisionMin) : planned);
  }
  process.stdout.write(values.json ? `${JSON.stringify(changes)}\n` : planTable(changes));
  if (values.wait) return await untilServed(actors, values);
  if (!values.json) process.stderr.write('hosts follow by themselves: regrow status\n');
  return EXIT.ok;
}

/** @returns what was done, which is another thing than planned when somebody else was quicker */
async function carryOut(desired: DesiredStore, actor: string, wanted: ActorDocument | null, revisionMin: number): Promise<DesiredChange> {
  const key = desiredKey(actor);
  let tried: DesiredChange | undefined;
  for (let tries = 1; ; tries++) {
    const now = await current(desired, actor);
    const { write, ...change } = stepOf(wanted, actor, now, revisionMin);
    if (!write) return tried ?? change; // a write without an answer had happened
    tried = change;
    try {
      await put(desired.store, key, encodeDesired(write), now?.at);
      return change;
    } catch (error) {
      const again = error instanceof StoreError && (error.code === 'CONFLICT' || error.code === 'EXISTS' || error.code === 'UNKNOWN');
      if (!again || tries === TRIES_MAX) refuse(error);
    }
  }
}

async function put(store: Store, key: string, bytes: Uint8Array, at: number | undefined): Promise<void> {
  if (at !== undefined) return void (await store.update(key, bytes, at, STORE_CALL));
  await store.create(key, bytes, STORE_CALL).catch(async (error: unknown) => {
    // Somebody deleted the key by hand: there is no revision to compare with, and nobody's wish to overwrite.
    if (!(error instanceof StoreError && error.code === 'EXISTS') || (await store.get(key, STORE_CALL))) throw error;
    await store.put(key, bytes, STORE_CALL);
  });
}

async function current({ store }: DesiredStore, actor: string): Promise<StoredActor | undefined> {
  const entry = await store.get(desiredKey(actor), STORE_CALL).catch(refuse);
  return entry && { at: entry.revision, found: decodeDesired(actor, entry.value) };
}

export async function diffCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [file] = operands;
  if (file === undefined) throw new UsageError('diff needs a file of actors');
  const { actors } = await readActorFile(file);
  await using desired = await openDesired(values);
  const steps = planOf(actors, await desired.read(), { prune: values.prune ?? false, revisionMin: revisionOf(values) });
  const changes = steps.map(({ write: _planned, ...change }) => change).filter(({ change }) => change !== 'unchanged');
  process.stdout.write(values.json ? `${JSON.stringify(changes)}\n` : changes.length === 0 ? 'no differences\n' : planTable(changes));
  return changes.length === 0 ? EXIT.ok : EXIT.requestFailed;
}

export async function getCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [actor] = operands;
  await using desired = await openDesired(values);
  const known = [...(await desired.read())].sort(([a], [b]) => (a < b ? -1 : 1));
  if (actor !== undefined) return getOne(actor, known.find(([name]) => name === actor)?.[1], values);
  const live = known.filter(([, { found }]) => !(found.ok && found.entry.actor === null));
  if (values.json) process.stdout.write(`${JSON.stringify(live.map(([name, { found }]) => (found.ok ? found.entry : { name, problem: found.reason })))}\n`);
  else process.stdout.write(live.length === 0 ? 'no actors; regrow apply FILE names some\n' : listed(live));
  return EXIT.ok;
}

function getOne(actor: string, stored: StoredActor | undefined, { json }: CliValues): number {
  if (!stored) throw new OrderRefused(`the desired state has no actor "${actor}"; regrow get lists them`);
  if (!stored.found.ok) throw new OrderRefused(`the document of "${actor}" cannot be read: ${stored.found.reason}; regrow apply FILE writes it anew`);
  const { entry } = stored.found;
  if (entry.actor === null) throw new OrderRefused(`"${actor}" was removed at revision ${entry.revision}`);
  process.stdout.write(`${json ? JSON.stringify(entry) : JSON.stringify(entry, null, 2)}\n`);
  return EXIT.ok;
}

function listed(actors: readonly (readonly [string, StoredActor])[]): string {
  const width = Math.max(...actors.map(([name]) => name.length));
  return actors.map(([name, { found }]) => {
    if (!found.ok) return `${name.padEnd(width)}  cannot be read: ${found.reason}\n`;
    const { revision, actor } = found.entry;
    const { model, module, replicas = 1, singleton = false, devices } = actor as Readonly<Record<string, unknown>>;
    const what = typeof model === 'string' ? `model ${model.slice(0, 'sha256:'.length + 12)}` : `module ${String(module)}`;
    const many = singleton === true ? 'singleton' : `${String(replicas)} replica${replicas === 1 ? '' : 's'}`;
    return `${name.padEnd(width)}  revision ${revision}  ${what}  ${many}${Array.isArray(devices) ? ` on ${devices.join(', ')}` : ''}\n`;
  }).join('');
}

/** Exit 1 when the hosts have not followed in time; what is stored stays. */
async function untilServed(actors: readonly ActorDocument[], values: CliValues): Promise<number> {
  const until = systemClock.now() + waitMsOf(values);
  await using connection = await client(values);
  let told = '';
  for (;;) {
    const hosts = await connection.status().then(({ hosts: known }) => known, () => []);
    const waiting = actors.flatMap(({ name, replicas = 1, version, model }) => {
      const expected = version ?? (typeof model === 'string' ? storedSha256(model)?.slice(0, 12) : undefined);
      const places = hosts.flatMap((host) => host.actors.filter((actor) => actor.name === name && (expected === undefined || actor.version === expected)));
      const ready = places.reduce((sum, place) => sum + place.ready, 0);
      return ready >= Number(replicas) ? [] : [`${name} ${ready}/${String(replicas)}${expected === undefined ? '' : ` of version ${String(expected)}`}`];
    });
    if (waiting.length === 0) {
      process.stderr.write('every actor is served\n');
      return EXIT.ok;
    }
    if (canonical(waiting) !== told) process.stderr.write(`waiting for ${waiting.join(', ')}\n`);
    told = canonical(waiting);
    if (systemClock.now() >= until) throw new OrderRefused(`stored, but not served in time: ${waiting.join(', ')}; regrow status says why`);
    await new Promise<void>((resolve) => void systemClock.setTimeout(resolve, LOOK_EVERY_MS));
  }
}

function waitMsOf(values: CliValues): number {
  const waitMs = Number(values['timeout-ms'] ?? WAIT_MS);
  if (!(waitMs > 0)) throw new UsageError(`--timeout-ms ${values['timeout-ms']} is no number of milliseconds`);
  return waitMs;
}

function revisionOf({ revision }: CliValues): number {
  if (revision === undefined) return 1;
  if (!/^[1-9]\d{0,14}$/.test(revision)) throw new UsageError(`--revision ${revision} is no whole number from 1 on`);
  return Number(revision);
}
