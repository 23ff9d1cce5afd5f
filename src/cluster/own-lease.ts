/**
 * The lease of this process: renews it, and knows at any moment whether it still holds.
 *
 * It holds from the first leader read begun after an acknowledged renewal, until `renewDeadlineMs` after the last
 * acknowledged one was *sent*, or until the machine was suspended. Once it was lost, a renewal alone does not bring it
 * back: somebody may have taken everything over meanwhile, and only a read begun after the renewal can tell. It does not
 * know what the lease is for.
 */
import { clockLeads, leaseKey, ownerMayServe, suspendedMs } from '../policy/lease.js';
import type { Clock, Store, TimerHandle } from '../ports.js';
import { leaseValue } from './ownership-ledger.js';
import type { Owner, OwnershipLimits } from './ownership-types.js';

export interface OwnLeaseOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly self: Owner;
  readonly limits: OwnershipLimits;
  readonly wakefulClocksMs: () => readonly number[];
  /** A renewal was acknowledged while the lease does not hold: time to read. */
  readonly readDue: () => void;
  /** It no longer holds. From a timer of its own, never from within a question. */
  readonly lost: () => void;
}

/** An acknowledged renewal. */
export interface Renewal {
  readonly sentAtMs: number;
  readonly leads: readonly number[];
}

export class OwnLease {
  #last: Renewal | undefined;
  #holds = false;
  #term = 0;
  #wanted = false;
  #ended = false;
  #written = false;
  /** The last renewal was not acknowledged. */
  #unanswered = false;
  #renewing: Promise<void> | undefined;
  #renewTimer: TimerHandle | undefined;
  #lossTimer: TimerHandle | undefined;

  constructor(private readonly options: OwnLeaseOptions) {}

  /** Of the last acknowledged renewal, to be kept by who begins to read. */
  get last(): Renewal | undefined {
    return this.#last;
  }

  want(wanted: boolean): void {
    if (this.#wanted === wanted || this.#ended) return;
    this.#wanted = wanted;
    this.options.clock.clearTimeout(this.#renewTimer);
    if (wanted) this.renewNow();
  }

  /** The store is back, or somebody needs the lease now. */
  renewNow(): void {
    if (!this.#wanted || this.#ended || this.#renewing) return;
    this.options.clock.clearTimeout(this.#renewTimer);
    this.#renewing = this.#renew().finally(() => (this.#renewing = undefined));
  }

  /** Asked before anything is done in its name. A lease found lost stays lost, whatever renewal is acknowledged next. */
  holds(): boolean {
    if (!this.#holds) return false;
    if (this.#inTime(this.#last)) return true;
    this.#lose();
    return false;
  }

  /** A leader read that began when `last` was what it is here found this process neither fenced nor replaced. */
  confirm(lastAtBegin: Renewal | undefined): boolean {
    if (this.holds()) return true;
    // That very renewal still counts, so nothing ran out between the two.
    if (this.#ended || !this.#inTime(lastAtBegin)) return false;
    this.#holds = true;
    this.#term++;
    this.#armLoss();
    return true;
  }

  /** Counts how often it was won: what was found under one term says nothing under the next. */
  get term(): number {
    return this.#term;
  }

  /** How long ago the last acknowledged renewal was sent. */
  ageMs(): number | undefined {
    return this.#last && this.options.clock.now() - this.#last.sentAtMs;
  }

  /** No renewal any more, and it holds no more. */
  stop(): void {
    const { clock } = this.options;
    this.#ended = true;
    this.#holds = false;
    clock.clearTimeout(this.#renewTimer);
    clock.clearTimeout(this.#lossTimer);
  }

  /** The last word, after everything was stopped. Tried a few times; without it the others wait for the lease. */
  async sayEnded(): Promise<void> {
    await this.#renewing;
    if (!this.#written) return;
    const { store, self, limits } = this.options;
    for (let tries = 0; tries < 3 && store.state === 'ready'; tries++) {
      try {
        await store.put(leaseKey(self.host, self.incarnation), leaseValue(true), { timeoutMs: callMs(limits) });
        return;
      } catch {
        // Unknown or lost: said again, it says the same.
      }
    }
  }

  async #renew(): Promise<void> {
    const { store, clock, self, limits, wakefulClocksMs } = this.options;
    let sentAtMs = clock.now();
    try {
      // Whose answers do not arrive must not go on looking alive to others: it asks first, and writes when it is answered.
      if (this.#unanswered) await store.get(leaseKey(self.host, self.incarnation), { timeoutMs: callMs(limits) });
      sentAtMs = clock.now();
      const renewal = { sentAtMs, leads: clockLeads(wakefulClocksMs(), sentAtMs) };
      this.#written = true;
      this.#unanswered = true;
      await store.put(leaseKey(self.host, self.incarnation), leaseValue(false), { timeoutMs: callMs(limits) });
      this.#unanswered = false;
      // Before the new one counts: an old one that ran out unseen ended the lease.
      const held = this.holds();
      this.#last = renewal;
      if (held) this.#armLoss();
      else if (!this.#ended) this.options.readDue();
    } catch {
      // Not acknowledged: the last one that was goes on counting down.
    }
    if (this.#wanted && !this.#ended) this.#renewTimer = clock.setTimeout(() => this.renewNow(), Math.max(0, sentAtMs + limits.renewMs - clock.now()));
  }

  #inTime(renewal: Renewal | undefined): boolean {
    const { clock, limits, wakefulClocksMs } = this.options;
    const nowMs = clock.now();
    return ownerMayServe(nowMs, renewal?.sentAtMs, limits.renewDeadlineMs, renewal ? suspendedMs(renewal.leads, clockLeads(wakefulClocksMs(), nowMs)) : NaN);
  }

  #lose(): void {
    const { clock } = this.options;
    this.#holds = false;
    clock.clearTimeout(this.#lossTimer);
    this.#lossTimer = clock.setTimeout(() => this.options.lost(), 0);
  }

  #armLoss(): void {
    const { clock, limits } = this.options;
    clock.clearTimeout(this.#lossTimer);
    this.#lossTimer = clock.setTimeout(() => {
      // However late it comes: it looks at the clock, and a lease that ran out meanwhile is lost.
      if (this.holds()) this.#armLoss();
    }, Math.max(0, (this.#last?.sentAtMs ?? 0) + limits.renewDeadlineMs - clock.now()) + 1);
  }
}

/** Of one call: short enough to try several times before the lease is lost. */
export const callMs = (limits: OwnershipLimits): number => 2 * limits.renewMs;
