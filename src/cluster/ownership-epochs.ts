/**
 * Which epochs were ever seen, whether the store lost some, and which one comes next (semantics, 3.9).
 *
 * Keeps numbers only; who owns what is the ledger's.
 */
import { nextEpoch, ROLL_BACK_BRAKE_MS, rolledBack } from '../policy/lease.js';
import type { Ledger } from './ownership-ledger.js';

export class Epochs {
  /** Highest per actor this process ever read. */
  readonly #highest = new Map<string, number>();
  /** Per actor the roll-back after which numbers were left out. */
  readonly #gaps = new Map<string, number>();
  #rolledBackSinceMs: number | undefined;
  #rollBacks = 0;

  /** @param elsewhere every epoch of the actor that anybody else named */
  constructor(private readonly elsewhere: (actor: string) => Iterable<number>) {}

  known(actor: string): number {
    return Math.max(0, this.#highest.get(actor) ?? 0, ...this.elsewhere(actor));
  }

  read(actor: string, epoch: number | undefined): void {
    this.#highest.set(actor, Math.max(this.#highest.get(actor) ?? 0, epoch ?? 0));
  }

  /** Numbers are left out once per actor and roll-back. */
  after(actor: string, newest: number): number {
    const known = this.known(actor);
    const leavesGap = known > newest || (this.#rolledBackSinceMs !== undefined && this.#gaps.get(actor) !== this.#rollBacks);
    if (leavesGap) this.#gaps.set(actor, this.#rollBacks);
    return nextEpoch([known, newest], leavesGap);
  }

  /**
   * @param known epochs of the actors that matter, and `highestSeen` the store's sequence, both from before it was read
   * @returns true when it is seen to have lost something, once for each time
   */
  lookBack(ledger: Ledger, leaderSequence: number, { highestSeen, known }: { readonly highestSeen: number; readonly known: ReadonlyMap<string, number> }, nowMs: number): boolean {
    const epochs = [...known].map(([actor, epoch]) => ({ newest: ledger.newest(actor)?.epoch ?? 0, known: epoch }));
    if (!rolledBack({ highestSeen, leaderSequence, epochs })) {
      if (this.#rolledBackSinceMs !== undefined && nowMs - this.#rolledBackSinceMs >= ROLL_BACK_BRAKE_MS) this.#rolledBackSinceMs = undefined;
      return false;
    }
    if (this.#rolledBackSinceMs !== undefined) return false;
    this.#rolledBackSinceMs = nowMs;
    this.#rollBacks++;
    return true;
  }

  rolledBackForMs(nowMs: number): number | undefined {
    return this.#rolledBackSinceMs === undefined ? undefined : nowMs - this.#rolledBackSinceMs;
  }
}
