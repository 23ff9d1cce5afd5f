/**
 * Looks at the memory of every cell whose actor sets `memory`, once a second, and has the ones that grew too large
 * replaced (policy/memory.ts). The numbers come with the cells' pings; nobody is asked anything here.
 */
import { YOUNG_MS, freshMemory, recycleEveryMs, tooLarge, withSample, type MemoryRecord } from '../policy/memory.js';
import type { Clock, TimerHandle } from '../ports.js';
import type { Board } from './board.js';

export interface MemoryWatchOptions {
  readonly clock: Clock;
  readonly board: Board;
  /** Replaces the replica with overlap; resolves with why it was kept. */
  readonly recycle: (actor: string, replica: string, why: string) => Promise<string | undefined>;
}

interface Watched {
  readonly memory: MemoryRecord;
  /** Age of the replica when it was first found too large: how long it lasts, which waiting for a turn does not make longer. */
  readonly foundAgeMs: number | undefined;
}

interface Brake {
  readonly lastMs: number;
  /** Recycled while young, in a row. */
  readonly young: number;
}

const LOOK_MS = 1000;

export class MemoryWatch {
  /** Per incarnation of a replica. */
  #watched = new Map<string, Watched>();
  readonly #brakes = new Map<string, Brake>();
  #timer: TimerHandle | undefined;

  constructor(private readonly options: MemoryWatchOptions) {}

  /** Call again when the actors changed: without one to watch there is no timer. */
  start(): void {
    const { clock, board } = this.options;
    clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (![...board.actors.values()].some(({ spec }) => spec.memory)) return;
    this.#timer = clock.setTimeout(() => {
      this.#look();
      this.start();
    }, LOOK_MS);
  }

  stop(): void {
    this.options.clock.clearTimeout(this.#timer);
  }

  #look(): void {
    const { clock, board } = this.options;
    const nowMs = clock.now();
    const seen = new Map<string, Watched>();
    for (const { spec, replicas } of board.actors.values()) {
      const { memory } = spec;
      if (!memory) continue;
      const bytesMax = memory.bytesMax ?? Infinity;
      for (const { id, view, memoryBytes, readySinceMs } of replicas.values()) {
        if (!view || readySinceMs === undefined) continue;
        const key = `${id}#${view.incarnation}`;
        const bytes = memoryBytes();
        const before = this.#watched.get(key);
        const record = withSample(before?.memory ?? freshMemory(nowMs), bytes, bytesMax, nowMs);
        const why = tooLarge(record, bytes, bytesMax);
        const foundAgeMs = why === undefined ? undefined : (before?.foundAgeMs ?? nowMs - readySinceMs);
        seen.set(key, { memory: record, foundAgeMs });
        if (why !== undefined) this.#recycle(spec.name, id, why, foundAgeMs!);
      }
    }
    this.#watched = seen;
  }

  #recycle(actor: string, replica: string, why: string, ageMs: number): void {
    const { clock, recycle } = this.options;
    const nowMs = clock.now();
    const { lastMs, young } = this.#brakes.get(actor) ?? { lastMs: -Infinity, young: 0 };
    if (nowMs - lastMs < recycleEveryMs(young)) return;
    this.#brakes.set(actor, { lastMs: nowMs, young: ageMs < YOUNG_MS ? young + 1 : 0 });
    void recycle(actor, replica, why);
  }
}
