/**
 * The cluster with one rule broken on purpose, one at a time; each must be caught by an invariant. As with one host
 * (../mutants.ts), a mutant is made of the compiled files, and an edit that does not match exactly once is an error.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Violation } from '../invariants.js';
import { mutated } from '../mutated.js';
import type { Caught, Mutant } from '../mutants.js';
import type { Theme } from './plan.js';

export interface ClusterMutant extends Mutant {
  /** Worlds made for it: the faults that can show it come often there. */
  readonly theme: Theme;
  /** Only these count: a mutant that is caught by accident proves nothing about its own rule. */
  readonly by: readonly string[];
}

const mutant = (name: string, theme: Theme, by: readonly string[], file: string, from: RegExp, to: string, seedsMax = 30): ClusterMutant => ({ name, theme, by, edits: [{ file, from, to }], seedsMax });

const OWNERS = ['single owner', 'self-fencing', 'one runner', 'fenced first'] as const;

export const clusterMutants: readonly ClusterMutant[] = [
  mutant('no self-fence', 'owners', OWNERS, 'policy/lease', /sentOfLastAckMs !== undefined && nowMs - sentOfLastAckMs <= renewDeadlineMs/, 'sentOfLastAckMs !== undefined'),
  mutant('deadlines from the acknowledgement', 'leases', OWNERS, 'cluster/own-lease', /this\.#last = renewal;/, 'this.#last = { ...renewal, sentAtMs: clock.now() };', 60),
  mutant('no fence', 'leases', OWNERS, 'cluster/ownership', /!\(await this\.#fence\(store, newest\.owner\)\)/, 'false', 60),
  mutant('claimed by a write that anybody may win', 'leases', OWNERS, 'cluster/ownership', /store\.create\(ownKey\(actor, epoch\)/, 'store.put(ownKey(actor, epoch)', 60),
  mutant('no brake', 'mass', ['brake'], 'policy/brake', /turned\(windowFromMs\) >= threshold/, 'false'),
  mutant('layers that multiply attempts', 'replicas', ['bounded executions'], 'serving/intake', /Math\.min\(1 \+ replaysMax, call\.attemptsLeft \?\? Infinity\)/, '1 + replaysMax'),
  mutant('the client does not count what is out', 'replicas', ['bounded executions'], 'client/whole-call', /free -= granted;/, 'free -= 0;'),
  mutant('nobody is ever suspect', 'hosts', ['one view', 'liveness', 'answered'], 'policy/detector', /liveness === 'alive' && silentMs >= limits\.suspectAfterMs/, 'false'),
  mutant('a request that is late stays where it is', 'hosts', ['answered'], 'client/whole-call', /void this\.#late\(attempt\)/, 'void 0', 60),
  mutant('leaves before the others are ready', 'moves', ['planned moves'], 'cluster/shares', /if \(count > 0 && places\.length > 0 && !this\.#fulfilled\.has\(actor\)\)/, 'if (false)', 60),
];

/** Tries seeds in order until one betrays the mutant; undefined if none does. */
export async function huntCluster(target: ClusterMutant, firstSeed = 1): Promise<Caught | undefined> {
  const folder = mutated(target);
  try {
    // Types only: the modules are the mutant's own.
    const load = (file: string): Promise<unknown> => import(pathToFileURL(join(folder, 'test', 'sim', 'cluster', `${file}.js`)).href);
    const { simulateCluster } = (await load('world')) as typeof import('./world.js');
    const { checkCluster } = (await load('invariants')) as typeof import('./invariants.js');
    for (let seed = firstSeed; seed < firstSeed + target.seedsMax; seed++) {
      const violations: Violation[] = checkCluster(await simulateCluster(seed, { theme: target.theme })).filter(({ invariant }) => target.by.includes(invariant));
      const [first] = violations;
      if (first) return { mutant: target.name, seed, by: [...new Set(violations.map(({ invariant }) => invariant))], detail: first.detail };
    }
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
