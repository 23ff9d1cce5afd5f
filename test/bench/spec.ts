/** The host every path of regrow runs: one model, its threads named, everything else as it is by default. */
import type { HostOptions } from '../../src/spec/host.js';
import { modelFile } from './models.js';
import type { RoleOrder } from './role.js';

/** Long enough for 64 callers of the slowest model to wait for each other on a slow machine. */
export const TIMEOUT_MS = 30_000;

export function hostOptions(order: RoleOrder, isolation: 'process' | 'thread'): HostOptions {
  return {
    host: 'bench',
    actors: [{
      name: order.model,
      model: modelFile(order.root, order.model),
      replicas: order.replicas,
      isolation,
      session: { intraOpThreads: order.intraOpThreads },
    }],
  };
}

/** Throws where a replica is missing: the path would be measured at half its strength. */
export function pidsOf(status: { readonly hosts: readonly { readonly actors: readonly ActorFacts[] }[] }): number[] {
  const [actor] = status.hosts[0]!.actors;
  if (actor!.ready < actor!.wanted) throw new Error(`only ${actor!.ready} of ${actor!.wanted} replicas are ready: ${actor!.reason}`);
  return [...new Set([process.pid, ...actor!.replicas.map(({ pid }) => pid)])];
}

interface ActorFacts {
  readonly ready: number;
  readonly wanted: number;
  readonly reason: string;
  readonly replicas: readonly { readonly pid: number }[];
}
