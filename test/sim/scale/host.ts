/**
 * One simulated host: the real membership and, if it looks itself, the real shares; under them a pool layer that only
 * knows how long loading takes. Its bill is paid in simulated time on its own loop.
 */
import { Membership } from '../../../src/cluster/membership.js';
import { Shares, type Held } from '../../../src/cluster/shares.js';
import type { ActorWish } from '../../../src/policy/cluster-placement.js';
import type { Change } from '../../../src/policy/detector.js';
import { subjects } from '../../../src/protocol/subjects.js';
import type { Chance } from '../chance.js';
import type { SimTime } from '../sim-time.js';
import { capacityOf, DEVICE, hostName, incarnationOf, stateOf, type Running, type Size } from './cast.js';
import type { Costs } from './costs.js';
import type { CountingBroker, Kind } from './counting-bus.js';
import { HostLoop } from './host-loop.js';

export const LIMITS = { beatMs: 500, suspectAfterMs: 1500, deadAfterMs: 3000, forgetMs: 600_000, hostsMax: 2 };

export interface HostOrder {
  readonly index: number;
  readonly life: number;
  readonly size: Size;
  readonly time: SimTime;
  readonly broker: CountingBroker;
  readonly chance: Chance;
  readonly costs: Costs;
  readonly loadMs: readonly [min: number, max: number];
  /** Replicas that load at the same time. */
  readonly startsParallelMax: number;
  readonly looks: boolean;
  readonly standsFor: () => number;
  readonly wishes: readonly ActorWish[];
  readonly running: Map<string, Running>;
  readonly judged: (host: SimHost, change: Change) => void;
  readonly looked: (host: SimHost) => void;
  /** How many more (or fewer) replicas of an actor are wanted, or ready, here. */
  readonly wanted: (actor: string, more: number) => void;
  readonly ready: (actor: string, more: number) => void;
}

const PREFIX = subjects('regrow');
const silent = { log: () => {} };

export class SimHost {
  readonly name: string;
  readonly incarnation: string;
  readonly loop: HostLoop;
  readonly members: Membership;
  readonly shares: Shares | undefined;
  looks = 0;
  #loads: string[] = [];
  #loading = 0;
  #gone = false;

  constructor(readonly order: HostOrder) {
    const { index, life, size, time, broker, costs, wishes, running } = order;
    this.name = hostName(index);
    this.incarnation = incarnationOf(index, life);
    this.loop = new HostLoop(time);
    const bus = broker.connect({ host: this.name, loop: this.loop, hears: order.looks, standsFor: order.standsFor, workMs: (kind, bytes) => this.#workMs(kind, bytes) });
    const own = (): ReturnType<typeof stateOf> => stateOf(size, this.name, this.incarnation, running.values());
    this.shares = !order.looks ? undefined : new Shares({
      clock: this.loop, own, limits: LIMITS,
      members: () => this.members.members(),
      wishes: () => wishes,
      held: () => this.#held(),
      decided: (shares) => {
        this.looks++;
        this.loop.spend(costs.lookMs);
        for (const [actor, { count }] of shares) this.setShare(actor, count);
        order.looked(this);
      },
      braked: () => {},
    });
    this.members = new Membership({
      bus, subjects: PREFIX, clock: this.loop, log: silent, id: this.name, incarnation: this.incarnation, limits: LIMITS,
      state: () => {
        this.loop.spend(costs.encodeStateMs);
        return own();
      },
      draining: () => false,
      load: () => 0,
      judged: (change) => order.judged(this, change),
      changed: () => this.shares?.changed(),
      deaf: () => {},
      ticked: () => this.shares?.ticked(),
      storeSequence: () => 0,
    });
  }

  /** As placement.setShare: the pool grows and shrinks to it. */
  setShare(actor: string, count: number): void {
    const { wishes, running } = this.order;
    const known = running.get(actor);
    const before = known?.wanted ?? 0;
    if (this.#gone || before === count) return;
    const entry = known ?? { wish: wishes.find(({ name }) => name === actor)!, wanted: 0, ready: 0 };
    running.set(actor, entry);
    entry.wanted = count;
    this.order.wanted(actor, count - before);
    for (let i = before; i < count; i++) this.#loads.push(actor);
    if (entry.ready > count) {
      this.order.ready(actor, count - entry.ready);
      entry.ready = count;
    }
    if (count === 0) running.delete(actor);
    this.#load();
    this.#changed();
  }

  get room(): number {
    let used = 0;
    for (const { wanted } of this.order.running.values()) used += wanted;
    return capacityOf(this.order.size) - used;
  }

  /** SIGKILL, and the server sees the connection end. */
  die(): void {
    const { broker, running, ready } = this.order;
    this.#gone = true;
    broker.cut(this.name);
    for (const [actor, each] of running) ready(actor, -each.ready);
  }

  #workMs(kind: Kind, bytes: number): number {
    const { costs } = this.order;
    if (kind === 'beat') return costs.beatMs;
    return kind === 'ask' ? 0 : (costs.decodeStateMs * bytes) / costs.stateBytes;
  }

  #held(): ReadonlyMap<string, Held> {
    return new Map([...this.order.running].map(([actor, { wanted }]) => [actor, { count: wanted, device: wanted > 0 ? DEVICE : undefined }]));
  }

  #load(): void {
    const { chance, loadMs, running, ready, startsParallelMax } = this.order;
    while (this.#loading < startsParallelMax && this.#loads.length > 0) {
      const actor = this.#loads.shift()!;
      this.#loading++;
      this.loop.setTimeout(() => {
        this.#loading--;
        const entry = running.get(actor);
        if (entry && entry.ready < entry.wanted) {
          entry.ready++;
          ready(actor, 1);
          this.#changed();
        }
        this.#load();
      }, chance.real(...loadMs));
    }
  }

  #changed(): void {
    this.members.stateChanged();
    this.shares?.changed();
  }
}
