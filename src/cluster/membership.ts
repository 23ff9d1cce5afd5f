/**
 * Who else is there: sends this host's beats, hears those of the others, judges them (policy/detector.ts) and keeps what
 * each one last said of itself (protocol/host-state.ts).
 *
 * Beats are small and lossy; state is published when it changes and asked for when a beat shows that one was missed.
 * Judges by its own clock alone, and not at all when it was late itself, or deaf: a host that does not hear its own beats
 * hears nobody's. Decides nothing about actors.
 */
import { emptyView, excuse, goneAtOnce, heard, left, tick, type Change, type DetectorView, type Judged } from '../policy/detector.js';
import type { Bus, BusMessage, BusSubscription, Clock, Log, TimerHandle } from '../ports.js';
import { decodeBeat, encodeBeat } from '../protocol/beat.js';
import type { Liveness } from '../protocol/status.js';
import { decodeHostState, encodeHostState, type HostState } from '../protocol/host-state.js';
import { lastToken, type Subjects } from '../protocol/subjects.js';

export interface MembershipOptions {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly clock: Clock;
  readonly log: Log;
  readonly id: string;
  /** Of this process. */
  readonly incarnation: string;
  readonly limits: { readonly beatMs: number; readonly suspectAfterMs: number; readonly deadAfterMs: number; readonly forgetMs: number };
  /** What this host says of itself; its version is counted here. */
  readonly state: () => Omit<HostState, 'version'>;
  readonly draining: () => boolean;
  /** Requests waiting or running here. */
  readonly load: () => number;
  /** A judgement changed. `state`: what the judged incarnation said of itself last. */
  readonly judged: (change: Change, state: HostState | undefined) => void;
  /** What others say of themselves changed, or a judgement did. */
  readonly changed: () => void;
  /** This host speaks and is not heard by itself: what is sent to it is lost. Called at every change. */
  readonly deaf: (deaf: boolean) => void;
  /** Called at every own beat that could judge. */
  readonly ticked: () => void;
  /** Highest sequence of the store's stream seen here; 0 without a store. */
  readonly storeSequence: () => number;
}

export interface Neighbour {
  readonly host: string;
  readonly incarnation: string;
  readonly liveness: Liveness;
  readonly reason: string;
  /** Requests waiting or running there, as of its last beat. */
  readonly load: number;
  /** When it last left `alive`; undefined while it is. */
  readonly silentSinceMs: number | undefined;
  /** Highest sequence of the store's stream it has seen. */
  readonly storeSequence: number;
  /** What it said last; undefined until it said anything. */
  readonly state: HostState | undefined;
}

/** Own state is published on change, at most this often. */
const STATE_EVERY_MS = 50;
/** Without an own beat for longer than this many, nobody else's silence means anything. */
const BEATS_HEARD = 1.5;
/** For a host to say its state, and for the broker to say that nobody listens. */
const ASK_MS = 1000;

export class Membership {
  #view: DetectorView = emptyView;
  readonly #states = new Map<string, HostState>();
  /** Hosts whose state is being asked for. */
  readonly #asking = new Set<string>();
  readonly #subscriptions: BusSubscription[];
  readonly #lost = new Map<string, Set<() => void>>();
  #sequence = 0;
  #version = 1;
  /** The state as it was published last. */
  #said = '';
  #downSinceMs: number | undefined;
  /** When this host heard its own beat last, or could not expect to. */
  #selfHeardMs: number;
  #deaf = false;
  readonly #stopListening: () => void;
  #stateTimer: TimerHandle | undefined;
  #beatTimer: TimerHandle;
  #closed = false;

  constructor(private readonly options: MembershipOptions) {
    const { bus, subjects, clock } = options;
    this.#subscriptions = [
      bus.subscribe(subjects.beatOfAll, (message) => this.#beatHeard(message)),
      bus.subscribe(subjects.stateOfAll, ({ subject, data }) => this.#keep(lastToken(subject), data)),
      bus.subscribe(subjects.hostState(options.id), (message) => this.#answer(message)),
    ];
    // While the own link is down nobody can be heard, and silence says nothing about the others.
    this.#stopListening = bus.onState((state) => {
      const nowMs = clock.now();
      if (state === 'up') this.#linkIsBack(nowMs);
      else this.#downSinceMs ??= nowMs;
    });
    this.#selfHeardMs = clock.now();
    if (bus.state !== 'up') this.#downSinceMs = clock.now();
    this.#say();
    this.#beat();
  }

  /** Everybody but this host, in no order. */
  members(): Neighbour[] {
    return [...this.#view.members.values()].map(({ host, incarnation, liveness, reason, load, silentSinceMs, storeSequence }) =>
      ({ host, incarnation, liveness, reason, load, silentSinceMs, storeSequence, state: this.#stateOf(host, incarnation) }));
  }

  /** This host's own state changed; the others hear of it soon, once for many changes. */
  stateChanged(): void {
    if (this.#stateTimer !== undefined || this.#closed) return;
    this.#stateTimer = this.options.clock.setTimeout(() => {
      this.#stateTimer = undefined;
      // Much that is told here is nobody else's business, and every word goes to every host.
      const said = JSON.stringify(this.options.state());
      if (said === this.#said) return;
      this.#said = said;
      this.#version++;
      this.#say();
    }, STATE_EVERY_MS);
  }

  /** Calls back once when the host turns suspect or dead; at once when it is. @returns the way to stop listening */
  onLost(host: string, lost: () => void): () => void {
    if (this.#view.members.get(host)?.liveness !== 'alive') {
      lost();
      return () => {};
    }
    const listeners = this.#lost.get(host) ?? new Set();
    this.#lost.set(host, listeners.add(lost));
    return () => void listeners.delete(lost);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { clock } = this.options;
    clock.clearTimeout(this.#beatTimer);
    clock.clearTimeout(this.#stateTimer);
    this.#stopListening();
    // Goodbye: nobody has to wait for silence.
    this.#sayAlive(true);
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }

  #linkIsBack(nowMs: number): void {
    if (this.#downSinceMs !== undefined) this.#view = excuse(this.#view, this.#downSinceMs, nowMs);
    this.#downSinceMs = undefined;
    this.#selfHeardMs = nowMs;
    // What was published meanwhile is lost; the others need not wait for the next beat.
    this.#say();
    this.#sayAlive(false);
  }

  #beat(): void {
    const { clock, limits } = this.options;
    this.#sayAlive(false);
    const dueMs = clock.now() + limits.beatMs;
    this.#beatTimer = clock.setTimeout(() => {
      const nowMs = clock.now();
      this.#judgeOwnHearing(nowMs, dueMs);
      if (this.#hears(nowMs)) {
        this.#judge(tick(this.#view, nowMs, dueMs, limits));
        this.options.ticked();
      }
      this.#beat();
    }, limits.beatMs);
  }

  #judgeOwnHearing(nowMs: number, dueMs: number): void {
    const { limits } = this.options;
    // Late itself: the beats of that time may lie in the socket, unread.
    if (nowMs - dueMs > limits.beatMs / 2) this.#selfHeardMs += nowMs - dueMs;
    if (this.#downSinceMs !== undefined || this.#deaf || nowMs - this.#selfHeardMs < limits.suspectAfterMs) return;
    this.#deaf = true;
    this.options.deaf(true);
  }

  /** Its own last beat came back: what others said would have come too. */
  #hears(nowMs: number): boolean {
    return this.#downSinceMs === undefined && nowMs - this.#selfHeardMs <= BEATS_HEARD * this.options.limits.beatMs;
  }

  #selfHeard(): void {
    const nowMs = this.options.clock.now();
    if (!this.#hears(nowMs)) this.#view = excuse(this.#view, this.#selfHeardMs, nowMs);
    if (this.#deaf) {
      this.#deaf = false;
      this.options.deaf(false);
    }
    this.#selfHeardMs = nowMs;
  }

  #sayAlive(leaving: boolean): void {
    const { bus, subjects, id, incarnation, load, draining } = this.options;
    const beat = encodeBeat({ incarnation, sequence: ++this.#sequence, load: load(), stateVersion: this.#version, storeSequence: this.options.storeSequence(), ...(draining() && { draining: true }), ...(leaving && { leaving }) });
    bus.publish(subjects.beat(id), beat);
  }

  #say(): void {
    if (this.#closed) return;
    const { bus, subjects, id, log } = this.options;
    try {
      bus.publish(subjects.state(id), this.#encodedState());
    } catch (error) {
      // Larger than any host may send, or than this broker takes: the others go on with what they heard before.
      log.log('error', 'state-not-published', { error: String(error) });
    }
  }

  #encodedState(): Uint8Array {
    // Of the process it was made for, though the host may go on as another one already.
    return encodeHostState({ ...this.options.state(), incarnation: this.options.incarnation, version: this.#version });
  }

  #beatHeard({ subject, data }: BusMessage): void {
    const host = lastToken(subject);
    const beat = decodeBeat(data);
    if (!beat) return;
    if (host === this.options.id) {
      if (beat.incarnation === this.options.incarnation) this.#selfHeard();
      return;
    }
    if (beat.leaving) return this.#judge(left(this.#view, host, beat.incarnation));
    const nowMs = this.options.clock.now();
    this.#judge(heard(this.#view, host, beat, nowMs));
    const known = this.#stateOf(host, beat.incarnation);
    if (!known || known.version < beat.stateVersion) void this.#askState(host);
  }

  #answer(message: BusMessage): void {
    if (!message.hasReply || this.#closed) return;
    try {
      message.respond(this.#encodedState());
    } catch (error) {
      this.options.log.log('error', 'state-not-published', { error: String(error) });
    }
  }

  #keep(host: string, data: Uint8Array): void {
    if (host === this.options.id) return;
    const state = decodeHostState(data);
    if (!state || state.host !== host) return;
    const known = this.#states.get(host);
    // Incarnations are ULIDs: a later process sorts after an earlier one.
    if (known && (known.incarnation > state.incarnation || (known.incarnation === state.incarnation && known.version > state.version))) return;
    this.#states.set(host, state);
    this.options.changed();
  }

  async #askState(host: string): Promise<void> {
    if (this.#asking.has(host)) return;
    this.#asking.add(host);
    const { bus, subjects } = this.options;
    try {
      const { data } = await bus.request(subjects.hostState(host), new Uint8Array(), { timeoutMs: ASK_MS });
      this.#keep(host, data);
    } catch (error) {
      if ((error as { code?: string }).code === 'NO_RESPONDERS') this.#confirmGone(host);
    } finally {
      this.#asking.delete(host);
    }
  }

  /** The broker says that nobody listens where a suspect host would: it is gone, and nobody needs to wait for longer. */
  #confirmGone(host: string): void {
    if (this.#closed || this.#view.members.get(host)?.liveness !== 'suspect') return;
    this.#judge(goneAtOnce(this.#view, host));
  }

  #judge({ view, changes }: Judged): void {
    this.#view = view;
    for (const change of changes) {
      const { host, to, incarnation } = change;
      const state = this.#states.get(host);
      const said = state?.incarnation === incarnation ? state : undefined;
      if (to !== 'alive') for (const lost of this.#takeListeners(host)) lost();
      if (to === 'gone') this.#states.delete(host);
      if (to === 'suspect') void this.#askState(host);
      this.options.judged(change, said);
    }
    if (changes.length > 0) this.options.changed();
  }

  #takeListeners(host: string): (() => void)[] {
    const listeners = [...(this.#lost.get(host) ?? [])];
    this.#lost.delete(host);
    return listeners;
  }

  #stateOf(host: string, incarnation: string): HostState | undefined {
    const state = this.#states.get(host);
    return state?.incarnation === incarnation ? state : undefined;
  }
}
