/**
 * This host's part in the cluster: its own connection for beats, states and the store; its share of what is wanted; what the
 * store says is wanted; and the singletons it owns. Everything on the connection is made anew when that closed for good;
 * the shares outlive it, because a lost broker moves nothing.
 *
 * It joins these pieces and tells the host what to run. What a share means for pools is placement's business.
 */
import { Checkpoints } from '../cluster/checkpoints.js';
import { DesiredState } from '../cluster/desired.js';
import { kickSuspect } from '../cluster/kick.js';
import { Membership, type Neighbour } from '../cluster/membership.js';
import { Ownership, type Owner, type OwnershipEvent } from '../cluster/ownership.js';
import { SharedQuarantine } from '../cluster/shared-quarantine.js';
import { Shares, type Held, type Share } from '../cluster/shares.js';
import { SETTLED_AFTER_MS } from '../policy/surplus.js';
import type { ActorWish } from '../policy/cluster-placement.js';
import type { Change } from '../policy/detector.js';
import type { Bus, Clock, Log, Objects, Store, TimerHandle } from '../ports.js';
import type { HostState } from '../protocol/host-state.js';
import type { Subjects } from '../protocol/subjects.js';
import type { CheckpointCall, CheckpointReply } from '../protocol/task.js';
import type { OwnerGate } from '../serving/owner-gate.js';
import type { HostSpec } from '../spec/host.js';
import type { Story } from './story.js';

export interface ClusterOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly story: Story;
  readonly subjects: Subjects;
  readonly id: string;
  readonly incarnation: () => string;
  readonly spec: HostSpec;
  readonly connect: () => Bus;
  readonly openStore: (bus: Bus) => { readonly store: Store; readonly objects: Objects } | undefined;
  /** As the system user; undefined: nobody is kicked by this host. */
  readonly connectSystem: (() => Promise<Bus>) | undefined;
  /** Clocks in ms that run on while the machine is suspended. */
  readonly wakefulClocksMs: () => readonly number[];
  readonly state: () => Omit<HostState, 'version'>;
  readonly leaving: () => boolean;
  /** Requests waiting or running here. */
  readonly load: () => number;
  readonly wishes: () => readonly ActorWish[];
  /** Of `wishes`: those that exist only once. */
  readonly singletons: () => ReadonlySet<string>;
  readonly held: () => ReadonlyMap<string, Held>;
  readonly decided: (shares: ReadonlyMap<string, Share>) => void;
  /** What the store wants of the cluster is another now, or was read for the first time. */
  readonly desiredChanged: () => void;
  readonly ownershipChanged: (actor: string) => void;
  readonly deaf: (deaf: boolean) => void;
  /** Ends the pool of an actor that moves away; resolves when nothing of it runs here any more. */
  readonly stopped: (actor: string) => Promise<void>;
  readonly quarantine: (fingerprint: string, leftMs: number) => void;
  readonly release: (fingerprint: string) => void;
  /** Another host declared this incarnation dead: it must go on as a new one. */
  readonly fenced: (reason: string) => void;
}

/** For the broker to answer at a start, before a host takes it that there is none for now. */
const LINK_WAIT_MS = 1000;
/** For another host to answer whether there is one. */
const CALL_MS = 500;
/** For what the others say to arrive. */
const ROUND_TRIP_MS = 200;

/** What lives as long as one control connection. */
interface Session {
  readonly members: Membership;
  readonly store: Store | undefined;
  readonly objects: Objects | undefined;
  readonly desired: DesiredState | undefined;
  readonly ownership: Ownership;
  readonly quarantine: SharedQuarantine | undefined;
  readonly checkpoints: Checkpoints;
}

export class Cluster {
  readonly #shares: Shares;
  #session: Session | undefined;
  /** Singletons this host gives away: held until they are ready elsewhere. */
  readonly #moving = new Set<string>();
  /** Loads of warm replicas that wait for their actor's checkpoint. */
  readonly #awaiting = new Map<string, number>();
  /** Singletons whose place is on another host, which is warm, and since when. */
  readonly #strayed = new Map<string, number>();
  #closed = false;
  /** Long enough on this connection to have heard of everybody. */
  #listened = false;
  #waiting: (() => void)[] = [];

  constructor(private readonly options: ClusterOptions) {
    const { clock, spec, state, wishes, held, log } = options;
    this.#shares = new Shares({
      clock, wishes, held,
      own: state,
      limits: spec,
      members: () => (this.#listened ? this.#session?.members.members() : undefined),
      decided: (shares) => this.#decided(shares),
      braked: (holds, silent, hosts) => {
        log.log('warn', 'brake', { holds, reason: holds ? `${silent} of ${hosts} hosts are silent at once: nothing is taken over for up to 60 s` : 'hosts are taken at their word again' });
      },
    });
  }

  /** Runs until `signal` aborts, or rejects when the connection closed for good. */
  async run(signal: AbortSignal, ready: () => void): Promise<void> {
    const { log, connect } = this.options;
    const bus = connect();
    const closed = new Promise<never>((_, reject) => {
      bus.onState((state, detail) => {
        if (state === 'closed') reject(new Error(`the control connection closed: ${detail}`));
      });
    });
    const again = new AbortController();
    const session = this.#open(bus, again);
    this.#session = session;
    this.#listened = false;
    ready();
    void this.#firstLook(bus, signal);
    try {
      await Promise.race([closed, aborted(signal), aborted(again.signal)]);
      if (again.signal.aborted && !signal.aborted) throw again.signal.reason;
    } finally {
      session.desired?.stop();
      session.quarantine?.close();
      // What this host owned may be taken at once, unless a run has outlasted the drain: two must not run.
      await session.ownership.close(() => this.options.load() === 0);
      this.#session = undefined;
      session.members.close();
      await session.store?.close().catch((error: unknown) => log.log('debug', 'store-not-closed', { error: String(error) }));
      await bus.close();
    }
  }

  members(): readonly Neighbour[] {
    return this.#session?.members.members() ?? [];
  }

  get objects(): Objects | undefined {
    return this.#session?.objects;
  }

  /** There is a store, or may be again. */
  get hasStore(): boolean {
    return this.#session?.store !== undefined && this.#session.store.state !== 'absent';
  }

  /** It can get what the store has. */
  get fetches(): boolean {
    return this.#session?.objects !== undefined && this.hasStore;
  }

  /** Undefined: the store was never read. */
  get desired(): DesiredState | undefined {
    return this.#session?.desired;
  }

  onLost(host: string, lost: () => void): () => void {
    return this.#session?.members.onLost(host, lost) ?? (() => {});
  }

  /** This host's own state changed. */
  changed(): void {
    this.#session?.members.stateChanged();
    this.#shares.changed();
  }

  confirmed(fingerprint: string, quarantineMs: number): void {
    this.#session?.quarantine?.confirmed(fingerprint, quarantineMs);
  }

  lifted(fingerprint: string): void {
    this.#session?.quarantine?.lifted(fingerprint);
  }

  /** Of a singleton that may be served here right now. */
  epochOf(actor: string): number | undefined {
    return this.#session?.ownership.epochOf(actor);
  }

  ownerOf(actor: string): { readonly host: string; readonly epoch: number } | undefined {
    return this.#session?.ownership.ownerOf(actor);
  }

  hasLivingOwner(actor: string): boolean {
    const owner = this.ownerOf(actor);
    return owner !== undefined && (owner.host === this.options.id || this.members().some(({ host, liveness }) => host === owner.host && liveness === 'alive'));
  }

  reasonOf(actor: string): string {
    return this.#session?.ownership.reasonOf(actor) ?? 'no connection to the store';
  }

  /** `context.checkpoint` of a module. Never rejects. */
  checkpoint(actor: string, isSingleton: boolean, call: CheckpointCall): Promise<CheckpointReply> {
    const checkpoints = this.#session?.checkpoints;
    if (!checkpoints) return Promise.resolve({ ok: false, code: 'UNAVAILABLE', message: 'no connection to the store' });
    // A warm replica's load waits here for the last word of the owner before it.
    return isSingleton && call.op === 'load' && this.epochOf(actor) === undefined ? this.#afterTakeOver(actor, call) : checkpoints.answer(actor, isSingleton, call);
  }

  /** Its load asks for the checkpoint of an actor that is not owned here yet. */
  awaitsOwnership(actor: string): boolean {
    return this.#awaiting.has(actor);
  }

  async #afterTakeOver(actor: string, call: CheckpointCall): Promise<CheckpointReply> {
    this.#awaiting.set(actor, (this.#awaiting.get(actor) ?? 0) + 1);
    this.options.ownershipChanged(actor);
    try {
      while (this.epochOf(actor) === undefined && !this.#closed && this.#session) await this.nextChange();
    } finally {
      const left = this.#awaiting.get(actor)! - 1;
      if (left > 0) this.#awaiting.set(actor, left);
      else this.#awaiting.delete(actor);
    }
    return this.#session?.checkpoints.answer(actor, true, call) ?? { ok: false, code: 'UNAVAILABLE', message: 'no connection to the store' };
  }

  /** Whether requests for a singleton should wait here: it is on its way to another host. */
  isMoving(actor: string): boolean {
    return this.#moving.has(actor);
  }

  /** Resolves at the next change of what is owned here or ready elsewhere. */
  nextChange(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /**
   * Resolves when everything this host runs is ready elsewhere, or has no other place. Singletons are handed over one after the
   * other as their new hosts are there.
   */
  async leave(): Promise<void> {
    if (!this.#shares.isOpen || !this.#session) return;
    const others = this.#session.members.members().some(({ liveness, state }) => liveness === 'alive' && state && !state.draining);
    if (!others) return;
    const left = this.#shares.left();
    await Promise.all([left, ...[...this.options.singletons()].filter((actor) => this.epochOf(actor) !== undefined).map((actor) => this.#handOver(actor, this.options.stopped))]);
  }

  close(): void {
    this.#closed = true;
    this.#shares.close();
    this.#wake();
  }

  // ------------------------------------------------------------------------------------------------------------- pieces

  #open(bus: Bus, again: AbortController): Session {
    const { clock, log, subjects, id, incarnation, spec, state, leaving, load, openStore, quarantine, release, deaf, wakefulClocksMs, desiredChanged } = this.options;
    const { store, objects } = openStore(bus) ?? {};
    const members = new Membership({
      bus, clock, log, subjects, id, incarnation: incarnation(), limits: spec, state, draining: leaving, load, deaf,
      judged: (change, said) => this.#judged(change, said),
      changed: () => {
        this.#shares.changed();
        this.#othersChanged();
      },
      ticked: () => {
        this.#shares.ticked();
        this.#goHome();
      },
      storeSequence: () => store?.lastSequence ?? 0,
    });
    const ownership = new Ownership({
      store, clock, log, id, incarnation: incarnation(), limits: spec, wakefulClocksMs,
      braked: () => this.#shares.braked,
      highestSequence: () => members.members().reduce((highest, { storeSequence }) => Math.max(highest, storeSequence), 0),
      knownEpochs: (actor) => members.members().flatMap(({ state: theirs }) => theirs?.actors.find(({ name }) => name === actor)?.epoch ?? []),
      changed: (actor) => {
        this.options.ownershipChanged(actor);
        this.#othersChanged();
      },
      fenced: (reason) => {
        this.options.fenced(reason);
        again.abort(new Error(reason));
      },
      tell: (event, actor, reason, detail) => this.#tellOwnership(event, actor, reason, detail),
    });
    return {
      members, store, objects, ownership,
      checkpoints: new Checkpoints({ store, epochOf: (actor) => ownership.epochOf(actor) }),
      desired: store && new DesiredState({ store, clock, log, resyncMs: spec.resyncMs, changed: desiredChanged }),
      quarantine: store && new SharedQuarantine({ store, clock, log, resyncMs: spec.resyncMs, quarantine, release }),
    };
  }

  #decided(shares: ReadonlyMap<string, Share>): void {
    const singletons = this.options.singletons();
    const here = this.options.leaving() ? [] : [...shares].filter(([actor, { count }]) => count > 0 && singletons.has(actor)).map(([actor]) => actor);
    this.#session?.ownership.candidates(here, singletons);
    this.options.decided(shares);
  }

  #judged({ host, incarnation, to, reason }: Change, said: HostState | undefined): void {
    const { story, clock, log, id, connectSystem } = this.options;
    if (to === 'suspect') story.tell('host-suspect', reason, { detail: { suspect: host } });
    if (to === 'gone') story.tell('host-gone', reason, { detail: { gone: host } });
    if (to === 'dead') story.tell('host-dead', reason, { detail: { dead: host } });
    const replaced = to === 'dead' && this.members().some((member) => member.host === host && member.incarnation !== incarnation);
    if ((to === 'suspect' || replaced) && connectSystem && said?.connection) {
      void kickSuspect(host, { clock, log, id, incarnation, connection: said.connection, members: () => this.members(), connect: connectSystem });
    }
  }

  #tellOwnership(event: OwnershipEvent, actor: string | undefined, reason: string, detail: string): void {
    this.options.story.tell(event, reason, { ...(actor !== undefined && { actor }), detail: { detail } });
  }

  // --------------------------------------------------------------------------------------------------------- hand-over

  async #handOver(actor: string, stopped: (actor: string) => Promise<void>): Promise<void> {
    const { clock } = this.options;
    let target: Owner | undefined;
    while (!(target = this.#targetOf(actor))) await this.nextChange();
    this.#moving.add(actor);
    await stopped(actor);
    const given = (await this.#session?.ownership.handOver(actor, target)) ?? false;
    this.options.ownershipChanged(actor);
    // Until it is ready there, requests wait here; somebody else's failure must not make them wait for ever.
    let timer: TimerHandle;
    const late = new Promise<void>((resolve) => (timer = clock.setTimeout(resolve, this.options.spec.holdMs)));
    while (given && !this.#readyAt(actor) && !(await Promise.race([this.nextChange().then(() => false), late.then(() => true)])));
    clock.clearTimeout(timer!);
    this.#moving.delete(actor);
    this.options.ownershipChanged(actor);
    this.#wake();
  }

  /** A singleton whose place has been on another host for a while goes there, as if this one drained. */
  #goHome(): void {
    const { clock, singletons, leaving, stopped } = this.options;
    const nowMs = clock.now();
    for (const actor of singletons()) {
      if (leaving() || this.epochOf(actor) === undefined || this.#moving.has(actor) || this.#targetOf(actor) === undefined) {
        this.#strayed.delete(actor);
        continue;
      }
      const sinceMs = this.#strayed.get(actor) ?? nowMs;
      this.#strayed.set(actor, sinceMs);
      if (nowMs - sinceMs >= SETTLED_AFTER_MS) void this.#handOver(actor, stopped);
    }
  }

  /** Where the actor's share is, if that host is alive and has it loaded. */
  #targetOf(actor: string): Owner | undefined {
    const [host] = this.#shares.placesOf(actor).filter((place) => place !== this.options.id);
    const member = this.members().find((known) => known.host === host && known.liveness === 'alive');
    const there = member?.state?.actors.find(({ name }) => name === actor);
    return member && (there?.warm ?? 0) > 0 ? { host: member.host, incarnation: member.incarnation } : undefined;
  }

  #readyAt(actor: string): boolean {
    return this.members().some(({ liveness, state }) => liveness === 'alive' && state?.actors.some(({ name, ready, epoch }) => name === actor && ready > 0 && epoch !== undefined));
  }

  #othersChanged(): void {
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  // -------------------------------------------------------------------------------------------------------- first look

  /**
   * Before it takes its share a host hears who else is there; else every start would load everything for half a minute.
   * Alone, or with a broker that is away, it does not wait for anybody.
   */
  async #firstLook(bus: Bus, signal: AbortSignal): Promise<void> {
    await this.#within(isUp(bus), LINK_WAIT_MS, signal);
    if (!signal.aborted && bus.state === 'up' && !(await this.#isAlone(bus))) await this.#within(undefined, this.options.spec.beatMs + ROUND_TRIP_MS, signal);
    if (signal.aborted) return;
    this.#listened = true;
    this.#shares.open();
    this.#shares.changed();
  }

  /** An answer proves nothing: it may be this host's own, which serves on while it makes itself new. */
  async #isAlone(bus: Bus): Promise<boolean> {
    try {
      await bus.request(this.options.subjects.status, new Uint8Array(), { timeoutMs: CALL_MS });
      return false;
    } catch (error) {
      return (error as { code?: string }).code === 'NO_RESPONDERS';
    }
  }

  /** Resolves with the promise, when the time is over, or when the signal aborts. */
  async #within(promise: Promise<unknown> | undefined, ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.options;
    let timer: TimerHandle;
    const over = new Promise<void>((resolve) => (timer = clock.setTimeout(resolve, ms)));
    await Promise.race([over, aborted(signal), ...(promise ? [promise] : [])]).finally(() => clock.clearTimeout(timer));
  }
}

/** What the data path asks of a singleton. */
export const ownerGate = (actor: string, cluster: Cluster): OwnerGate => ({
  epoch: () => cluster.epochOf(actor),
  reason: () => cluster.reasonOf(actor),
  hasLivingOwner: () => cluster.hasLivingOwner(actor),
  moving: () => cluster.isMoving(actor),
  nextChange: () => cluster.nextChange(),
});

export function isUp(bus: Bus): Promise<void> {
  return new Promise((resolve) => {
    if (bus.state === 'up') return resolve();
    const stop = bus.onState((state) => {
      if (state !== 'up') return;
      stop();
      resolve();
    });
  });
}

export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
