/**
 * Follows the cluster's desired state on this host: what the store wants beats the host file for the actors it names. An
 * actor of the store has a runtime here only while this host has a share of it; its model is fetched before it is added or
 * rolled in. What cannot be fetched, or does not prove, is left as it was, said, and tried again.
 *
 * It decides which step an actor needs next; the host takes the steps, one at a time.
 */
import { createHash } from 'node:crypto';
import type { DesiredActor } from '../cluster/desired.js';
import type { Clock, Log, TimerHandle } from '../ports.js';
import { canonical } from '../protocol/desired.js';
import type { ActorSpec } from '../spec/actor.js';
import { desiredSpec } from '../spec/desired.js';
import type { InForce } from './apply.js';

export interface WantedActor {
  readonly spec: ActorSpec;
  /** Of the document: equal on every host. */
  readonly hash: string;
}

export interface FollowingOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly cores: number;
  readonly modules: Readonly<Record<string, string>>;
  readonly modelFile: (sha256: string) => string;
  /** Rejects when the model could not be fetched within that time. */
  readonly ensureModel: (sha256: string, timeoutMs: number) => Promise<void>;
  readonly inForce: (actor: string) => InForce | undefined;
  /** What this host's own file says of the actor. */
  readonly fileSpec: (actor: string) => ActorSpec | undefined;
  /** Undefined: not known, so nothing is changed. */
  readonly desired: () => ReadonlyMap<string, DesiredActor> | undefined;
  readonly share: (actor: string) => number;
  /** One step after the other, over all actors. */
  readonly inOrder: <T>(step: () => Promise<T>) => Promise<T>;
  readonly steps: {
    readonly add: (spec: ActorSpec, desiredHash?: string) => Promise<void>;
    /** Undefined when done, else why it was stopped. */
    readonly roll: (spec: ActorSpec, desiredHash?: string) => Promise<string | undefined>;
    readonly withdraw: (actor: string) => Promise<void>;
  };
  /** What other hosts should know changed. */
  readonly changed: () => void;
  readonly tell: (actor: string, reason: string) => void;
}

const FETCH_MS = 120_000;
/** Until what did not work is tried again. */
const AGAIN_MS = 60_000;

interface Failure {
  readonly hash: string;
  readonly untilMs: number;
  readonly reason: string;
  readonly devices: readonly string[];
}

export class Following {
  #wanted: ReadonlyMap<string, WantedActor> = new Map();
  readonly #underWay = new Set<string>();
  readonly #failures = new Map<string, Failure>();
  #timer: TimerHandle | undefined;
  #stopped = false;

  constructor(private readonly options: FollowingOptions) {}

  /** The store's wishes, as this host would run them. */
  wanted(): ReadonlyMap<string, WantedActor> {
    return this.#wanted;
  }

  /** Whether the store decides about the actor. */
  names(actor: string): boolean {
    return this.#wanted.has(actor);
  }

  /** Placements this host cannot take for now: for the others, as if a pool had given up there. */
  unable(): { readonly actor: string; readonly device: string; readonly reason: string }[] {
    const nowMs = this.options.clock.now();
    return [...this.#failures].flatMap(([actor, { untilMs, reason, devices }]) => (untilMs > nowMs ? devices.map((device) => ({ actor, device, reason })) : []));
  }

  /** The desired state is another. */
  read(): void {
    const { desired, cores, modules, modelFile, log } = this.options;
    const actors = desired();
    if (!actors) return;
    const wanted = new Map<string, WantedActor>();
    for (const [name, { document }] of actors) {
      const parsed = desiredSpec(document, { cores, modules, modelFile });
      if (parsed.ok) wanted.set(name, { spec: parsed.spec, hash: createHash('sha256').update(canonical(document)).digest('hex').slice(0, 16) });
      else log.log('warn', 'desired-refused', { actor: name, reason: parsed.reason });
    }
    this.#wanted = wanted;
    for (const name of [...this.#failures.keys()]) if (wanted.get(name)?.hash !== this.#failures.get(name)!.hash) this.#failures.delete(name);
    this.look();
  }

  /** Something that a step may follow from is different: a share, or what is in force. */
  look(): void {
    const { inForce, share, clock } = this.options;
    if (this.#stopped) return;
    const nowMs = clock.now();
    for (const [actor, want] of this.#wanted) {
      const current = inForce(actor);
      const isHere = current?.desiredHash === want.hash;
      const wantedHere = share(actor) > 0;
      const failed = this.#failures.get(actor);
      if (failed && failed.untilMs > nowMs) continue;
      if ((!isHere && (wantedHere || current)) || (isHere && !wantedHere)) void this.#follow(actor);
    }
    for (const actor of this.#left()) void this.#follow(actor);
  }

  stop(): void {
    this.#stopped = true;
    this.options.clock.clearTimeout(this.#timer);
  }

  /** Actors the store wanted once and wants no more. */
  #left(): string[] {
    return this.options.desired() === undefined ? [] : [...this.#ours].filter((actor) => !this.#wanted.has(actor));
  }

  /** Actors that were brought here by the store. */
  readonly #ours = new Set<string>();

  async #follow(actor: string): Promise<void> {
    if (this.#underWay.has(actor)) return;
    this.#underWay.add(actor);
    try {
      const want = this.#wanted.get(actor);
      if (want && this.options.share(actor) > 0 && want.spec.stored) await this.options.ensureModel(want.spec.sha256!, FETCH_MS);
      await this.options.inOrder(() => this.#step(actor));
    } catch (error) {
      this.#failed(actor, error instanceof Error ? error.message : String(error));
    } finally {
      this.#underWay.delete(actor);
      this.options.changed();
    }
  }

  async #step(actor: string): Promise<void> {
    const { inForce, fileSpec, share, steps, tell } = this.options;
    if (this.#stopped) return;
    const want = this.#wanted.get(actor);
    const current = inForce(actor);
    if (!want) {
      this.#ours.delete(actor);
      if (current?.desiredHash === undefined) return;
      await steps.withdraw(actor);
      const file = fileSpec(actor);
      if (file) await steps.add(file);
      tell(actor, file ? 'removed from the desired state: as the host file says again' : 'removed from the desired state');
    } else if (share(actor) === 0) {
      if (current) await steps.withdraw(actor);
    } else if (!current) {
      await steps.add(want.spec, want.hash);
      this.#ours.add(actor);
      tell(actor, 'added: as the desired state says');
    } else if (current.desiredHash !== want.hash) {
      const stopped = await steps.roll(want.spec, want.hash);
      if (stopped !== undefined) return this.#failed(actor, `${stopped}; the old version serves on`);
      this.#ours.add(actor);
      tell(actor, 'rolled: as the desired state says');
    }
  }

  #failed(actor: string, reason: string): void {
    const { clock, tell, log } = this.options;
    const want = this.#wanted.get(actor);
    if (!want || this.#stopped) return;
    log.log('warn', 'desired-not-followed', { actor, reason });
    tell(actor, `refused: ${reason}`);
    this.#failures.set(actor, { hash: want.hash, untilMs: clock.now() + AGAIN_MS, reason, devices: this.options.inForce(actor) ? [] : want.spec.devices });
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => {
      this.options.changed();
      this.look();
    }, AGAIN_MS + 1);
  }
}
