/**
 * One watch on the store: what the server tells about writes, and a re-read of everything whenever the store became ready,
 * so that an outage hides nothing for longer than it lasts. Both may tell the same change; a revision is told once.
 *
 * Deliberately has no way to say that it is blind: whoever must know reads the list.
 */
import type { BusSubscription, Clock, Log, StoreCall, StoreChange, TimerHandle } from '../ports.js';

export interface WatchSource {
  readonly clock: Clock;
  readonly log: Log;
  listen(heard: (change: StoreChange) => void): BusSubscription;
  /** All that is there, deleted keys included. */
  reread(call: StoreCall): Promise<{ readonly changes: readonly StoreChange[]; readonly lastSequence: number }>;
}

const REREAD_MS = 5000;
const RETRY_MS = 1000;

export class StoreWatch {
  /** The revision told last, by key. */
  readonly #told = new Map<string, number>();
  readonly #subscription: BusSubscription;
  #highest = 0;
  #stopped = false;
  #retry: TimerHandle;

  constructor(private readonly listener: (change: StoreChange) => void, private readonly source: WatchSource) {
    this.#subscription = source.listen((change) => this.#tell(change));
  }

  catchUp(): void {
    this.source.clock.clearTimeout(this.#retry);
    this.source.reread({ timeoutMs: REREAD_MS }).then(
      ({ changes, lastSequence }) => {
        // The store has lost writes: its new ones count from a lower number.
        if (lastSequence < this.#highest) {
          this.#told.clear();
          this.#highest = lastSequence;
        }
        for (const change of changes) this.#tell(change);
      },
      () => {
        // Whatever it was, the next time the store is ready this runs again; a slow store gets another chance before.
        if (!this.#stopped) this.#retry = this.source.clock.setTimeout(() => this.catchUp(), RETRY_MS);
      },
    );
  }

  stop(): void {
    this.#stopped = true;
    this.source.clock.clearTimeout(this.#retry);
    this.#subscription.unsubscribe();
  }

  #tell(change: StoreChange): void {
    if (this.#stopped || change.revision <= (this.#told.get(change.key) ?? 0)) return;
    this.#told.set(change.key, change.revision);
    this.#highest = Math.max(this.#highest, change.revision);
    try {
      this.listener(change);
    } catch (error) {
      this.source.log.log('error', 'store-listener-threw', { key: change.key, error });
    }
  }
}
