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
    invariant: 'planned moves',
    weakness: 'serving/router: between the stop of a singleton at its former owner and its new epoch nobody is ready and nobody owns it; a call of an embedding process is refused then instead of waiting',
    explains: ({ detail }) => /\(host\) ended UNAVAILABLE .* owned by host /.test(detail),
  },
  {
    invariant: 'planned moves',
    weakness: 'adapters/nats-bus: unsubscribing drops what the server has routed here and what is still on its way; whoever asked waits for its deadline',
    explains: ({ detail }, { requests, run }) => {
      const life = requests.get(detail.split(' ')[0]!);
      const [way] = life?.ways ?? [];
      if (!life || !way || life.runs.length > 0 || !detail.includes('DEADLINE_EXCEEDED')) return false;
      return run.entries.some((entry) => entry.type === 'hostStopAsked' && entry.host === way.host && Math.abs(entry.atMs - way.atMs) < 1000);
    },
  },
  {
    invariant: 'one outcome',
    weakness: 'serving/router: a call that looks for the owner of a singleton is not counted between two looks, so a host that drains does not wait for it',
    explains: ({ detail }, { requests, run }) => {
      const life = requests.get(detail.split(' ')[0]!);
      return life?.ends[0]?.end === 'left' && life.runs.length === 0 && run.specs[0]!.actors.find(({ name }) => name === life.asked.actor)!.singleton;
    },
  },
];
