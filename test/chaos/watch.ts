/**
 * What the host says of itself, asked every 50 ms over NATS like anybody could, beside what /proc says of the processes
 * it speaks of. A status that calls a replica ready whose process is dead or frozen, for longer than noticing may take,
 * is a lie, and a row with a lie has missed its aim.
 */
import type { ActorStatus, ReplicaStatus } from '../../src/protocol/status.js';
import type { Caller } from './caller.js';
import { nowMs, pause, processState } from './time.js';

const EVERY_MS = 50;
/** How long a status may go on calling ready what is dead or frozen. */
const DEAD_NOTICED_MS = 100;
const FROZEN_NOTICED_MS = 700;

export interface Sample {
  readonly atMs: number;
  /** Undefined when nobody answered. */
  readonly actor: ActorStatus | undefined;
}

export interface Watch {
  readonly samples: readonly Sample[];
  readonly lies: readonly string[];
  latest(): ActorStatus | undefined;
  /** From now on a status that still calls this thread ready lies. */
  threadEnded(pid: number, threadId: number, atMs: number): void;
  stop(): Promise<void>;
}

export function startWatch(caller: Caller, actorName: string): Watch {
  const samples: Sample[] = [];
  const lies: string[] = [];
  const sick = new Map<number, { readonly how: 'dead' | 'frozen'; readonly sinceMs: number }>();
  const pids = new Set<number>();
  const endedThreads: { readonly pid: number; readonly threadId: number; readonly atMs: number }[] = [];
  let over = false;
  const look = setInterval(() => {
    for (const pid of pids) {
      const state = processState(pid);
      const how = state === undefined || state === 'Z' || state === 'X' ? 'dead' : state === 'T' ? 'frozen' : undefined;
      if (how === undefined) sick.delete(pid);
      else if (sick.get(pid)?.how !== how) sick.set(pid, { how, sinceMs: nowMs() });
    }
  }, 5);
  const check = (replica: ReplicaStatus, askedMs: number): void => {
    if (replica.phase !== 'ready') return;
    pids.add(replica.pid);
    const known = sick.get(replica.pid);
    const allowedMs = known?.how === 'frozen' ? FROZEN_NOTICED_MS : DEAD_NOTICED_MS;
    if (known && askedMs - known.sinceMs > allowedMs) lies.push(`${replica.id}#${replica.incarnation} was called ready ${Math.round(askedMs - known.sinceMs)} ms after its process was ${known.how}`);
    const gone = endedThreads.find(({ pid, threadId }) => pid === replica.pid && threadId === replica.threadId);
    if (gone && askedMs - gone.atMs > DEAD_NOTICED_MS) lies.push(`${replica.id}#${replica.incarnation} was called ready ${Math.round(askedMs - gone.atMs)} ms after its thread ended`);
  };
  const sample = async (): Promise<void> => {
    const askedMs = nowMs();
    const document = await caller.status().catch(() => undefined);
    const actor = document?.hosts[0]?.actors.find(({ name }) => name === actorName);
    samples.push({ atMs: askedMs, actor });
    if (!actor) return;
    const ready = actor.replicas.filter(({ phase }) => phase === 'ready').length;
    if (actor.ready !== ready || (actor.state !== 'down') !== ready > 0) lies.push(`${actor.state} with ${actor.ready} ready, but ${ready} of its replicas are`);
    for (const replica of actor.replicas) check(replica, askedMs);
  };
  const running = (async () => {
    while (!over) {
      const nextMs = nowMs() + EVERY_MS;
      await sample();
      await pause(nextMs - nowMs());
    }
  })();
  return {
    samples,
    lies,
    latest: () => samples.at(-1)?.actor,
    threadEnded: (pid, threadId, atMs) => void endedThreads.push({ pid, threadId, atMs }),
    async stop() {
      over = true;
      await running;
      clearInterval(look);
    },
  };
}

/** The story of a row in one line: `2/2 ready, +8 1/2 degraded, +430 2/2 ready`; times in ms from the fault. */
export function toldBy(samples: readonly Sample[], faultMs: number): string {
  const parts: string[] = [];
  let before = '';
  for (const { atMs, actor } of samples) {
    const suspect = actor?.replicas.filter(({ phase }) => phase === 'suspect').length ?? 0;
    const now = actor ? `${actor.ready}/${actor.wanted} ${actor.state}${suspect > 0 ? `, ${suspect} suspect` : ''}` : 'no answer';
    if (now === before) continue;
    before = now;
    parts.push(atMs < faultMs ? now : `+${Math.round(atMs - faultMs)} ${now}`);
  }
  return parts.length > 9 ? `${parts.slice(0, 5).join('; ')}; … ${parts.length - 8} more; ${parts.slice(-3).join('; ')}` : parts.join('; ');
}
