/** Threads that cannot be ended: beyond zombiesMax the host drains and ends, because only its end ends them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from '../../src/host/host.js';
import type { LaneFactory } from '../../src/ports.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import { parseHost } from '../../src/spec/host.js';
import { DeviceLane } from '../support/device-stage.js';
import { settle, SimClock } from '../support/sim-clock.js';

interface Scene {
  readonly host: Host;
  readonly clock: SimClock;
  readonly events: RegrowEvent[];
  /** A replica dies and comes back; its thread stays. */
  leaveZombie(): Promise<void>;
  stopped(): boolean;
  lanes: DeviceLane[];
}

async function scene(zombiesMax: number | undefined): Promise<Scene> {
  const clock = new SimClock();
  const lanes: DeviceLane[] = [];
  const events: RegrowEvent[] = [];
  const counts = { process: 7, thread: 0 };
  const factory = (kind: keyof typeof counts): LaneFactory => ({
    get zombies() { return counts[kind]; },
    open: (order) => {
      const lane = new DeviceLane(order, () => 'computes');
      lanes.push(lane);
      return lane;
    },
  });
  const parsed = parseHost({ host: 'sim', actors: [{ name: 'one', module: '/nowhere.js', isolation: 'thread' }] }, { cores: 4, resolve: (path) => path });
  assert.ok(parsed.ok);
  let ulid = 0;
  const host = await Host.start(parsed.spec, {
    clock, version: 'test', zombiesMax, lanes: { process: factory('process'), thread: factory('thread') },
    random: { next: () => 0.5, ulid: () => `id-${++ulid}` },
    log: { log: () => {} },
  });
  host.onEvent((event) => events.push(event));
  const pass = async (ms: number): Promise<void> => {
    await settle(20);
    await clock.advance(ms);
    await settle(20);
  };
  await pass(0);
  let stopped = false;
  void host.ended.then(() => { stopped = true; });
  return {
    host, clock, events, lanes,
    stopped: () => stopped,
    async leaveZombie() {
      counts.thread++;
      lanes.findLast((lane) => !lane.isProbe && !lane.ended)!.die('hung', 'its thread does not end');
      await pass(6000);
    },
  };
}

const told = ({ events }: Scene): string[] => events.filter(({ type }) => type === 'zombie').map(({ reason }) => reason);
const stop = async ({ host, clock, stopped }: Scene): Promise<void> => {
  void host.stop();
  while (!stopped()) await clock.advance(100);
};

test('as many as zombiesMax: the host serves on; one more: it says so, drains and ends', async () => {
  const on = await scene(1);
  await on.leaveZombie();
  assert.deepEqual([told(on), on.host.hostStatus().actors[0]!.ready], [[], 1]);
  await on.leaveZombie();
  assert.deepEqual(told(on), ['2 threads did not end (at most 1): this host drains and ends']);
  assert.ok(on.events.some(({ type }) => type === 'host-draining'));
  while (!on.stopped()) await on.clock.advance(100);
  await on.host.stop();
  assert.deepEqual(on.lanes.filter(({ ended }) => !ended).length, 0);
});

test('without zombiesMax, in somebody else\'s process, no number of them ends the host', async () => {
  const on = await scene(undefined);
  for (let zombie = 0; zombie < 3; zombie++) await on.leaveZombie();
  assert.deepEqual([told(on), on.host.hostStatus().actors[0]!.ready], [[], 1]);
  await stop(on);
});

test('cells that cannot be ended are not counted: the kernel ends them without this process', async () => {
  const on = await scene(0);
  on.lanes.at(-1)!.die('killed', 'SIGKILL');
  await settle(20);
  await on.clock.advance(6000);
  assert.deepEqual([told(on), on.stopped()], [[], false]);
  await stop(on);
});
