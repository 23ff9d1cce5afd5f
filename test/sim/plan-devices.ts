/**
 * What a plan asks of devices: which actors would rather be on one, when contexts on it break or it goes away, and
 * requests and faults for the time when it comes back. A fenced device is probed half a minute later, so these plans last
 * longer than others.
 */
import type { Chance } from './chance.js';
import type { ActorPlan, FaultPlan, Plan, RequestPlan } from './plan.js';

/** When a fenced device is probed again, as in policy/devices.ts; requests and faults are there when it comes back. */
const RETURN_MS = 30_000;

/** Actors that would rather be on a device than on the CPU, and devices whose contexts break, that go away and come back. */
export function equipped(chance: Chance, plan: Plan): Plan {
  const devices = chance.flip(0.3) ? ['cuda:0', 'cuda:1'] : ['cuda:0'];
  const lists = plan.actors.map((_, index) => (index === 0 || chance.flip(0.7) ? listOf(chance, devices) : ['cpu']));
  const users = plan.actors.filter((_, index) => lists[index]![0] !== 'cpu');
  const faults = Array.from({ length: chance.integer(1, 3) }, (): FaultPlan => ({
    atMs: chance.flip(0.1) ? 0 : chance.real(200, plan.calmMs),
    kind: chance.pick(['context-poisoned', 'device-lost', 'device-lost', 'load-fatal']),
    actor: chance.pick(users).name,
    device: chance.pick(devices),
    chance: chance.next(),
    // Longer than the first pause: the next probe fails too.
    durationMs: chance.flip(0.15) ? RETURN_MS + chance.real(2000, 6000) : chance.real(50, 4000),
    factor: 1,
    count: 1,
  }));
  const returns = faults.map(({ atMs, durationMs }) => atMs + (durationMs > RETURN_MS ? 3 * RETURN_MS : RETURN_MS));
  const later = returns.flatMap((atMs) => (chance.flip(0.5) ? [{
    atMs: atMs + chance.real(0, 1500),
    kind: chance.pick<FaultPlan['kind']>(['die-running', 'die-idle', 'die-loading', 'freeze', 'context-poisoned', 'load-failure']),
    actor: chance.pick(users).name, chance: chance.next(), durationMs: chance.real(100, 3000), factor: 1, count: 1,
  }] : []));
  const lastMs = Math.max(...returns) + 4000;
  return {
    ...plan,
    host: { ...plan.host, devices: [...devices, 'cpu'], actors: plan.host.actors!.map((actor, index) => ({ ...actor, devices: lists[index]! })) },
    devices,
    requests: [...plan.requests, ...users.flatMap((actor) => returns.flatMap((atMs, index) => requestsAround(chance, actor, atMs, index)))].sort((a, b) => a.atMs - b.atMs),
    faults: [...plan.faults, ...faults, ...later].sort((a, b) => a.atMs - b.atMs),
    calmMs: Math.max(plan.calmMs, lastMs),
    stopMs: plan.stopMs !== undefined && chance.flip(0.3) ? chance.pick(returns) + chance.real(0, 2000) : plan.stopMs,
  };
}

function listOf(chance: Chance, devices: readonly string[]): string[] {
  if (chance.flip(0.1)) return [chance.pick(devices)]; // nowhere to go
  return [...(chance.flip(0.5) ? devices : devices.toReversed()), 'cpu'];
}

function requestsAround(chance: Chance, actor: ActorPlan, atMs: number, part: number): RequestPlan[] {
  return Array.from({ length: chance.integer(8, 20) }, (_, index): RequestPlan => ({
    atMs: atMs + chance.real(-300, 2500), request: `${actor.name}r${part}-${index}`, actor: actor.name, content: `echo ${chance.integer(0, 10_000)}`, timeoutMs: undefined,
    idempotent: undefined, priority: 0, attemptsLeft: undefined, abortAfterMs: undefined, via: chance.flip(0.25) ? 'bus' : 'host',
  }));
}
