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
  readonly paused: HostState['paused'];
  readonly inForce: ReadonlyMap<string, InForce>;
  /** Of the data connection. */
  readonly connection: HostState['connection'];
  readonly modules: readonly string[];
  /** It reaches the store, and may keep what it gets from there. */
  readonly fetches: boolean;
}

export function hostState({ id, incarnation, board, devices, draining, paused, inForce, connection, modules, fetches }: StateSources): Omit<HostState, 'version'> {
  const { devices: seen, actors } = board.host();
  return {
    host: id,
    incarnation,
    draining,
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
      return { name, hash: current ? specHash(current.spec, current.pin) : '', wanted, ready, idempotent: current?.spec.idempotent ?? false, queue: queue.count, ...(device !== undefined && { device }) };
    }),
  };
}

/** Alive, not draining, with a ready replica of the actor. */
export function targetsOf(members: readonly Neighbour[], actor: string): ForwardTarget[] {
  const targets: ForwardTarget[] = [];
  for (const { host, liveness, load, state } of members) {
    if (liveness !== 'alive' || !state || state.draining) continue;
    const there = state.actors.find(({ name }) => name === actor);
    if (there && there.ready > 0) targets.push({ host, load, ready: there.ready, idempotent: there.idempotent });
  }
  return targets;
}
