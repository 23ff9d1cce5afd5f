/** What a row needs before anything happens: brokers, hosts with all replicas ready, somebody who watches, and callers. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect as connectNats } from '@nats-io/transport-node';
import type { HostStatus } from '../../../src/protocol/status.js';
import type { HostOptions } from '../../../src/spec/host.js';
import { actorOf, type Subject } from '../subject.js';
import { nowMs, pause, until } from '../time.js';
import type { Shot } from '../load.js';
import { clientCaller, plainCaller, singletonCaller, SINGLETON_BUDGET_MS, type ClusterCaller } from './callers.js';
import { hostOf, type ClusterHost } from './hosts.js';
import { leaderOf, startBrokers, type Brokers } from './nats.js';
import type { Told } from './owners.js';
import { startProxy, type Proxy } from './proxy.js';
import type { ClusterRow, ClusterStage } from './row.js';
import { startClusterWatch, toldOf } from './watch.js';

/** Replicas of the replicated actor in the whole cluster, whatever the number of hosts. */
export const WANTED = 3;
const PER_SECOND = 40;
const SINGLETON_PER_SECOND = 8;
/** Beside the load, from the client and from the plain one each, this long before the fault. */
const SALVO = 24;
const SALVO_LEAD_MS = 5;
/** Both sides compile, connections are made, and hosts hear of each other. */
const WARM_MS = 1500;
/** A start may leave more replicas than wanted, until everybody knows everybody; they go after 30 s. */
const SURPLUS_MS = 45_000;
/** Longer than one replica loads after another. */
const SETTLED_MS = 3000;
/** A take-over in the quick form does not take 18 s. */
export const QUICK_LEASE = { leaseMs: 4500, renewDeadlineMs: 3000, renewMs: 250 } as const;

export interface StageWish {
  readonly subject: Subject;
  readonly folder: string;
  readonly quick: boolean;
  readonly progress: (line: string) => void;
  /** Called at the end, whatever became of the row. */
  readonly keep: (hosts: ClusterStage['hosts']) => void;
  /** What is to be done at the end, last first; also when this rejects. */
  readonly closing: (() => unknown)[];
}

export interface OpenStage {
  readonly stage: ClusterStage;
  readonly callers: readonly ClusterCaller[];
  /** Of the salvos. */
  readonly salvos: ReadonlyMap<ClusterCaller, readonly Shot[]>;
  /** Answers of the singleton. */
  readonly told: readonly Told[];
  /** Every request of a salvo has its answer. */
  settled(): Promise<unknown>;
}

export async function openStage(row: ClusterRow, { subject, folder, quick, progress, keep, closing }: StageWish): Promise<OpenStage> {
  const brokers = await startBrokers(row.servers);
  closing.push(() => brokers.remove());
  const ids = 'abcde'.slice(0, row.hosts ?? 3).split('');
  const proxies = new Map<string, Proxy>();
  if (row.proxied) for (const id of ids) proxies.set(id, await startProxy(brokers.servers[0]!.port));
  for (const proxy of proxies.values()) closing.push(() => proxy.close());
  const actors = [actorOf(subject, { replicas: WANTED }), counterActor, ...(row.deadly ? [deadlyActor(folder)] : [])] as HostOptions['actors'];
  const hosts = new Map(ids.map((id, index) => {
    const servers = proxies.get(id)?.url ?? brokers.urls[index % brokers.urls.length]!;
    const nats = { servers, ...brokers.host, ...(row.kick && { system: brokers.system }) };
    return [id, hostOf({ host: id, nats, actors, ...(quick && QUICK_LEASE) }, folder)] as const;
  }));
  const { user, pass, inboxPrefix } = brokers.host;
  const eyes = await connectNats({ servers: [...brokers.urls], user, pass, inboxPrefix, maxReconnectAttempts: -1, reconnectTimeWait: 100, reconnectJitter: 0 });
  closing.push(() => eyes.close());
  const watch = startClusterWatch(eyes, ids);
  closing.push(() => watch.stop());
  closing.push(() => Promise.all([...hosts.values()].map((host) => host.remove())), () => keep(hosts));
  await startAll(hosts);
  await until(() => watch.ready(subject.name) >= WANTED && watch.owner(counterActor.name), 'all replicas ready and the singleton owned', 90_000);
  if (!quick) await untilSettled(() => watch.ready(subject.name) === WANTED).catch(() => progress(`${row.name}: begins with ${toldOf(watch.timeline(subject.name), nowMs())}`));

  const told: Told[] = [];
  const salvos = new Map<ClusterCaller, Shot[]>();
  const answered: Promise<void>[] = [];
  const stage: ClusterStage = {
    quick, folder, brokers, ids, hosts, proxies, watch, wanted: WANTED,
    victim: watch.owner(counterActor.name)!,
    leader: () => leaderOf(eyes, 'KV_regrow'),
    pidsOf: async (host, name) => {
      const status = await eyes.request(`regrow.status.${host}`, '', { timeout: 2000 });
      return status.json<HostStatus>().actors.filter((actor) => actor.name === name).flatMap(({ replicas }) => replicas.map(({ pid }) => pid));
    },
    salvo: async () => {
      for (const [caller, shots] of salvos) for (let n = 0; n < SALVO; n++) answered.push(shoot(caller, n, shots));
      await pause(SALVO_LEAD_MS);
    },
  };
  const callers = await openCallers(brokers, await row.callersOff?.(stage), subject, told);
  for (const caller of callers) {
    closing.push(() => caller.close());
    if (caller.name !== 'singleton') salvos.set(caller, []);
  }
  await warm(callers);
  return { stage, callers, salvos, told, settled: () => Promise.all(answered) };
}

/** True for `SETTLED_MS` without a break. */
async function untilSettled(isRight: () => boolean): Promise<void> {
  let sinceMs = nowMs();
  await until(() => {
    if (!isRight()) sinceMs = nowMs();
    return nowMs() - sinceMs >= SETTLED_MS;
  }, 'as many replicas as wanted and no more', SURPLUS_MS);
}

/** All at once, as after a power cut; one that cannot start ends the row. */
async function startAll(hosts: ReadonlyMap<string, ClusterHost>): Promise<void> {
  await Promise.all([...hosts.values()].map((host) => host.start()));
}

/** @param off index of the server they keep off; it may still be told to them, as to any client */
function openCallers({ urls }: Brokers, off: number | undefined, subject: Subject, told: Told[]): Promise<readonly ClusterCaller[]> {
  const servers = urls.filter((_, index) => index !== off);
  return Promise.all([clientCaller(servers, subject, PER_SECOND), plainCaller(servers, subject, PER_SECOND), singletonCaller(servers, counterActor.name, SINGLETON_PER_SECOND, told)]);
}

async function shoot(caller: ClusterCaller, n: number, shots: Shot[]): Promise<void> {
  const shot: Shot = { dueMs: nowMs(), doneMs: 0, outcome: '' };
  shots.push(shot);
  shot.outcome = await caller.ask(n);
  shot.doneMs = nowMs();
}

async function warm(callers: readonly ClusterCaller[]): Promise<void> {
  const endMs = nowMs() + WARM_MS;
  for (let n = 0; nowMs() < endMs; n++) await Promise.all(callers.map((caller) => caller.ask(n)));
}

// ------------------------------------------------------------------------------------------------------------- actors

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), 'fixtures');

/** Its runs may wait for a store without a leader for as long as the caller does. */
const counterActor = {
  name: 'counter', module: join(fixtures, 'counter.js'), singleton: true, idempotent: true, timeoutMs: SINGLETON_BUDGET_MS, hangMs: SINGLETON_BUDGET_MS + 2000, suspectMs: SINGLETON_BUDGET_MS,
};

/** Gives up within seconds, so that a row sees where it goes next. */
const deadlyRestart = { intensity: 3, periodMs: 60_000, backoff: { minMs: 100, maxMs: 500 } } as const;
const deadlyActor = (folder: string) => ({ name: 'deadly', module: join(fixtures, 'deadly.js'), options: { folder }, restart: deadlyRestart });
