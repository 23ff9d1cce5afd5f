/**
 * Who takes part in a run of a given size: hosts, what is wanted of them, and what each would say of itself with a given
 * set of replicas. Names and hashes are as long as real ones, because their bytes are what is measured.
 */
import type { ActorWish } from '../../../src/policy/cluster-placement.js';
import type { HostState } from '../../../src/protocol/host-state.js';
import { Chance } from '../chance.js';

export interface Size {
  readonly hosts: number;
  readonly actors: number;
  readonly replicas: number;
}

export const sizeOf = (hosts: number, actors: number, replicas: number): Size => ({ hosts, actors, replicas });
export const DEVICE = 'cpu';

export const hostName = (index: number): string => `rack-07-host-${String(index).padStart(3, '0')}`;

/** Sortable and valid; `life` counts the processes of one host. */
export const incarnationOf = (index: number, life = 0): string => `01J${String(life).padStart(7, '0')}${String(index).padStart(16, '0')}`;

/** All of the desired state: any host can take up any of them. */
export function wishesOf({ actors, replicas }: Size): readonly ActorWish[] {
  const chance = new Chance(1, 'hashes');
  const hash = (): string => Array.from({ length: 16 }, () => chance.integer(0, 15).toString(16)).join('');
  return Array.from({ length: actors }, (_, index) => ({
    name: `model-${String(index).padStart(5, '0')}`,
    hash: hash(),
    replicas: Math.floor(replicas / actors) + (index < replicas % actors ? 1 : 0),
    devices: [DEVICE],
  }));
}

/** Room for half as much again as a host has on average, so that a lost tenth fits. */
export const capacityOf = ({ hosts, replicas }: Size): number => Math.ceil((1.5 * replicas) / hosts) + 2;

export interface Running {
  readonly wish: ActorWish;
  wanted: number;
  ready: number;
}

export function stateOf(size: Size, host: string, incarnation: string, running: Iterable<Running>): Omit<HostState, 'version'> {
  const actors = [...running].map(({ wish, wanted, ready }) => ({ name: wish.name, hash: wish.hash, wanted, ready, idempotent: true, queue: 0, ...(ready > 0 && { device: DEVICE }) }));
  return {
    host,
    incarnation,
    draining: false,
    revision: 1,
    devices: [{ id: DEVICE, capacity: capacityOf(size), usable: true }],
    modules: [],
    fetches: true,
    connection: { serverId: 'NDJWE4SOUJOJT2TY5Y2YQEOAHGAK5VIGXTGKWJSFHVCII4ITI3LBHBUV', clientId: 1000 },
    paused: [],
    actors,
  };
}
