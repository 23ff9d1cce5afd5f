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

export const known: readonly Known[] = [
  {
    invariant: 'no idling',
    weakness: 'supervision/replica: freshness is judged by a late timer too, and a replica found stale is out of routing until the next look',
    explains: ({ detail }, history) => {
      const fromMs = Number(/from ([\d.]+)/.exec(detail)?.[1]);
      return history.actors.some(({ freshMs }) => freshMs < 10_000 && history.stalledMs(fromMs - 2 * freshMs, fromMs) > 0);
    },
  },
  {
    invariant: 'suspects alone',
    weakness: 'serving/dispatcher: a suspect that has a second copy on another lane when its first one dies is no suspect afterwards',
    explains: ({ detail }, history) => {
      const request = [...history.requests.values()].find(({ submitted }) => detail.split(/\W+/).includes(submitted.request) && hadTwoCopies(submitted.request, history));
      return request !== undefined;
    },
  },
];

function hadTwoCopies(id: string, { requests }: History): boolean {
  const { runs } = requests.get(id)!;
  return runs.some((run) => run.lane.died && run.lane.exited && !run.answered && runs.some((other) => other !== run && other.posted.index < run.lane.exited!.index &&
    !(other.answered && other.answered.index < run.lane.exited!.index) && !(other.lane.exited && other.lane.exited.index < run.lane.exited!.index)));
}
