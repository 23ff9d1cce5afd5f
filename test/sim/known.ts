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

const stopIndex = ({ sim }: History): number => sim.entries.findIndex(({ type }) => type === 'stopAsked');

export const known: readonly Known[] = [
  {
    invariant: 'no orphans',
    weakness: 'host/pool-calls: a host that stops in the middle of an exchange leaves the time-out of PoolCalls.add armed',
    explains: ({ detail }, history) => {
      const stop = stopIndex(history);
      const exchanging = history.rolls.some(({ asked, ended }) => asked.index < stop && !(ended && ended.index < stop)) ||
        [...history.lanes.values()].some(({ isFresh, opened, ready, exited }) => isFresh && opened.index < stop && !(ready && ready.index < stop) && !(exited && exited.index < stop));
      return exchanging && /^[12] timers of the host/.test(detail);
    },
  },
  {
    invariant: 'liveness',
    weakness: 'host/placement: a replica that cannot be spawned when a last resort fills up, or when an edition is taken back, is never started again',
    explains: ({ detail }, { sim }) => {
      const last = [...detail.matchAll(/(\S+) failed: [^)]*/g)].map((match) => match[1]!.replace('(', ''));
      return last.length > 0 && last.every((replica) => {
        const exit = sim.entries.findLast((entry) => entry.type === 'told' && entry.event === 'replica-exit' && entry.replica === replica);
        return exit?.type === 'told' && exit.fields['context'] === 'start_error';
      });
    },
  },
  {
    invariant: 'no idling',
    weakness: 'supervision/replica: freshness is judged by a late timer too, and a replica found stale is out of routing until the next look',
    explains: ({ detail }, history) => {
      const fromMs = Number(/from ([\d.]+)/.exec(detail)?.[1]);
      return history.actors.some(({ freshMs }) => freshMs < 10_000 && history.stalledMs(fromMs - 2 * freshMs, fromMs) > 0);
    },
  },
  {
    invariant: 'liveness',
    weakness: 'host/placement: a pool that gives up, once rolled in and once rolled out, in one roll-out that is taken back comes back with one replica only',
    explains: ({ detail }, history) => detail.includes('(no replica)') && history.rolls.some(({ actor, asked, ended }) => ended?.change === 'refused' &&
      history.sim.entries.slice(asked.index, ended.index).some((entry) => entry.type === 'told' && entry.event === 'pool-gave-up' && entry.actor === actor)),
  },
  {
    invariant: 'no idling',
    weakness: 'serving/dispatcher: what must not run twice may wait a few runs long while a replica has nothing to do',
    explains: ({ detail }, { requests }) => requests.get(detail.split(' ')[0]!)?.submitted.idempotent === false,
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
