/**
 * What this host's share of the cluster's actors means for its own pools: how many replicas, whether a singleton may be
 * warm, whether requests are taken. Shares come from cluster/shares.ts, ownership from the store; this file joins them with
 * what runs here and starts nothing itself.
 */
import type { Share } from '../cluster/shares.js';
import type { ActorWish } from '../policy/cluster-placement.js';
import type { ActorSpec } from '../spec/actor.js';
import type { ActorRuntime } from './actor-runtime.js';
import type { InForce } from './apply.js';
import type { Board } from './board.js';
import type { Cluster } from './cluster.js';
import type { Following } from './following.js';
import { behind } from './host-state.js';
import type { Models } from './models.js';
import type { Placement } from './placement.js';
import { specHash, specsHash } from './spec-hash.js';

export interface HostShareOptions {
  /** Undefined on a host that is alone by construction. */
  readonly cluster: () => Cluster | undefined;
  readonly placement: Placement;
  readonly board: Board;
  readonly following: () => Following;
  readonly models: Models;
  readonly inForce: ReadonlyMap<string, InForce>;
  readonly runtimes: ReadonlyMap<string, ActorRuntime>;
  /** Of the host file. */
  readonly revision: () => number;
  readonly leaving: () => boolean;
  readonly setReachable: (actor: string, reachable: boolean) => void;
  /** What other hosts should know changed. */
  readonly changed: () => void;
  readonly failed: (actor: string, why: string) => void;
}

/** For a model of the store; it is tried again after that. */
const FETCH_MS = 120_000;

export class HostShare {
  #shares: ReadonlyMap<string, Share> = new Map();
  /** Models of the store that are here, and actors that wait for theirs. */
  readonly #fetched = new Set<string>();
  readonly #fetching = new Set<string>();

  constructor(private readonly options: HostShareOptions) {}

  /** Replicas of the actor this host shall run. */
  countOf(actor: string): number {
    return this.#shares.get(actor)?.count ?? 0;
  }

  decided(shares: ReadonlyMap<string, Share>): void {
    this.#shares = shares;
    for (const actor of shares.keys()) this.give(actor);
    this.#showBehind();
    this.options.following().look();
  }

  /** Tells placement, as far as the actor is here. */
  give(actor: string): void {
    const { cluster, placement, inForce } = this.options;
    const share = this.#shares.get(actor);
    const spec = inForce.get(actor)?.spec;
    if (!share || !spec) return;
    const { count, elsewhere } = share;
    if (count > 0 && spec.stored && !this.#fetched.has(spec.sha256!)) return void this.#fetchFor(spec);
    const where = elsewhere.length > 0 ? `its replicas are on ${elsewhere.join(', ')}` : 'no host has a place for it';
    if (!spec.singleton) return placement.setShare(actor, count, where, count === 0 && elsewhere.length === 0);
    placement.setShare(actor, this.#singletonCount(actor, count), count > 0 ? cluster()!.reasonOf(actor) : where);
  }

  /** Loaded and proven before it is owned: a take-over costs no load. Its requests and its checkpoint are the owner's alone. */
  #singletonCount(actor: string, count: number): number {
    const cluster = this.options.cluster()!;
    if (cluster.isMoving(actor)) return 0;
    const warm = count > 0 && cluster.hasStore && !this.options.leaving();
    return warm || cluster.epochOf(actor) !== undefined ? 1 : 0;
  }

  ownershipChanged(actor: string): void {
    const { board, changed } = this.options;
    const cluster = this.options.cluster()!;
    const owner = cluster.ownerOf(actor);
    board.owned(actor, owner && { owner: owner.host, epoch: owner.epoch }, cluster.epochOf(actor) === undefined ? cluster.reasonOf(actor) : undefined);
    this.give(actor);
    this.showReachable(actor);
    changed();
  }

  /** A singleton's requests are taken by its owner, and by a host that hands it over. */
  showReachable(actor: string): void {
    const { runtimes, inForce, setReachable } = this.options;
    const runtime = runtimes.get(actor);
    if (!runtime) return;
    const cluster = this.options.cluster();
    const owns = !inForce.get(actor)!.spec.singleton || !cluster || cluster.epochOf(actor) !== undefined;
    setReachable(actor, (runtime.dispatcher.takesRequests && owns) || (cluster?.isMoving(actor) ?? false));
  }

  /** What is wanted in the cluster, as far as this host knows: what the store says, and of its own file what the store does not name. */
  wishes(): ActorWish[] {
    const desired = [...this.options.following().wanted().values()].map(({ spec, hash }) => wishOf(spec, hash));
    return [...desired, ...this.#ofFile().map(({ spec, pin }) => ({ ...wishOf(spec, specHash(spec, pin)), fileOnly: true as const }))];
  }

  /** Names of actors that exist only once. */
  singletons(): ReadonlySet<string> {
    const { following, inForce } = this.options;
    const specs = [...following().wanted().values(), ...inForce.values()].map(({ spec }) => spec);
    return new Set(specs.filter(({ singleton }) => singleton).map(({ name }) => name));
  }

  /** A model of the store is here. */
  fetched(sha256: string): void {
    this.#fetched.add(sha256);
  }

  /** What the host file asks for, as it is in force. */
  showAsked(): void {
    const { board, revision } = this.options;
    board.asked(revision(), specsHash(this.#ofFile().map(({ spec, pin }) => specHash(spec, pin))));
  }

  #ofFile(): InForce[] {
    const { inForce, following } = this.options;
    return [...inForce.values()].filter(({ spec, desiredHash }) => desiredHash === undefined && !following().names(spec.name));
  }

  #showBehind(): void {
    const { board, inForce, revision } = this.options;
    const members = this.options.cluster()!.members();
    for (const [actor, { spec, pin, desiredHash }] of inForce) {
      board.isBehind(actor, desiredHash === undefined ? behind(members, actor, specHash(spec, pin), revision()) : undefined);
    }
  }

  /** Its replicas start when its model is here. */
  async #fetchFor({ name, sha256 }: ActorSpec): Promise<void> {
    const { models, board, failed, leaving, changed } = this.options;
    if (this.#fetching.has(name)) return;
    this.#fetching.add(name);
    try {
      await models.ensure(sha256!, FETCH_MS);
      this.#fetched.add(sha256!);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failed(name, why);
      board.poolChanged(name, why);
    } finally {
      this.#fetching.delete(name);
      if (!leaving()) changed(); // the next look gives the share again, or fetches anew
    }
  }
}

const wishOf = ({ name, replicas, devices, moduleName }: ActorSpec, hash: string): ActorWish => ({ name, hash, replicas, devices, ...(moduleName !== undefined && { module: moduleName }) });
