/**
 * Changes what a running host serves: compares the actors of a new spec with what runs, and adds, rolls or withdraws.
 * Keys of the host itself need a restart; the answer says which of them differ.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ActorSpec } from '../spec/actor.js';
import type { HostSpec } from '../spec/host.js';
import type { Pin } from './pins.js';

export interface ActorChange {
  readonly actor: string;
  /** `refused`: the new edition did not prove, the old one serves on. */
  readonly change: 'added' | 'rolled' | 'removed' | 'unchanged' | 'refused';
  readonly reason: string;
}

export interface ApplyResult {
  readonly changes: readonly ActorChange[];
  /** Host keys that differ and take effect at the next start only. */
  readonly needRestart: readonly string[];
}

/** What runs now. */
export interface InForce {
  readonly spec: ActorSpec;
  readonly pin: Pin;
  /** Of the cluster's desired state, which asked for it; undefined: this host's own file did. */
  readonly desiredHash?: string | undefined;
}

export interface ApplySteps {
  readonly pin: (spec: ActorSpec) => Promise<Pin>;
  readonly add: (spec: ActorSpec) => Promise<void>;
  /** Undefined when done, else why it was stopped. */
  readonly roll: (spec: ActorSpec) => Promise<string | undefined>;
  readonly withdraw: (actor: string) => Promise<void>;
}

/** One actor after the other, so that a machine never carries two roll-outs at once. */
export async function applySpec(now: HostSpec, next: HostSpec, inForce: ReadonlyMap<string, InForce>, steps: ApplySteps): Promise<ApplyResult> {
  const changes: ActorChange[] = [];
  for (const spec of next.actors) changes.push(await applyActor(spec, inForce.get(spec.name), steps));
  for (const actor of [...inForce.keys()].filter((name) => !next.actors.some((spec) => spec.name === name))) {
    await steps.withdraw(actor);
    changes.push({ actor, change: 'removed', reason: 'not in the new spec' });
  }
  const keys = Object.keys({ ...now, ...next }) as (keyof HostSpec)[];
  return { changes, needRestart: keys.filter((key) => key !== 'actors' && key !== 'revision' && !isDeepStrictEqual(now[key], next[key])) };
}

async function applyActor(spec: ActorSpec, current: InForce | undefined, steps: ApplySteps): Promise<ActorChange> {
  const actor = spec.name;
  const pin = await steps.pin(spec);
  if (!current) {
    await steps.add(spec);
    return { actor, change: 'added', reason: `version ${pin.version}` };
  }
  const sameBytes = pin.sha256 === current.pin.sha256 && pin.version === current.pin.version;
  if (sameBytes && isDeepStrictEqual(spec, current.spec)) return { actor, change: 'unchanged', reason: `version ${pin.version}` };
  const why = sameBytes ? 'its spec changed' : `version ${current.pin.version} to ${pin.version}`;
  const stopped = await steps.roll(spec);
  return stopped === undefined ? { actor, change: 'rolled', reason: why } : { actor, change: 'refused', reason: `${why}: ${stopped}; the old version serves on` };
}
