/**
 * Ten thousand deaths of replicas on one host, whole and real but for its lanes and its clock: what a cycle leaves behind
 * shows as growth between the first thousand and the last. Machines are counted themselves, as objects that are alive
 * after a garbage collection, so that none can hide in another one's snapshot.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { Actor } from 'xstate';
import { Host } from '../../src/host/host.js';
import type { LaneFactory } from '../../src/ports.js';
import { parseHost } from '../../src/spec/host.js';
import { Chance } from './chance.js';
import { SimLane, type LaneWorld } from './lane.js';
import type { ActorPlan } from './plan.js';
import { Recorder } from './record.js';
import { CountedClock, SimTime } from './sim-time.js';
import { answerOf, bytesOf, tensor } from './work.js';

const CYCLES = 10_000;
const FIRST = 1000;
const REPLICAS = 4;
/**
 * Of the heap, per death: 42 bytes were measured, the rest is margin for other versions of Node.js. One more event type per
 * death in XState's memory would be 490 (see freeActorName), a machine left behind many times that.
 */
const GROWTH_PER_DEATH_BYTES_MAX = 150;

class Forgetful extends Recorder {
  override add(): void {}
}

interface Look {
  readonly heapBytes: number;
  readonly machines: number;
  readonly lanes: number;
  readonly timers: number;
  readonly handles: number;
  readonly boardReplicas: number;
}

test(`${CYCLES} deaths and restarts of replicas: heap, machines, timers, handles and the board stay as they are`, { timeout: 120_000 }, async (context) => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const time = new SimTime();
  const clock = new CountedClock(time);
  const lanes = new Set<SimLane>();
  const plan: ActorPlan = { name: 'ada', serviceMs: 0.5, spawnMs: 1, loadMs: 1, unloadMs: 1, hasGolden: true, calls: undefined };
  const world: LaneWorld = {
    clock: time, chance: new Chance(1, 'lanes'), recorder: new Forgetful(() => time.now()),
    reached: () => {}, isRequest: (id) => id !== 'golden', nestedSubmitted: () => {}, nestedEnded: () => {},
  };
  const factory: LaneFactory = {
    zombies: 0,
    open: (order) => {
      const lane = new SimLane(lanes.size + 1, plan, 'process', order, world, () => {});
      lanes.add(lane);
      lane.onExit(() => lanes.delete(lane));
      return lane;
    },
  };
  const golden = bytesOf('golden 1');
  const answer = answerOf('ada', golden);
  const parsed = parseHost({
    host: 'soak',
    actors: [{
      name: 'ada', module: 'ada.js', sha256: 'a'.repeat(64), idempotent: true, replicas: REPLICAS,
      golden: { inputs: { x: { datatype: 'UINT8', shape: [golden.length], data: [...golden] } }, outputs: { y: { datatype: 'UINT8', shape: [answer.length], data: [...answer] } } },
      restart: { intensity: 'infinity', consecutiveMax: 1_000_000, backoff: { minMs: 1, maxMs: 1, factor: 1, jitter: 0 } },
    }],
  }, { cores: 4, resolve: (path) => path });
  assert.ok(parsed.ok, JSON.stringify(parsed));
  let host: Host | undefined;
  void Host.start(parsed.spec, { clock, random: new Chance(1, 'host'), version: 'sim', log: { log: () => {} }, lanes: { process: factory, thread: factory } }).then((started) => { host = started; });
  await time.run(Infinity, () => host !== undefined);
  const serving = host!;
  const isWhole = (): boolean => serving.hostStatus().actors[0]!.ready === REPLICAS;
  await time.run(Infinity, isWhole);

  let deaths = 0;
  let answered = 0;
  const cycles = async (until: number): Promise<Look> => {
    while (deaths < until) {
      // Three of four die with work on them, so every cycle loses and replays requests too.
      const asked = Array.from({ length: REPLICAS }, (_, index) => serving.infer('ada', { inputs: [tensor('x', bytesOf(`echo ${deaths + index}`))], requestId: `r${deaths + index}`, timeoutMs: 1000 }).then(
        () => { answered++; },
        () => {},
      ));
      for (const lane of [...lanes].slice(1)) {
        lane.die('crashed', 'simulated');
        deaths++;
      }
      let over = false;
      void Promise.all(asked).then(() => { over = true; });
      await time.run(time.now() + 5000, () => over && lanes.size === REPLICAS && isWhole());
      assert.ok(isWhole(), `after ${deaths} deaths ${serving.hostStatus().actors[0]!.reason}`);
    }
    // Long enough for every deadline and every window to have passed.
    await time.run(time.now() + 120_000, () => false);
    collect();
    return {
      heapBytes: process.memoryUsage().heapUsed, machines: Number(v8.queryObjects(Actor)), lanes: lanes.size, timers: clock.pending,
      handles: process.getActiveResourcesInfo().filter((kind) => kind !== 'Immediate' && kind !== 'Timeout').length,
      boardReplicas: serving.hostStatus().actors[0]!.replicas.length,
    };
  };
  const first = await cycles(FIRST);
  const last = await cycles(CYCLES);
  context.diagnostic(`${deaths} deaths, ${answered} answers; after ${FIRST}: ${JSON.stringify(first)}; after ${CYCLES}: ${JSON.stringify(last)}`);

  const { heapBytes: before, ...countsBefore } = first;
  const { heapBytes: after, ...countsAfter } = last;
  assert.deepEqual(countsAfter, countsBefore);
  assert.ok(after - before < GROWTH_PER_DEATH_BYTES_MAX * (CYCLES - FIRST), `the heap grew by ${after - before} bytes over ${CYCLES - FIRST} deaths`);
  assert.ok(answered >= CYCLES / REPLICAS, `${answered} requests were answered meanwhile`);
  let stopped = false;
  void serving.stop().then(() => { stopped = true; });
  await time.run(time.now() + 60_000, () => stopped);
  assert.deepEqual([stopped, clock.pending, lanes.size], [true, 0, 0]);
});
