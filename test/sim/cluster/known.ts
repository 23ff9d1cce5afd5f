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

export const known: readonly Known[] = [
  {
    invariant: 'answered',
    weakness: 'client/whole-call: a client that knows one host takes it that this one has its request, when the queue group gave it to another that it has never heard of',
    explains: ({ detail }, { requests }) => {
      const life = requests.get(detail.split(' ')[0]!);
      const [way, ...more] = life?.ways ?? [];
      if (!life || !way || more.length > 0) return false;
      return ![...requests.values()].some(({ asked, ends: [end] }) => asked.via === 'client' && asked.actor === life.asked.actor && end && end.index < life.asked.index && end.servedBy?.startsWith(`${way.host}/`));
    },
  },
  {
    invariant: 'planned moves',
    weakness: 'serving/router: a call that is sent on to the former owner of a singleton at the moment of its hand-over is refused there, and nobody asks its new owner',
    explains: ({ detail }) => /\(host\) ended UNAVAILABLE .* (owned by host |replica \S+ left)/.test(detail),
  },
];
