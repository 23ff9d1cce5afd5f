/** What this host says of itself to the others, drawn from the board; and what theirs says of where an actor is ready. */
import type { ForwardTarget } from '../cluster/forwarder.js';
import type { Neighbour } from '../cluster/membership.js';
import type { HostState } from '../protocol/host-state.js';
import type { HostSpec } from '../spec/host.js';
import type { InForce } from './apply.js';
import type { Board } from './board.js';
import { specHash } from './spec-hash.js';

export interface StateSources {
  readonly id: string;
  readonly incarnation: string;
  readonly board: Board;
  readonly devices: HostSpec['devices'];
  readonly draining: boolean;
  readonly revision: number;
  readonly paused: HostState['paused'];
  readonly inForce: ReadonlyMap<string, InForce>;
  /** Of the data connection. */
  readonly connection: HostState['connection'];
  readonly modules: readonly string[];
  /** It reaches the store, and may keep what it gets from there. */
  readonly fetches: boolean;
  /** Of singletons this host owns. */
  readonly epochOf: (actor: string) => number | undefined;
  /** Its replica waits for the checkpoint of the owner before it. */
  readonly awaitsOwnership: (actor: string) => boolean;
}

export function hostState({ id, incarnation, board, devices, draining, paused, inForce, connection, modules, fetches, epochOf, awaitsOwnership, revision }: StateSources): Omit<HostState, 'version'> {
  const { devices: seen, actors } = board.host();
  return {
    host: id,
    incarnation,
    draining,
    revision,
    devices: devices.map((device) => ({
      id: device.id,
      ...(device.capacity !== undefined && { capacity: device.capacity }),
      usable: seen.some((known) => known.id === device.id && known.state === 'usable'),
    })),
    modules,
    ...(fetches && { fetches }),
    ...(connection && { connection }),
    paused,
    actors: actors.map(({ name, wanted, ready, replicas, queue }) => {
      const current = inForce.get(name);
      const device = replicas.find(({ phase }) => phase === 'ready')?.device;
      const singleton = current?.spec.singleton ?? false;
      const epoch = singleton ? epochOf(name) : undefined;
      const isWarm = singleton && epoch === undefined;
      return {
        name, hash: current ? (current.desiredHash ?? specHash(current.spec, current.pin)) : '', wanted, idempotent: current?.spec.idempotent ?? false, queue: queue.count,
        // What it is not the owner of it does not serve, however warm.
        ready: isWarm ? 0 : ready,
        ...(singleton && { singleton }), ...(epoch !== undefined && { epoch }), ...(isWarm && { warm: awaitsOwnership(name) ? 1 : replicas.filter(({ phase }) => phase === 'ready').length }), ...(device !== undefined && { device }),
      };
    }),
  };
}

/** Alive, with a ready replica of the actor. A draining one serves until others are ready: it comes last. */
export function targetsOf(members: readonly Neighbour[], actor: string): ForwardTarget[] {
  const targets: ForwardTarget[] = [];
  for (const { host, liveness, load, state } of members) {
    if (liveness !== 'alive' || !state) continue;
    const there = state.actors.find(({ name }) => name === actor);
    // Of a singleton only the owner's replica answers.
    if (there && there.ready > 0 && (!there.singleton || there.epoch !== undefined)) targets.push({ host, load, ready: there.ready, idempotent: there.idempotent, draining: state.draining });
  }
  return targets;
}

/** Why this host's own spec of an actor is not the one to go by: another host's file has a higher revision of it. */
export function behind(members: readonly Neighbour[], actor: string, hash: string, revision: number): string | undefined {
  for (const { host, liveness, state } of members) {
    const theirs = liveness === 'dead' ? undefined : state?.actors.find(({ name }) => name === actor);
    if (!theirs || theirs.hash === '' || theirs.hash === hash || (state!.revision ?? 0) <= revision) continue;
    return `spec differs: host ${host} has revision ${state!.revision}, this one ${revision}`;
  }
  return undefined;
}
