/**
 * Open-loop load: requests leave at their appointed time whether or not earlier ones were answered, each once. Latency
 * counts from the appointed time, so that a generator that was held up cannot hide it.
 */
import { nowMs, pause } from './time.js';

/** `ok`, `wrong: …`, or a code: regrow's, NO_RESPONDERS, or SILENCE when nothing came at all. */
export type Outcome = string;

export interface Shot {
  /** Wall ms, as everything here. */
  readonly dueMs: number;
  doneMs: number;
  outcome: Outcome;
}

export interface OpenLoop {
  readonly shots: readonly Shot[];
  readonly startedMs: number;
  /** No new requests; resolves when the last one under way was answered. */
  stop(): Promise<void>;
}

/** @param ask the n-th request; resolves with how it ended, and never rejects */
export function openLoop(perSecond: number, ask: (n: number) => Promise<Outcome>): OpenLoop {
  const shots: Shot[] = [];
  const startedMs = nowMs();
  const underWay = new Set<Promise<void>>();
  let over = false;
  const fire = (): void => {
    const elapsedMs = nowMs() - startedMs;
    while (!over && shots.length * 1000 / perSecond <= elapsedMs) {
      const n = shots.length;
      const shot: Shot = { dueMs: startedMs + n * 1000 / perSecond, doneMs: 0, outcome: '' };
      shots.push(shot);
      const answered: Promise<void> = ask(n).then((outcome) => {
        shot.outcome = outcome;
        shot.doneMs = nowMs();
        underWay.delete(answered);
      });
      underWay.add(answered);
    }
    if (!over) setTimeout(fire, 1);
  };
  fire();
  return {
    shots,
    startedMs,
    async stop() {
      over = true;
      await Promise.all(underWay);
    },
  };
}

/** Answers per second with `callers` asking again as soon as they are answered. A request that fails ends the run. */
export async function closedLoop(callers: number, forMs: number, ask: (n: number) => Promise<Outcome>): Promise<number> {
  const sinceMs = nowMs();
  let n = 0;
  let answered = 0;
  const caller = async (): Promise<void> => {
    while (nowMs() - sinceMs < forMs) {
      const outcome = await ask(n++);
      if (outcome !== 'ok') throw new Error(`before any fault a request ended with ${outcome}`);
      answered++;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  await pause(0);
  return answered * 1000 / (nowMs() - sinceMs);
}
