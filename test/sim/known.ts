/**
 * Weaknesses of the runtime that the simulation has found and that are not mended yet, each as narrow as it can be told
 * from the log. What they explain is set aside by `check`, not forgotten: delete an entry with its cure, and the seeds
 * that showed it must stay silent.
 */
import type { History } from './history.js';
import type { Violation } from './invariants.js';

interface Known {
  readonly invariant: string;
  /** What happens, and where it comes from. */
  readonly weakness: string;
  explains(violation: Violation, history: History): boolean;
}

/** None at present. */
export const known: readonly Known[] = [];
