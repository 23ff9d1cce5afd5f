/**
 * Which singletons this host owns, by the store alone (semantics, 3.6 to 3.9; the rules are in policy/lease.ts).
 *
 * One pass after the other: read the leader, find what is the own, carry on what is under way, take what is free or whose
 * owner is gone. Passes come by a timer, by what the watch hears, and when the store is back; only what a pass read
 * counts. It starts and stops no pool: `changed` tells who does. It does not choose the host either: candidates come from
 * placement.
 */
import { spendTakeOver, fullRate, type TakeOverRate } from '../policy/brake.js';
import { claim, fenceKey, leaseKey, LEASE_KEPT_MS, ownersToPurge, ownKey, ROLL_BACK_BRAKE_MS, type Standing } from '../policy/lease.js';
import { StoreError, type Store, type TimerHandle } from '../ports.js';
import { callMs, OwnLease, type Renewal } from './own-lease.js';
import { Epochs } from './ownership-epochs.js';
import { fenceValue, Ledger, sameOwner, titleValue, type Title } from './ownership-ledger.js';
import type { Owned, Owner, OwnershipOptions, Singletons } from './ownership-types.js';
import { watchOwnership } from './ownership-watch.js';
import { reason, serving } from './ownership-words.js';

export type { Owned, Owner, OwnershipEvent, OwnershipLimits, OwnershipOptions, Singletons } from './ownership-types.js';

/** An epoch this host is creating. Once a try may have arrived it is tried again, the very same, until that is known. */
interface Attempt {
  readonly actor: string;
  readonly epoch: number;
  /** Undefined: nobody. */
  readonly owner: Owner | undefined;
  /** The newest epoch when it was decided on. */
  readonly basis: number;
  readonly why: string;
  /** The present epoch is served until the new one stands. */
  readonly keepsServing?: true;
  /** A try may have arrived. */
  unknown?: true;
  /** Somebody waits for the outcome. */
  settled?: (given: boolean) => void;
}

/** What was known when a pass began: what became known while it read proves nothing about what it read. */
interface Before {
  readonly beganMs: number;
  readonly lastRenewal: Renewal | undefined;
  readonly highestSeen: number;
  readonly known: ReadonlyMap<string, number>;
}

/** Keys removed in one pass. */
const PURGED_MAX = 10;

export class Ownership implements Singletons {
  readonly #self: Owner;
  readonly #store: Store | undefined;
  readonly #lease: OwnLease | undefined;
  readonly #ledger = new Ledger();
  #candidates: ReadonlySet<string> = new Set();
  /** Actors this host may be a candidate for one day: it looks at their owners' leases from now on. */
  #interest: ReadonlySet<string> = new Set();
  /** Epochs of what is owned, found under this term of the lease. */
  readonly #mine = new Map<string, number>();
  #mineTerm = 0;
  readonly #attempts = new Map<string, Attempt>();
  readonly #epochs: Epochs;
  /** Why a candidate has to wait, beside an owner's lease. */
  readonly #waits = new Map<string, string>();
  /** How the present owner came to it. */
  readonly #why = new Map<string, string>();
  readonly #told = new Map<string, { readonly text: string; readonly epoch: number | undefined }>();
  #rate: TakeOverRate;
  #rateDueMs = Infinity;
  /** In the last pass. */
  #wasBraked = false;
  #fencedBy: string | undefined;
  #stopped = false;
  #closing: Promise<void> | undefined;
  #passing: Promise<void> | undefined;
  #again = false;
  #failed = false;
  #beganMs = 0;
  #timer: TimerHandle | undefined;
  #watches: (() => void)[] = [];
  readonly #stopListening: () => void;

  constructor(private readonly options: OwnershipOptions) {
    const { store, clock, id, incarnation, limits, wakefulClocksMs = () => [clock.wallTime()] } = options;
    this.#self = { host: id, incarnation };
    this.#epochs = new Epochs(options.knownEpochs);
    this.#store = store;
    this.#rate = fullRate(limits.takeOversPerSecondMax, clock.now());
    this.#lease = store && new OwnLease({ store, clock, self: this.#self, limits, wakefulClocksMs, readDue: () => this.#poke(), lost: () => this.#leaseLost() });
    this.#stopListening = store?.onState((state) => {
      if (state === 'ready') {
        this.#lease!.renewNow();
        this.#poke();
      }
      this.#tellChanges();
    }) ?? (() => {});
  }

  candidates(actors: Iterable<string>, interested: Iterable<string> = []): void {
    if (this.#stopped) return;
    const wasReading = this.#isReading;
    this.#interest = new Set(interested);
    const before = this.#candidates;
    this.#candidates = new Set(actors);
    const isNew = this.#candidates.size !== before.size || [...this.#candidates].some((actor) => !before.has(actor));
    const isReleased = this.#wasBraked && !this.options.braked();
    // Somebody names a later epoch: whatever the store says here, it is not this host's any more.
    const isOvertaken = [...this.#mine].filter(([actor, epoch]) => !this.#attempts.has(actor) && this.#epochs.known(actor) > epoch);
    for (const [actor] of isOvertaken) this.#mine.delete(actor);
    this.#wake();
    if (isNew || isReleased || (this.#isReading && !wasReading) || isOvertaken.length > 0) this.#poke();
    this.#tellChanges();
  }

  epochOf(actor: string): number | undefined {
    return this.mayServe(actor) ? this.#mine.get(actor) : undefined;
  }

  mayServe(actor: string): boolean {
    const attempt = this.#attempts.get(actor);
    return this.#owns(actor) && (attempt === undefined || attempt.keepsServing === true);
  }

  reasonOf(actor: string): string {
    const { clock, limits } = this.options;
    const attempt = this.#attempts.get(actor);
    return reason({
      store: this.#store && { state: this.#store.state, detail: this.#store.detail },
      limits, nowMs: clock.now(), self: this.#self, fencedBy: this.#fencedBy, closed: this.#stopped,
      serving: this.epochOf(actor), newest: this.#ledger.newest(actor), lease: (owner) => this.#ledger.lease(owner), renewalAgeMs: this.#lease?.ageMs(), holds: this.#lease?.holds() ?? false,
      isCandidate: this.#candidates.has(actor), wait: this.#waits.get(actor), target: attempt && !sameOwner(attempt.owner, this.#self) ? (attempt.owner?.host ?? 'whoever wants it') : undefined,
    });
  }

  ownerOf(actor: string): Owned | undefined {
    const newest = this.#ledger.newest(actor);
    return newest?.owner && { ...newest.owner, epoch: newest.epoch };
  }

  handOver(actor: string, target: Owner): Promise<boolean> {
    return this.#give(actor, target, `handed over by ${this.#self.host}`);
  }

  release(actor: string): Promise<boolean> {
    return this.#give(actor, undefined, `given back by ${this.#self.host}`);
  }

  close(isQuiet: () => boolean = () => true): Promise<void> {
    return (this.#closing ??= this.#close(isQuiet));
  }

  async #close(isQuiet: () => boolean): Promise<void> {
    this.#stop();
    this.#tellChanges();
    await this.#passing;
    if (isQuiet()) await this.#lease?.sayEnded();
  }

  #stop(): void {
    this.#stopped = true;
    this.#lease?.stop();
    this.#mine.clear();
    this.#stopListening();
    this.#rest();
    for (const attempt of this.#attempts.values()) attempt.settled?.(false);
    this.#attempts.clear();
  }

  #give(actor: string, owner: Owner | undefined, why: string): Promise<boolean> {
    const epoch = this.epochOf(actor);
    if (epoch === undefined || this.#attempts.has(actor) || sameOwner(owner, this.#self)) return Promise.resolve(false);
    return new Promise((settled) => {
      this.#attempts.set(actor, { actor, epoch: this.#epochs.after(actor, epoch), owner, basis: epoch, why, settled });
      this.#tellChanges();
      this.#poke();
    });
  }

  #owns(actor: string): boolean {
    return this.#mine.has(actor) && this.#mineTerm === this.#lease!.term && this.#lease!.holds();
  }

  #leaseLost(): void {
    this.#mine.clear();
    for (const [actor, attempt] of this.#attempts) {
      attempt.settled?.(false);
      delete attempt.settled;
      // What may have arrived has to be settled whoever waits for it.
      if (!attempt.unknown) this.#attempts.delete(actor);
    }
    this.#tellChanges();
  }

  #fenced(by: string): void {
    if (this.#stopped) return;
    this.#fencedBy = by;
    this.#stop();
    this.#tellChanges();
    const why = `host ${by} declared this process dead, its lease had run out`;
    this.options.tell('host-fenced', undefined, why, this.#self.incarnation);
    this.options.fenced(why);
  }

  // ------------------------------------------------------------------------------------------------------ passes

  get #isActive(): boolean {
    return this.#candidates.size > 0 || this.#mine.size > 0 || this.#attempts.size > 0
      || [...this.#ledger.actors()].some((actor) => sameOwner(this.#ledger.newest(actor)?.owner, this.#self));
  }

  get #isReading(): boolean {
    return this.#interest.size > 0 || this.#isActive;
  }

  /** Renews while there is something to own, reads while there may be; otherwise the store hears nothing from here. */
  #wake(): void {
    if (this.#stopped || !this.#store) return;
    this.#lease!.want(this.#isActive);
    if (!this.#isReading) return this.#rest();
    if (this.#watches.length > 0 || this.#store.state === 'closed') return;
    this.#watches = watchOwnership(this.#store, this.#ledger, this.#self, this.options.clock, () => this.#poke());
  }

  #rest(): void {
    this.options.clock.clearTimeout(this.#timer);
    for (const stop of this.#watches) stop();
    this.#watches = [];
  }

  #poke(): void {
    if (this.#stopped || !this.#store || !this.#isReading) return;
    this.#again = true;
    this.#passing ??= this.#passes(this.#store).finally(() => {
      this.#passing = undefined;
      // Asked for by who was told last.
      if (this.#again) this.#poke();
    });
  }

  async #passes(store: Store): Promise<void> {
    const { clock, log } = this.options;
    clock.clearTimeout(this.#timer);
    while (this.#again && !this.#stopped) {
      this.#again = false;
      this.#failed = false;
      try {
        await this.#pass(store);
      } catch (error) {
        this.#failed = true;
        if (!(error instanceof StoreError)) log.log('error', 'ownership-pass-failed', { error: String(error) });
      }
    }
    this.#tellChanges();
    this.#wake();
    if (!this.#stopped && this.#isReading) this.#timer = clock.setTimeout(() => this.#poke(), this.#nextInMs());
  }

  async #pass(store: Store): Promise<void> {
    const { clock, limits } = this.options;
    const before = this.#before(store);
    this.#rateDueMs = Infinity;
    this.#wasBraked = this.options.braked();
    const call = { timeoutMs: callMs(limits) };
    const [leases, fences, titles] = await Promise.all([store.list('lease', call), store.list('fence', call), store.list('own', call)]);
    if (this.#stopped) return;
    this.#ledger.read({ leases, fences, titles }, clock.now());
    const fence = this.#ledger.fence(this.#self);
    if (fence) return this.#fenced(fence.by);
    this.#lease!.confirm(before.lastRenewal);
    const leaderSequence = Math.min(leases.lastSequence, fences.lastSequence, titles.lastSequence);
    if (this.#epochs.lookBack(this.#ledger, leaderSequence, before, clock.now())) {
      this.options.tell('store-rolled-back', undefined, 'the store has lost something', `its leader is at ${leaderSequence}, ${before.highestSeen} was seen`);
    }
    this.#findMine(before.known);
    this.#tellChanges();
    for (const attempt of [...this.#attempts.values()]) await this.#settle(store, attempt);
    for (const actor of this.#candidates) await this.#consider(store, actor, before);
    if (!this.#stopped && this.#mine.size > 0) await this.#purge(store);
  }

  #before(store: Store): Before {
    const { clock, highestSequence } = this.options;
    this.#beganMs = clock.now();
    const actors = new Set([...this.#candidates, ...this.#mine.keys(), ...this.#attempts.keys()]);
    return {
      beganMs: this.#beganMs,
      lastRenewal: this.#lease!.last,
      highestSeen: Math.max(highestSequence(), store.lastSequence),
      known: new Map([...actors].map((actor) => [actor, this.#epochs.known(actor)])),
    };
  }

  #nextInMs(): number {
    const { clock, limits } = this.options;
    const nowMs = clock.now();
    if (this.#failed || [...this.#attempts.values()].length > 0) return limits.renewMs;
    const dues = [this.#beganMs + limits.resyncMs, this.#rateDueMs];
    dues.push(nowMs + ROLL_BACK_BRAKE_MS - (this.#epochs.rolledBackForMs(nowMs) ?? 0));
    for (const actor of this.#candidates) {
      const standing = this.#standing(this.#ledger.newest(actor));
      if (!this.#mine.has(actor) && standing.kind === 'owned') dues.push(standing.lastChangeSeenMs + limits.leaseMs);
    }
    // What was due when the pass began had its turn in it.
    return Math.max(1, Math.min(...dues.filter((dueMs) => dueMs > this.#beganMs)) - nowMs);
  }

  #findMine(known: ReadonlyMap<string, number>): void {
    const holds = this.#lease!.holds();
    if (this.#mineTerm !== this.#lease!.term || !holds) this.#mine.clear();
    this.#mineTerm = this.#lease!.term;
    for (const actor of new Set([...this.#ledger.actors(), ...this.#mine.keys()])) {
      const newest = this.#ledger.newest(actor);
      const mine = this.#mine.get(actor);
      const highest = known.get(actor) ?? 0;
      this.#epochs.read(actor, newest?.epoch);
      if (holds && newest && sameOwner(newest.owner, this.#self) && newest.epoch >= highest) this.#mine.set(actor, newest.epoch);
      else if (mine !== undefined && mine >= highest && (newest?.epoch ?? 0) < mine) {
        // The store lost it, the lease held all along: nobody else can have it. Said again before somebody tries.
        if (this.#attempts.has(actor)) continue;
        const basis = newest?.epoch ?? 0;
        this.#attempts.set(actor, { actor, epoch: this.#epochs.after(actor, basis), owner: this.#self, basis, why: 'the store had lost it', keepsServing: true });
      } else this.#mine.delete(actor);
    }
  }

  // ------------------------------------------------------------------------------------------- taking and giving

  #standing(newest: Title | undefined): Standing {
    if (!newest?.owner || sameOwner(newest.owner, this.#self)) return { kind: 'free' };
    const lease = this.#ledger.lease(newest.owner)!;
    return lease.ended ? { kind: 'ended' } : { kind: 'owned', lastChangeSeenMs: lease.changedAtMs };
  }

  async #consider(store: Store, actor: string, before: Before): Promise<void> {
    if (this.#stopped) return;
    this.#waits.delete(actor);
    if (this.#mine.has(actor) || this.#attempts.has(actor)) return;
    const { clock, limits, braked } = this.options;
    const newest = this.#ledger.newest(actor);
    const standing = this.#standing(newest);
    const rolledBackForMs = this.#epochs.rolledBackForMs(clock.now());
    const verdict = claim(standing, { leaseMs: limits.leaseMs, ownLeaseValid: this.#lease!.holds(), rolledBackForMs, braked: braked() }, before.beganMs);
    if (!verdict.may) return void this.#waits.set(actor, verdict.reason);
    const basis = newest?.epoch ?? 0;
    let why = basis === 0 ? 'it had no owner yet' : 'it had been given back';
    if (standing.kind !== 'free') {
      if (!this.#spend(actor) || !(await this.#fence(store, newest!.owner!))) return;
      why = `${newest!.owner!.host} ${standing.kind === 'ended' ? 'has stopped' : 'no longer renews its lease'}`;
    }
    const attempt: Attempt = { actor, epoch: this.#epochs.after(actor, basis), owner: this.#self, basis, why };
    this.#attempts.set(actor, attempt);
    await this.#settle(store, attempt);
  }

  #spend(actor: string): boolean {
    const { clock, limits } = this.options;
    const { granted, rate } = spendTakeOver(this.#rate, limits.takeOversPerSecondMax, clock.now());
    this.#rate = rate;
    if (granted) return true;
    this.#rateDueMs = clock.now() + 1000 / limits.takeOversPerSecondMax;
    this.#waits.set(actor, `at most ${limits.takeOversPerSecondMax} singletons are taken over in a second`);
    return false;
  }

  /**
   * From then on the owner can only find itself fenced: a renewal from before the fence shows in the lease, read once
   * more here, and a later one is followed by a read, which shows the fence.
   */
  async #fence(store: Store, owner: Owner): Promise<boolean> {
    const { clock, limits } = this.options;
    const call = { timeoutMs: callMs(limits) };
    const { revision } = this.#ledger.lease(owner)!;
    try {
      await store.create(fenceKey(owner.host, owner.incarnation), fenceValue(this.#self), call);
    } catch (error) {
      if ((error as StoreError).code !== 'EXISTS') throw error;
    }
    const entry = await store.get(leaseKey(owner.host, owner.incarnation), call);
    if ((entry?.revision ?? 0) === revision) return !this.#stopped && this.#lease!.holds();
    this.#ledger.leaseHeard(owner, entry, clock.now());
    return false;
  }

  async #settle(store: Store, attempt: Attempt): Promise<void> {
    if (this.#stopped || this.#attempts.get(attempt.actor) !== attempt) return;
    const { actor, epoch, owner, basis } = attempt;
    const call = { timeoutMs: callMs(this.options.limits) };
    try {
      await store.create(ownKey(actor, epoch), titleValue(owner), call);
    } catch (error) {
      const { code } = error as StoreError;
      if (code === 'UNKNOWN') attempt.unknown = true;
      // It did not happen, so nothing binds this host to it: what it wanted for itself it decides on anew.
      if (code !== 'EXISTS' && !attempt.unknown && sameOwner(owner, this.#self)) this.#attempts.delete(actor);
      if (code !== 'EXISTS') throw error;
    }
    attempt.unknown = true;
    const { entries } = await store.list(`own.${actor}`, call);
    if (this.#stopped) return;
    this.#ledger.readActor(actor, entries, this.options.clock.now());
    if (this.#attempts.get(actor) === attempt) this.#attempts.delete(actor);
    this.#epochs.read(actor, this.#ledger.newest(actor)?.epoch);
    const title = this.#ledger.titles(actor).find((each) => each.epoch === epoch);
    const given = title !== undefined && sameOwner(title.owner, owner);
    const skipped = this.#ledger.titles(actor).filter((each) => each.epoch > basis && each.epoch < epoch).at(-1);
    if (given) this.#given(attempt, skipped);
    if (sameOwner(this.#ledger.newest(actor)?.owner, this.#self)) {
      if (this.#mineTerm === this.#lease!.term && this.#lease!.holds()) this.#mine.set(actor, this.#ledger.newest(actor)!.epoch);
    } else this.#mine.delete(actor);
    attempt.settled?.(given);
    this.#tellChanges();
  }

  #given({ actor, epoch, owner, why }: Attempt, skipped: Title | undefined): void {
    this.#why.set(actor, why);
    if (!sameOwner(owner, this.#self)) return this.options.tell('singleton-handed-over', actor, owner ? `to host ${owner.host}` : 'to whoever wants it', `epoch ${epoch}`);
    if (!skipped?.owner || sameOwner(skipped.owner, this.#self) || this.#ledger.newest(actor)?.epoch !== epoch) return;
    // Numbers were left out, and somebody who left out none took it in between: that one serves, and gets it back.
    this.#attempts.set(actor, { actor, epoch: epoch + 1, owner: skipped.owner, basis: epoch, why: 'taken by two at once', unknown: true });
    this.#again = true;
  }

  async #purge(store: Store): Promise<void> {
    const { clock, limits } = this.options;
    const titles = [...this.#mine.keys()].flatMap((actor) => ownersToPurge(this.#ledger.titles(actor).map(({ epoch }) => ownKey(actor, epoch))));
    try {
      for (const key of [...titles, ...this.#ledger.old(clock.now(), LEASE_KEPT_MS)].slice(0, PURGED_MAX)) await store.forget(key, { timeoutMs: callMs(limits) });
    } catch (error) {
      // Room is saved another time.
      if (!(error instanceof StoreError)) throw error;
    }
  }

  // ---------------------------------------------------------------------------------------------------- telling

  #tellChanges(): void {
    const actors = new Set([...this.#candidates, ...this.#mine.keys(), ...this.#ledger.actors(), ...this.#told.keys()]);
    for (const actor of actors) {
      const epoch = this.epochOf(actor);
      const owner = this.ownerOf(actor);
      const text = [
        epoch, owner?.host, owner?.incarnation, owner?.epoch, this.#store?.state, this.#attempts.has(actor), this.#candidates.has(actor),
        // Ages change all the time.
        this.#waits.get(actor)?.replace(/[\d.]+/g, ''),
      ].join(' ');
      const before = this.#told.get(actor);
      if (before?.text === text) continue;
      this.#told.set(actor, { text, epoch });
      if (epoch !== before?.epoch) this.#tellServing(actor, before?.epoch, epoch);
      this.options.changed(actor);
      if (epoch === undefined && owner === undefined && !this.#candidates.has(actor)) this.#told.delete(actor);
    }
  }

  #tellServing(actor: string, before: number | undefined, epoch: number | undefined): void {
    // Given away by this host itself: told when it is done.
    if (epoch === undefined && this.#attempts.has(actor)) return;
    const { type, why, detail } = serving(before, epoch, this.#why.get(actor), () => this.reasonOf(actor));
    if (epoch === undefined) this.#why.delete(actor);
    this.options.tell(type, actor, why, detail);
  }
}
