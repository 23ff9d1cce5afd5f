/**
 * Weaknesses of the cluster that the simulation has found and that are not mended yet, each as narrow as it can be told
 * from the log. What they explain is set aside by `checkCluster`, not forgotten: delete an entry with its cure, and the
 * seeds that showed it must stay silent.
 */
import type { Violation } from '../invariants.js';
import type { ClusterHistory } from './history.js';

interface Known {
  readonly invariant: string;
  /** What happens, and where it comes from. */
  readonly weakness: string;
  explains(violation: Violation, history: ClusterHistory): boolean;
}

export const known: readonly Known[] = [];
