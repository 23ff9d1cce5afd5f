import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Neighbour } from '../../src/cluster/membership.js';
import { Shares, type Held, type Share } from '../../src/cluster/shares.js';
import { rankHosts } from '../../src/policy/rendezvous.js';
import { SETTLED_AFTER_MS } from '../../src/policy/surplus.js';
import type { HostState } from '../../src/protocol/host-state.js';
import { SimClock } from '../support/sim-clock.js';

const [first, second] = rankHosts('x', ['a', 'b', 'c']) as [string, string, string];
const wish = { name: 'x', hash: 'h', replicas: 1, devices: ['cpu'] };

function stateOf(host: string, ready: number): HostState {
  return {
    host, incarnation: '01AAAAAAAAAAAAAAAAAAAAAAAA', version: 1, draining: false, devices: [{ id: 'cpu', usable: true }], modules: [], fetches: true, paused: [],
    actors: ready > 0 ? [{ name: 'x', hash: 'h', wanted: ready, ready, device: 'cpu', idempotent: true, queue: 0 }] : [],
  };
}

/** The host `self` looks; `readyOn` are the hosts that have a ready replica of x. */
function looking(self: string, readyOn: readonly string[]): { readonly clock: SimClock; readonly looks: ReadonlyMap<string, Share>[] } {
  const clock = new SimClock();
  const looks: ReadonlyMap<string, Share>[] = [];
  const members = ['a', 'b', 'c'].filter((host) => host !== self).map((host): Neighbour => {
    const state = stateOf(host, readyOn.includes(host) ? 1 : 0);
    return { host, incarnation: state.incarnation, liveness: 'alive', reason: '', load: 0, silentSinceMs: undefined, storeSequence: 0, state };
  });
  const held = new Map<string, Held>(readyOn.includes(self) ? [['x', { count: 1, device: 'cpu' }]] : []);
  const shares = new Shares({
    clock, own: () => stateOf(self, held.size), members: () => members, wishes: () => [wish], held: () => held, limits: { suspectAfterMs: 1500, hostsMax: 2 },
    decided: (all) => looks.push(all), braked: () => {},
  });
  shares.open();
  return { clock, looks };
}

test('a host that holds what it should does not look again because time goes by', () => {
  const { clock, looks } = looking(first, [first]);
  clock.advanceSync(10 * SETTLED_AFTER_MS);
  assert.deepEqual(looks.map((shares) => shares.get('x')?.count), [1]);
});

test('a host that holds too much looks again when the others have been ready for 30 s, and lets go', () => {
  const { clock, looks } = looking(second, [first, second]);
  clock.advanceSync(SETTLED_AFTER_MS - 1);
  assert.deepEqual(looks.map((shares) => shares.get('x')?.count), [1]);
  clock.advanceSync(2);
  assert.deepEqual(looks.map((shares) => shares.get('x')?.count), [1, 0]);
});
