/**
 * What one seed asks of a cluster: which hosts with which clocks, which actors, which requests and which faults, when.
 * Nothing here looks at the hosts; a plan is the same whatever they make of it.
 */
import type { HostOptions } from '../../../src/spec/host.js';
import { Chance } from '../chance.js';
import { badVersion } from '../lane.js';
import type { ActorPlan, FaultPlan as ReplicaFault } from '../plan.js';
import { answerOf, bytesOf } from '../work.js';

export const clusterFaultKinds = [
  'crash', 'power-loss', 'freeze', 'suspend', 'stall', 'partition', 'partition-up', 'partition-down', 'data-cut', 'control-cut', 'route-cut', 'slow-line',
  'drain', 'rolling-restart', 'broker-restart', 'mass-freeze', 'client-cut', 'replica',
  // It never comes back; the others do without it.
  'loss',
  // Of the store.
  'writes-stand-still', 'store-stands-still', 'acks-lost', 'stale-reads', 'watch-blind', 'roll-back',
  // Made for leases: an owner that is back at the very moment it is taken over, or hears late that it still is one.
  'lease-edge', 'acks-late',
  // In the middle of a planned move: to who moves off, or to somebody who takes over.
  'drain-crash', 'drain-freeze', 'drain-cut', 'drain-crash-other',
] as const;
export type ClusterFaultKind = (typeof clusterFaultKinds)[number];

/**
 * Which faults come: all of them, or those of one kind of question. `moves`: what an operator does on purpose, nothing may
 * be lost by it. `hosts`: everything that befalls hosts and their lines. `owners`: singletons, and what befalls them.
 * `leases`: the narrow moments in the life of a lease. `mass`: most hosts fall silent at once.
 * `replicas`: they die and hang, and some requests never return.
 * `handover`: planned moves that go wrong. `walk`: one actor can run nowhere.
 */
export type Theme = 'any' | 'moves' | 'hosts' | 'owners' | 'leases' | 'mass' | 'replicas' | 'handover' | 'walk';

const kindsOf: Readonly<Record<Theme, readonly ClusterFaultKind[]>> = {
  any: clusterFaultKinds,
  moves: ['drain', 'rolling-restart'],
  hosts: ['crash', 'power-loss', 'freeze', 'partition', 'data-cut', 'slow-line', 'mass-freeze', 'client-cut', 'replica', 'loss'],
  owners: [
    'freeze', 'suspend', 'partition', 'partition-up', 'partition-down', 'control-cut', 'crash', 'power-loss', 'drain', 'mass-freeze', 'broker-restart', 'writes-stand-still', 'store-stands-still',
    'acks-lost', 'stale-reads', 'watch-blind', 'roll-back', 'roll-back', 'route-cut', 'lease-edge',
  ],
  leases: ['lease-edge', 'acks-late', 'watch-blind'],
  mass: ['mass-freeze'],
  replicas: ['replica', 'replica', 'replica', 'freeze', 'crash'],
  handover: ['drain-crash', 'drain-freeze', 'drain-cut', 'drain-crash-other'],
  walk: ['stall', 'replica'],
};

export interface ClusterFault {
  readonly atMs: number;
  readonly kind: ClusterFaultKind;
  /** Uniform in [0, 1): chooses the host. */
  readonly chance: number;
  readonly durationMs: number;
  /** Of kind `replica`. */
  readonly replica: ReplicaFault;
}

export interface ClusterRequest {
  readonly atMs: number;
  readonly request: string;
  readonly actor: string;
  readonly content: string;
  readonly timeoutMs: number;
  readonly idempotent: false | undefined;
  readonly via: 'client' | 'bus' | 'host';
  /** Chooses the host of `host`. */
  readonly chance: number;
}

export interface HostPlan {
  readonly id: string;
  /** Milliseconds of its own clock per true one. */
  readonly rate: number;
  readonly wallOffsetMs: number;
  readonly options: HostOptions;
}

export interface ClusterPlan {
  readonly seed: number;
  readonly theme: Theme;
  /** Only what operators do happens. */
  readonly quiet: boolean;
  /** An actor that can run nowhere; nobody asks for it. */
  readonly broken: string | undefined;
  /** After convergence the world waits until nothing is there that nobody wants. */
  readonly waitsForSurplus: boolean;
  readonly hosts: readonly HostPlan[];
  readonly clientRate: number;
  readonly actors: readonly ActorPlan[];
  readonly requests: readonly ClusterRequest[];
  readonly faults: readonly ClusterFault[];
  readonly calmMs: number;
}

/** Clocks that differ by 1.4 at most: what leases are made for. */
const RATES = [0.846, 1.18] as const;
/** As the defaults, three times as fast: a take-over fits into a run. */
const LEASE = { leaseMs: 6000, renewDeadlineMs: 4200, renewMs: 330, resyncMs: 1700 } as const;

type ActorOptions = NonNullable<HostOptions['actors']>[number];

const replicaKinds = ['die-running', 'die-idle', 'die-loading', 'die-proving', 'freeze', 'hang', 'slow', 'mass-death'] as const;

export function clusterPlanOf(seed: number, asked?: Theme): ClusterPlan {
  const chance = new Chance(seed, 'cluster');
  const theme = asked ?? chance.pick<Theme>(['any', 'any', 'any', 'moves', 'hosts', 'owners', 'owners', 'leases', 'mass', 'replicas', 'handover', 'handover', 'walk']);
  const quiet = theme === 'moves';
  const made = ['ada', 'bob', 'cyd'].slice(0, chance.integer(1, 3)).map((name) => actorOf(chance, name, theme));
  const broken = theme === 'walk' ? 'eve' : undefined;
  const actors = made.map(({ plan }) => plan);
  const wreck = broken === undefined ? [] : [actorOf(chance, broken, theme)];
  const drift = chance.flip(0.7);
  const shared = { holdMs: chance.integer(200, 2500), drainMs: chance.integer(2000, 6000), startsParallelMax: 4, beatMs: chance.pick([300, 500]), ...LEASE };
  const hosts = ['h1', 'h2', 'h3', 'h4', 'h5'].slice(0, theme === 'mass' ? 5 : chance.integer(3, 5)).map((id): HostPlan => ({
    id,
    rate: drift ? chance.real(...RATES) : 1,
    wallOffsetMs: chance.flip(0.3) ? chance.real(-60_000, 60_000) : chance.real(-50, 50),
    options: { host: id, ...shared, actors: [...made.map(({ options }) => options), ...wreck.map(({ options }) => ({ ...options, version: badVersion }))] },
  }));
  const spanMs = theme === 'leases' ? chance.real(16_000, 25_000) : theme === 'mass' || theme === 'walk' ? 14_000 : chance.real(6000, 15_000);
  return {
    seed, theme, quiet, hosts, actors: [...actors, ...wreck.map(({ plan }) => plan)],
    waitsForSurplus: chance.flip(0.12),
    broken,
    clientRate: drift ? chance.real(...RATES) : 1,
    requests: made.flatMap(({ plan, options }) => requestsOf(chance, plan, options, spanMs, theme)).sort((a, b) => a.atMs - b.atMs),
    faults: faultsOf(chance, seed, actors, spanMs, theme),
    calmMs: spanMs,
  };
}

function actorOf(chance: Chance, name: string, theme: Theme): { plan: ActorPlan; options: ActorOptions } {
  const isModel = chance.flip(0.6);
  const golden = bytesOf(`golden ${chance.integer(0, 99)}`);
  const answer = answerOf(name, golden);
  const singleton = theme === 'leases' || chance.flip(['owners', 'mass', 'handover'].includes(theme) ? 0.7 : 0.3);
  const options: ActorOptions = {
    name,
    ...(singleton && { singleton }),
    ...(isModel ? { model: `${name}.onnx` } : { module: `${name}.js`, idempotent: chance.flip(0.4) }),
    sha256: name.charCodeAt(0).toString(16).padStart(64, '0'),
    replicas: singleton ? 1 : chance.integer(1, 3),
    concurrency: isModel ? 1 : chance.pick([1, 2]),
    timeoutMs: 5000,
    timeoutMaxMs: 10_000,
    hangMs: chance.integer(1000, 2000),
    replaysMax: chance.integer(0, 2),
    startTimeoutMs: 4000,
    shutdownMs: chance.integer(100, 1000),
    golden: {
      inputs: { x: { datatype: 'UINT8', shape: [golden.length], data: [...golden] } },
      outputs: { y: { datatype: 'UINT8', shape: [answer.length], data: [...answer] } },
    },
    restart: { intensity: 20, periodMs: 20_000, consecutiveMax: 10, resetAfterMs: 1000, backoff: { minMs: 50, maxMs: 600, factor: 2, jitter: 0.2 } },
  };
  return {
    options,
    plan: { name, serviceMs: chance.pick([2, 10, 40, 150]), spawnMs: chance.real(2, 60), loadMs: chance.real(5, 400), unloadMs: chance.real(1, 20), hasGolden: true, calls: undefined },
  };
}

/** Open loop: they come whether or not anybody answers. */
function requestsOf(chance: Chance, actor: ActorPlan, options: ActorOptions, spanMs: number, theme: Theme): ClusterRequest[] {
  const perSecond = Math.min(chance.pick([2, 5, 10]), (0.3 * 1000) / actor.serviceMs);
  const found: ClusterRequest[] = [];
  for (let atMs = chance.exponential(1000 / perSecond); atMs < spanMs; atMs += chance.exponential(1000 / perSecond)) {
    const via = chance.pick(['client', 'client', 'bus', 'host'] as const);
    found.push({
      atMs,
      request: `${actor.name}${found.length}`,
      actor: actor.name,
      content: `${theme === 'replicas' && chance.flip(0.04) ? 'stuck' : 'echo'} ${chance.integer(0, 10_000)}`,
      timeoutMs: chance.flip(0.7) ? 5000 : chance.integer(300, 4000),
      idempotent: options.idempotent !== false && chance.flip(0.1) ? false : undefined,
      via,
      chance: chance.next(),
    });
  }
  return found;
}

function faultsOf(chance: Chance, seed: number, actors: readonly ActorPlan[], spanMs: number, theme: Theme): ClusterFault[] {
  const kinds = kindsOf[theme];
  // A few kinds often, so that they meet each other, rather than all kinds once.
  // One of them takes its turn with the seed, so that none is rare.
  const favourites = [kinds[seed % kinds.length]!, chance.pick(kinds), chance.pick(kinds)];
  return Array.from({ length: theme === 'mass' ? 1 : theme === 'moves' ? chance.integer(1, 2) : chance.integer(1, 7) }, (_, index): ClusterFault => ({
    // The first one early: a run in which no fault bites proves nothing.
    atMs: index === 0 ? chance.real(500, spanMs / 3) : chance.real(500, spanMs),
    kind: index === 0 ? favourites[0]! : chance.pick(favourites),
    chance: chance.next(),
    durationMs: theme === 'mass' ? chance.real(9000, 20_000) : chance.pick([300, 1000, 3000, 6000, 12_000, 25_000]) * chance.real(0.6, 1.5),
    replica: {
      atMs: 0, kind: chance.pick(replicaKinds), actor: chance.pick(actors).name, chance: chance.next(), durationMs: chance.real(200, 3000), factor: chance.real(2, 10), count: chance.integer(1, 3),
    },
  })).sort((a, b) => a.atMs - b.atMs);
}
