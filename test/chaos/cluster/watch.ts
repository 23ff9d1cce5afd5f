/**
 * What the hosts say of themselves to each other, on change and asked every 250 ms, as one list over time. A host
 * that the row ended or cut off counts as having nothing ready from that moment on, whatever it said last.
 */
import type { NatsConnection } from '@nats-io/transport-node';
import { decodeHostState, type HostState } from '../../../src/protocol/host-state.js';
import { subjects } from '../../../src/protocol/subjects.js';
import { nowMs, pause } from '../time.js';

const EVERY_MS = 250;
const names = subjects();

interface Said {
  readonly atMs: number;
  readonly host: string;
  readonly ready: Readonly<Record<string, number>>;
}

export interface ClusterWatch {
  latest(host: string): HostState | undefined;
  /** Ready replicas of the actor now, over the hosts that are not lost. */
  ready(actor: string): number;
  /** The host whose state says that it owns the singleton. */
  owner(actor: string): string | undefined;
  lost(host: string, atMs: number): void;
  back(host: string): void;
  /** `[wall ms, ready per host]` at every change. */
  timeline(actor: string): readonly (readonly [number, Readonly<Record<string, number>>])[];
  stop(): Promise<void>;
}

/** @param nats as a host: states are not for everybody */
export function startClusterWatch(nats: NatsConnection, hosts: readonly string[]): ClusterWatch {
  const said: Said[] = [];
  const states = new Map<string, HostState>();
  const lost = new Set<string>();
  let over = false;
  const note = (data: Uint8Array): void => {
    const state = decodeHostState(data);
    if (!state || lost.has(state.host)) return;
    const known = states.get(state.host);
    if (known?.incarnation === state.incarnation && known.version > state.version) return;
    states.set(state.host, state);
    const ready: Record<string, number> = {};
    for (const actor of state.actors) ready[actor.name] = (ready[actor.name] ?? 0) + actor.ready;
    said.push({ atMs: nowMs(), host: state.host, ready });
  };
  nats.subscribe(names.stateOfAll, { callback: (_error, message) => note(message.data) });
  const asking = (async () => {
    while (!over) {
      const nextMs = nowMs() + EVERY_MS;
      await Promise.all(hosts.map((host) => nats.request(names.hostState(host), '', { timeout: EVERY_MS }).then(({ data }) => note(data), () => {})));
      await pause(nextMs - nowMs());
    }
  })();
  const countOf = (actor: string, host: string): number => {
    const state = states.get(host);
    return state ? state.actors.filter(({ name }) => name === actor).reduce((sum, { ready }) => sum + ready, 0) : 0;
  };
  return {
    latest: (host) => states.get(host),
    ready: (actor) => hosts.reduce((sum, host) => sum + countOf(actor, host), 0),
    owner: (actor) => hosts.find((host) => states.get(host)?.actors.some(({ name, ready, epoch }) => name === actor && ready > 0 && epoch !== undefined)),
    lost(host, atMs) {
      lost.add(host);
      states.delete(host);
      said.push({ atMs, host, ready: {} });
    },
    back: (host) => void lost.delete(host),
    timeline(actor) {
      const now: Record<string, number> = {};
      const changes: [number, Record<string, number>][] = [];
      for (const { atMs, host, ready } of [...said].sort((a, b) => a.atMs - b.atMs)) {
        const count = ready[actor] ?? 0;
        if (now[host] === count) continue;
        now[host] = count;
        changes.push([atMs, { ...now }]);
      }
      return changes;
    },
    async stop() {
      over = true;
      await asking;
    },
  };
}

const sum = (ready: Readonly<Record<string, number>>): number => Object.values(ready).reduce((total, count) => total + count, 0);

/** The longest stretch after the fault with fewer ready than wanted, in ms; 0 = none, null = it never came to an end. */
export function longestShortage(timeline: ReturnType<ClusterWatch['timeline']>, wanted: number, faultMs: number): { readonly spanMs: number | null; readonly untilMs: number } {
  let [sinceMs, spanMs, untilMs] = [undefined as number | undefined, 0, faultMs];
  for (const [atMs, ready] of timeline) {
    const short = sum(ready) < wanted;
    if (short && atMs >= faultMs) sinceMs ??= atMs;
    if (short || sinceMs === undefined) continue;
    if (atMs - sinceMs > spanMs) [spanMs, untilMs] = [atMs - sinceMs, atMs];
    sinceMs = undefined;
  }
  return sinceMs === undefined ? { spanMs, untilMs } : { spanMs: null, untilMs: Infinity };
}

/** `a1 b1 c1; +12 b1 c1; +3420 b2 c1`: who has how many ready, ms from the fault. */
export function toldOf(timeline: ReturnType<ClusterWatch['timeline']>, faultMs: number): string {
  const parts: string[] = [];
  let before = '';
  for (const [atMs, ready] of timeline) {
    const now = Object.entries(ready).filter(([, count]) => count > 0).map(([host, count]) => `${host}${count}`).sort().join(' ') || 'nobody';
    if (now === before) continue;
    before = now;
    if (atMs < faultMs) parts.length = 0; // only what was so last
    parts.push(atMs < faultMs ? now : `+${Math.round(atMs - faultMs)} ${now}`);
  }
  return parts.length > 10 ? `${parts.slice(0, 6).join('; ')}; … ${parts.length - 9} more; ${parts.slice(-3).join('; ')}` : parts.join('; ');
}
