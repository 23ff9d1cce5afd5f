/**
 * What one seed asks of the world: which actors, which requests and which faults, when. Nothing here looks at the host;
 * a plan is the same whatever the host makes of it.
 *
 * Contents of requests are words: `echo 7` is answered, `poison 3` ends the lane that runs it, `stuck 3` never returns,
 * `error 3` is answered with a failure, `call 7` asks another actor first. Equal contents are equal requests.
 */
import type { HostOptions } from '../../src/spec/host.js';
import { answerOf, bytesOf } from './work.js';
import { Chance } from './chance.js';
import { equipped } from './plan-devices.js';

export const faultKinds = [
  'die-running', 'die-idle', 'die-spawning', 'die-loading', 'die-proving', 'freeze', 'hang', 'slow', 'load-failure', 'prove-failure', 'mass-death', 'stall',
  'poison', 'stuck',
  // Of wide plans only.
  'turn-wrong', 'turn-nan', 'roll-out', 'bad-roll-out', 'bus-outage', 're-proof', 'hang-re-proof',
  // Of plans with devices only.
  'context-poisoned', 'device-lost', 'load-fatal',
] as const;
export type FaultKind = (typeof faultKinds)[number];

const narrowKinds = [
  'die-running', 'die-idle', 'die-spawning', 'die-loading', 'die-proving', 'freeze', 'hang', 'slow', 'load-failure', 'prove-failure', 'mass-death', 'stall',
] as const;
const wideKinds = ['turn-wrong', 'turn-nan', 'roll-out', 'roll-out', 'bad-roll-out', 'bus-outage'] as const;

export interface FaultPlan {
  readonly atMs: number;
  readonly kind: Exclude<FaultKind, 'poison' | 'stuck' | 're-proof'>;
  readonly actor: string;
  /** Of `device-lost`. */
  readonly device?: string;
  /** Uniform in [0, 1): chooses among what there is to hit. */
  readonly chance: number;
  readonly durationMs: number;
  readonly factor: number;
  readonly count: number;
}

export interface RequestPlan {
  readonly atMs: number;
  readonly request: string;
  readonly actor: string;
  readonly content: string;
  readonly timeoutMs: number | undefined;
  readonly idempotent: false | undefined;
  readonly priority: 0 | 1;
  readonly attemptsLeft: number | undefined;
  readonly abortAfterMs: number | undefined;
  readonly via: 'host' | 'bus';
}

export interface ActorPlan {
  readonly name: string;
  readonly serviceMs: number;
  readonly spawnMs: number;
  readonly loadMs: number;
  readonly unloadMs: number;
  /** A wrong answer to it is found out. */
  readonly hasGolden: boolean;
  /** Whom `call` asks. */
  readonly calls: string | undefined;
}

export interface Plan {
  readonly seed: number;
  readonly host: HostOptions;
  /** Besides the CPU; empty: the host has none, and no actor asks for one. */
  readonly devices: readonly string[];
  readonly actors: readonly ActorPlan[];
  readonly requests: readonly RequestPlan[];
  readonly faults: readonly FaultPlan[];
  /** Faults and requests stop here. */
  readonly calmMs: number;
  /** The host is stopped then, in the middle of it all; undefined: after everything has healed. */
  readonly stopMs: number | undefined;
}

type ActorOptions = NonNullable<HostOptions['actors']>[number];

export function planOf(seed: number): Plan {
  const chance = new Chance(seed, 'plan');
  const names = ['ada', 'bob', 'cyd', 'dan'].slice(0, chance.integer(1, 4));
  // In a storm lanes are always busy, die all the time, and nobody gives up: what bounds the replays is their budget.
  const stormy = chance.flip(0.15);
  const made = names.map((name, index) => actorOf(chance, name, names[index + 1], stormy));
  const actors = made.map(({ plan }) => plan);
  const spanMs = chance.real(2500, 6000);
  const plan: Plan = {
    seed,
    host: {
      host: 'sim',
      actors: made.map(({ options }) => options),
      holdMs: chance.flip(0.15) ? 0 : chance.integer(200, 2500),
      startsParallelMax: chance.integer(1, 4),
      drainMs: chance.integer(300, 3000),
    },
    devices: [],
    actors,
    requests: made.flatMap(({ plan, options }) => requestsOf(chance, plan, options, spanMs, stormy ? 3 : 25)).sort((a, b) => a.atMs - b.atMs),
    faults: [...faultsOf(chance, names, spanMs, stormy), sureFault(chance, names, spanMs)],
    calmMs: spanMs,
    stopMs: chance.flip(0.2) ? chance.real(300, spanMs) : undefined,
  };
  const width = new Chance(seed, 'width');
  if (width.flip(0.04)) return crushed(width, plan);
  if (!stormy && width.flip(0.4)) return withHangs(new Chance(seed, 'hang-re-proof'), widened(width, plan));
  // A chance of its own, so that the other seeds mean what they did before there were devices.
  const devices = new Chance(seed, 'devices');
  return !stormy && devices.flip(0.25) ? equipped(devices, plan) : plan;
}

/** Replicas that go bad while they serve and are found out, editions rolled in under load, a broker that goes away. */
function widened(chance: Chance, plan: Plan): Plan {
  const proveEveryMs = chance.integer(150, 800);
  const faults = Array.from({ length: chance.integer(2, 6) }, (): FaultPlan => ({
    atMs: chance.real(0, plan.calmMs),
    kind: chance.pick(wideKinds),
    actor: chance.pick(plan.actors).name,
    chance: chance.next(),
    durationMs: chance.real(20, 900),
    factor: 1,
    count: 1,
  }));
  return {
    ...plan,
    host: { ...plan.host, actors: plan.host.actors!.map((actor) => ({ ...actor, proveEveryMs })) },
    faults: [...plan.faults, ...faults].sort((a, b) => a.atMs - b.atMs),
  };
}

/** After the last request: replicas prove themselves while they are idle. */
const IDLE_MS = 3000;

/** Replicas that hang while nobody asks them anything: only their next proof can notice. */
function withHangs(chance: Chance, plan: Plan): Plan {
  const hangs = Array.from({ length: chance.integer(1, 4) }, (): FaultPlan => ({
    atMs: chance.real(0, plan.calmMs + IDLE_MS / 2), kind: 'hang-re-proof', actor: chance.pick(plan.actors).name, chance: chance.next(), durationMs: 0, factor: 1, count: 1,
  }));
  return { ...plan, faults: [...plan.faults, ...hangs].sort((a, b) => a.atMs - b.atMs), calmMs: plan.calmMs + IDLE_MS };
}

/**
 * Few requests that take long, on many lanes that all die at once, again and again: here the host-wide replay budget is
 * what ends a request.
 */
function crushed(chance: Chance, plan: Plan): Plan {
  const [actor] = plan.actors as [ActorPlan];
  const [options] = plan.host.actors as [ActorOptions];
  const { model: _model, queue: _queue, ...rest } = options;
  const serviceMs = chance.real(900, 1500);
  const calmMs = 6000;
  const requests = Array.from({ length: chance.integer(35, 50) }, (_, index): RequestPlan => ({
    atMs: chance.real(300, calmMs - 500), request: `${actor.name}${index}`, actor: actor.name, content: `echo ${chance.integer(0, 10_000)}`, timeoutMs: undefined,
    idempotent: undefined, priority: 0, attemptsLeft: undefined, abortAfterMs: undefined, via: 'host',
  }));
  return {
    ...plan,
    host: {
      ...plan.host,
      actors: [{
        ...rest, module: `${actor.name}.js`, replicas: 4, concurrency: 4, idempotent: true, isolation: 'process', timeoutMs: 8000, timeoutMaxMs: 8000, hangMs: 7500, suspectMs: 7000,
        replaysMax: 6, startTimeoutMs: 3000,
        restart: { ...options.restart, intensity: 'infinity', consecutiveMax: 1000, backoff: { minMs: 20, maxMs: 20, factor: 1, jitter: 0 } },
      }],
    },
    actors: [{ ...actor, serviceMs, loadMs: 20, spawnMs: 5, calls: undefined }],
    requests: requests.sort((a, b) => a.atMs - b.atMs),
    faults: Array.from({ length: chance.integer(4, 6) }, (_, index): FaultPlan => ({
      atMs: 1500 + index * chance.real(600, 800), kind: 'mass-death', actor: actor.name, chance: chance.real(0, 0.5), durationMs: 0, factor: 1, count: 3,
    })),
    calmMs,
    stopMs: undefined,
  };
}

function actorOf(chance: Chance, name: string, next: string | undefined, stormy: boolean): { plan: ActorPlan; options: ActorOptions } {
  const isModel = chance.flip(0.5);
  const replicas = chance.integer(1, 4);
  const concurrency = isModel ? 1 : chance.pick([1, 1, 2, 4]);
  const idempotent = stormy || chance.flip(0.75);
  const golden = bytesOf(`golden ${chance.integer(0, 99)}`);
  const timeoutMs = stormy ? 4000 : chance.integer(500, 3000);
  const minMs = chance.integer(20, 200);
  const options: ActorOptions = {
    name,
    ...(isModel ? { model: `${name}.onnx` } : { module: `${name}.js` }),
    sha256: name.charCodeAt(0).toString(16).padStart(64, '0'),
    replicas,
    concurrency,
    idempotent,
    isolation: chance.flip(0.7) ? 'process' : 'thread',
    timeoutMs,
    timeoutMaxMs: timeoutMs + chance.integer(0, 1000),
    hangMs: stormy ? 5000 : chance.integer(400, 1500),
    replaysMax: stormy ? 3 : chance.integer(0, 3),
    quarantineMs: chance.integer(500, 6000),
    poison: { intensity: chance.integer(0, 5), periodMs: chance.integer(2000, 10_000) },
    queue: chance.flip(0.3) ? { sizeMax: chance.integer(2, 20), bytesMax: chance.integer(50, 2000) } : {},
    startTimeoutMs: stormy ? 6000 : chance.integer(1000, 3000),
    shutdownMs: chance.integer(50, 1500),
    ...(chance.flip(0.8) && {
      golden: {
        inputs: { x: { datatype: 'UINT8', shape: [golden.length], data: [...golden] } },
        outputs: { y: { datatype: 'UINT8', shape: [answerOf(name, golden).length], data: [...answerOf(name, golden)] } },
      },
    }),
    restart: {
      intensity: stormy ? 'infinity' : chance.integer(1, 8),
      periodMs: chance.integer(6000, 12_000),
      consecutiveMax: stormy ? 100 : chance.integer(2, 8),
      resetAfterMs: chance.integer(200, 3000),
      backoff: { minMs, maxMs: stormy ? minMs : chance.integer(minMs, 700), factor: chance.pick([1, 1.5, 2, 3]), jitter: chance.pick([0, 0.2, 0.5]) },
    },
  };
  const plan: ActorPlan = {
    name,
    serviceMs: stormy ? 600 : chance.pick([2, 8, 25, 60]),
    spawnMs: chance.real(2, 60),
    loadMs: chance.real(5, 250),
    unloadMs: chance.real(1, 20),
    hasGolden: options.golden !== undefined,
    calls: isModel || !chance.flip(0.7) ? undefined : next,
  };
  return { plan, options };
}

/** Open loop: they come whether or not anybody answers. */
function requestsOf(chance: Chance, actor: ActorPlan, options: ActorOptions, spanMs: number, perSecondMax: number): RequestPlan[] {
  const lanes = (options.replicas ?? 1) * (options.concurrency ?? 1);
  const perSecond = Math.min(perSecondMax, (chance.pick([0.3, 0.8, 1.3]) * lanes * 1000) / actor.serviceMs);
  const words = ['echo', 'echo', 'echo', 'echo', ...(actor.calls ? ['call', 'call'] : [])];
  const evil = chance.pick([0, 0.01, 0.03]);
  const found: RequestPlan[] = [];
  for (let atMs = chance.exponential(1000 / perSecond); atMs < spanMs; atMs += chance.exponential(1000 / perSecond)) {
    const word = chance.flip(evil) ? chance.pick(['poison', 'poison', 'stuck', 'error']) : chance.pick(words);
    found.push({
      atMs,
      request: `${actor.name}${found.length}`,
      actor: actor.name,
      content: `${word} ${word === 'echo' ? chance.integer(0, 10_000) : chance.integer(0, 5)}`,
      timeoutMs: chance.flip(0.5) ? undefined : chance.integer(20, 4000),
      idempotent: chance.flip(0.1) ? false : undefined,
      priority: chance.flip(0.2) ? 1 : 0,
      attemptsLeft: chance.flip(0.15) ? chance.integer(0, 3) : undefined,
      abortAfterMs: chance.flip(0.05) ? chance.real(0, 300) : undefined,
      via: chance.flip(0.25) ? 'bus' : 'host',
    });
  }
  return found;
}

function faultsOf(chance: Chance, names: readonly string[], spanMs: number, stormy: boolean): FaultPlan[] {
  // A few kinds often, so that they meet each other, rather than all kinds once.
  const favourites = [chance.pick(narrowKinds), chance.pick(narrowKinds), chance.pick(narrowKinds)];
  return Array.from({ length: stormy ? chance.integer(20, 40) : chance.integer(2, 10) }, () => ({
    atMs: chance.real(0, spanMs),
    kind: chance.pick<FaultPlan['kind']>(stormy ? ['die-running', 'die-running', 'mass-death', ...favourites] : [...favourites, 'die-running', 'die-idle']),
    actor: chance.pick(names),
    chance: chance.next(),
    durationMs: chance.pick([50, 300, 700, 1500, 3000]) * chance.real(0.5, 1.5),
    factor: chance.real(2, 10),
    count: chance.integer(1, 4),
  })).sort((a, b) => a.atMs - b.atMs);
}

/** The last one hits whatever is there: a run in which no fault bites proves nothing. */
function sureFault(chance: Chance, names: readonly string[], spanMs: number): FaultPlan {
  return { atMs: spanMs * 0.95, kind: 'die-idle', actor: chance.pick(names), chance: chance.next(), durationMs: 0, factor: 1, count: 1 };
}
