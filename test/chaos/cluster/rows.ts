/** Every row of the cluster's table: what breaks, and what is wanted. The order is that of the table. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Aim } from '../row.js';
import { nowMs, pause, until } from '../time.js';
import { asOperator } from './hosts.js';
import type { ClusterMeasured, ClusterRow, ClusterStage, Fault } from './row.js';
import type { Cut } from './proxy.js';

/** What becomes of a request that was inside a host when it was lost; the second where the host comes back in time to say it. */
const inside = ['SILENCE', 'DEADLINE_EXCEEDED'];
/** The same where the caller's own connection may break as well. */
const cutOff = [...inside, 'DISCONNECTED', 'NO_RESPONDERS'];
const withKick = { codes: inside, noneAfterMs: 3000 } as const;
const withoutKick = { codes: inside, noneAfterMs: 8000 } as const;
const lossOf = { loses: 'a host', singletonGap: 'lease' } as const;
/** A host loses its own connection before anybody finds a new owner, and an owner serves until its renewals are too old. */
const LEADERLESS_MS = 9000;

export const clusterRows: readonly ClusterRow[] = [
  { name: 'host SIGKILL', quick: true, servers: 1, ...lossOf, plain: withKick, tailS: [28, 9], fault: killHost },
  { name: 'host SIGKILL, 3 servers', quick: false, servers: 3, ...lossOf, plain: withKick, tailS: [28, 9], fault: killHost },
  { name: 'host and its nats-server SIGKILL', quick: true, servers: 3, ...lossOf, plain: withKick, callersOff: ({ ids, victim }) => ids.indexOf(victim), tailS: [28, 12], fault: killBoth },
  { name: 'SIGSTOP for 30 s, with kick', quick: true, servers: 1, kick: true, ...lossOf, plain: withKick, tailS: [12, 6], fault: freeze },
  { name: 'SIGSTOP for 30 s, without kick', quick: true, servers: 1, ...lossOf, plain: withoutKick, tailS: [12, 6], fault: freeze },
  { name: 'SIGSTOP for 30 s, with kick, 3 servers', quick: false, servers: 3, kick: true, ...lossOf, plain: withKick, tailS: [12, 6], fault: freeze },
  { name: 'partition, both ways', quick: true, servers: 1, kick: true, proxied: true, ...lossOf, plain: withKick, tailS: [12, 8], fault: cut('both') },
  { name: 'partition, host to broker', quick: true, servers: 1, kick: true, proxied: true, ...lossOf, plain: withKick, tailS: [12, 8], fault: cut('to-broker') },
  { name: 'partition, broker to host', quick: true, servers: 1, kick: true, proxied: true, ...lossOf, plain: withKick, tailS: [12, 8], fault: cut('to-host') },
  { name: 'stream leader SIGKILL', quick: true, servers: 3, singletonGap: LEADERLESS_MS, plain: { codes: cutOff, noneAfterMs: 3000 }, callersOff: leaderNow, tailS: [15, 10], fault: killLeader },
  { name: 'nats-server SIGKILL and restart', quick: true, servers: 1, singletonGap: LEADERLESS_MS, plain: { codes: cutOff, noneAfterMs: 3000 }, tailS: [15, 10], fault: restartBrokers },
  { name: 'all nats-servers SIGKILL and restart', quick: true, servers: 3, singletonGap: 2 * LEADERLESS_MS, plain: { codes: cutOff, noneAfterMs: 3000 }, tailS: [20, 12], fault: restartBrokers },
  { name: 'drain', quick: true, servers: 1, singletonGap: 1000, tailS: [10, 6], fault: drain },
  { name: 'rolling restart of every host', quick: true, servers: 1, singletonGap: 1000, tailS: [10, 5], fault: rollingRestart },
  { name: 'rolling restart of every host, 3 servers', quick: false, servers: 3, singletonGap: 1000, tailS: [10, 5], fault: rollingRestart },
  { name: 'a module that kills every process that loads it', quick: true, servers: 1, deadly: true, singletonGap: 1000, tailS: [20, 10], fault: turnDeadly, alsoWanted: deadlyAims },
  { name: '60 % of the hosts frozen for 5 s', quick: true, servers: 1, hosts: 5, kick: true, singletonGap: 7000, plain: withKick, tailS: [12, 8], fault: freezeMost, alsoWanted: nothingMoved },
];

// ------------------------------------------------------------------------------------------------------------- faults

async function killHost({ hosts, victim, watch }: ClusterStage): Promise<Fault> {
  const atMs = hosts.get(victim)!.signal('SIGKILL');
  watch.lost(victim, atMs);
  return { atMs };
}

async function killBoth(stage: ClusterStage): Promise<Fault> {
  const { ids, victim, brokers } = stage;
  const fault = await killHost(stage);
  await brokers.kill(ids.indexOf(victim));
  return fault;
}

async function freeze(stage: ClusterStage): Promise<Fault> {
  const { hosts, victim, watch, quick } = stage;
  const atMs = hosts.get(victim)!.signal('SIGSTOP');
  watch.lost(victim, atMs);
  await pause(quick ? 10_000 : 30_000);
  const untilMs = hosts.get(victim)!.signal('SIGCONT');
  watch.back(victim);
  return { atMs, untilMs };
}

function cut(how: Cut): ClusterRow['fault'] {
  return async ({ proxies, victim, watch, quick }) => {
    const atMs = nowMs();
    proxies.get(victim)!.cut(how);
    watch.lost(victim, atMs);
    await pause(quick ? 12_000 : 30_000);
    proxies.get(victim)!.cut('none');
    watch.back(victim);
    return { atMs, untilMs: nowMs() };
  };
}

let leaderIndex = 0;

/** Where the store is led when the row begins; the callers keep off it. */
async function leaderNow(stage: unknown): Promise<number> {
  return (leaderIndex = await (stage as ClusterStage).leader());
}

async function killLeader({ brokers, leader, quick }: ClusterStage): Promise<Fault> {
  const index = await leader();
  if (index !== leaderIndex) throw new Error('the store has another leader than when the row began');
  const atMs = nowMs();
  await brokers.kill(index);
  await pause(quick ? 10_000 : 15_000);
  await brokers.start(index);
  return { atMs, untilMs: nowMs() };
}

async function restartBrokers({ brokers }: ClusterStage): Promise<Fault> {
  const atMs = nowMs();
  await Promise.all(brokers.servers.map((_, index) => brokers.kill(index)));
  await Promise.all(brokers.servers.map((_, index) => brokers.start(index)));
  return { atMs, untilMs: nowMs() };
}

/** As an operator: the host answers what it has, ends, and stays away. */
async function drain({ brokers, folder, hosts, victim, watch }: ClusterStage): Promise<Fault> {
  const atMs = nowMs();
  await asOperator(brokers, folder, 'drain', victim);
  await hosts.get(victim)!.ended();
  watch.lost(victim, nowMs());
  return { atMs, untilMs: nowMs() };
}

/** As a service manager does it: SIGTERM, wait for its end, start again, and the next one once all replicas are ready. */
async function rollingRestart({ hosts, watch, wanted, salvo }: ClusterStage): Promise<Fault> {
  const atMs = nowMs();
  for (const [id, host] of hosts) {
    await salvo();
    await host.stop();
    watch.lost(id, nowMs());
    watch.back(id);
    await host.start();
    await until(() => watch.latest(id) && watch.ready('digits') >= wanted && watch.owner('counter') !== undefined, `all replicas ready after the restart of ${id}`);
  }
  return { atMs, untilMs: nowMs() };
}

/** And one of its processes is killed; every one that is started in its place ends itself. */
async function turnDeadly({ folder, hosts, watch, pidsOf }: ClusterStage): Promise<Fault> {
  const host = [...hosts.keys()].find((id) => watch.latest(id)?.actors.some(({ name, ready }) => name === 'deadly' && ready > 0));
  if (host === undefined) throw new Error('no host has the module ready');
  const pids = await pidsOf(host, 'deadly');
  writeFileSync(join(folder, 'deadly'), '');
  const atMs = nowMs();
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  return { atMs };
}

/** The victim and two more, three of five. */
async function freezeMost({ hosts, ids, victim, watch }: ClusterStage): Promise<Fault> {
  const frozen = [victim, ...ids.filter((id) => id !== victim)].slice(0, 3);
  const atMs = nowMs();
  for (const id of frozen) {
    hosts.get(id)!.signal('SIGSTOP');
    watch.lost(id, atMs);
  }
  await pause(5000);
  for (const id of frozen) {
    hosts.get(id)!.signal('SIGCONT');
    watch.back(id);
  }
  return { atMs, untilMs: nowMs() };
}

// --------------------------------------------------------------------------------------------------------------- aims

/** Which hosts it ended processes on, and that it has stopped doing so. */
function deadlyAims({ hosts }: ClusterStage, _measured: ClusterMeasured, { atMs }: Fault): Aim[] {
  const exits = [...hosts.values()].map(({ id, lines }) => ({ id, times: lines.filter(({ msg, time, actor }) => msg === 'replica-exit' && actor === 'deadly' && time >= atMs).map(({ time }) => time) })).filter(({ times }) => times.length > 0);
  const last = Math.max(0, ...exits.flatMap(({ times }) => times)) - atMs;
  const gaveUp = [...hosts.values()].flatMap(({ lines }) => lines).filter(({ msg, actor, time }) => msg === 'pool-gave-up' && actor === 'deadly' && time >= atMs).length;
  return [
    { aim: 'hosts whose processes it ended', wanted: '<= 2 (hostsMax)', measured: exits.map(({ id, times }) => `${id}: ${times.length} exits`).join(', '), met: exits.length > 0 && exits.length <= 2, hard: false },
    { aim: 'it is given up', wanted: 'by each host that tried', measured: `${gaveUp} pools gave up; last exit after ${Math.round(last)} ms`, met: gaveUp >= exits.length && exits.length > 0, hard: false },
    { aim: 'every host lives', wanted: 'yes', measured: [...hosts.values()].map(({ id, running }) => `${id} ${running ? 'lives' : 'is gone'}`).join(', '), met: [...hosts.values()].every(({ running }) => running), hard: true },
  ];
}

/** The brake: so many silent hosts at once are more likely the network's fault. */
function nothingMoved({ hosts }: ClusterStage, { epochs }: ClusterMeasured, { atMs, untilMs }: Fault): Aim[] {
  const starts = [...hosts.values()].flatMap(({ id, lines }) => lines.filter(({ msg, time }) => msg === 'replica-ready' && time >= atMs && time <= untilMs!).map(() => id));
  return [
    { aim: 'no replica is started elsewhere meanwhile', wanted: '0', measured: starts.length === 0 ? '0' : `${starts.length} on ${[...new Set(starts)].join(', ')}`, met: starts.length === 0, hard: false },
    { aim: 'the singleton keeps its owner', wanted: '1 epoch', measured: `epochs ${epochs.join(', ')}`, met: epochs.length === 1, hard: false },
  ];
}
