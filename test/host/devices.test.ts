/** Devices on a host: probed, fenced, moved away from and back to; simulated lanes, the real host around them. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { parseHost, type HostSpec } from '../../src/spec/host.js';
import { DeviceStage, type Mood } from '../support/device-stage.js';
import { rejection } from '../support/host-stage.js';

let stage: DeviceStage;
afterEach(async () => {
  await stage.stop();
  assert.equal(stage.clock.pending, 0, 'timers outlived the host');
  assert.deepEqual(stage.lanes.filter((lane) => !lane.ended).map(({ order }) => order.replica), [], 'lanes outlived the host');
});

const both = ['cuda:0', 'cpu'];
const start = async (more: object = {}, moods: Readonly<Record<string, Mood>> = {}, devices = both): Promise<void> => {
  stage = await DeviceStage.start(devices, [{ devices, ...more }], moods);
};

function parsed(document: object): HostSpec {
  const result = parseHost(document, { cores: 4, resolve: (path) => path });
  assert.ok(result.ok);
  return result.spec;
}

test('probe: a device that computes is used, and the answers are not degraded', async () => {
  await start();
  assert.equal(stage.device('cuda:0').state, 'usable');
  assert.deepEqual(stage.alive, ['actor0-cuda0-0']);
  const { device, degraded } = await stage.infer();
  assert.deepEqual([device, degraded], ['cuda:0', undefined]);
});

test('probe: a device that does not compute is not placed on', async () => {
  await start({}, { 'cuda:0': 'broken' });
  assert.deepEqual([stage.device('cuda:0').state, stage.device('cuda:0').reason], ['unusable', 'cuda:0 is on fire']);
  assert.deepEqual(stage.lanes.filter((lane) => !lane.isProbe).map((lane) => lane.device), ['cpu']);
  const { device, degraded } = await stage.infer();
  assert.deepEqual([device, degraded], ['cpu', 'cuda:0 unusable: cuda:0 is on fire, served on cpu']);
});

test('fence: a run that breaks the device is answered elsewhere, the pool moves, answers say why', async () => {
  await start();
  await stage.mood('cuda:0', 'broken');
  const asked = stage.infer();
  await stage.pass(0);
  const answer = await asked;
  assert.deepEqual([answer.device, answer.attempts], ['cpu', 2]);
  assert.equal(answer.degraded, 'cuda:0 fenced: CUDA failure 700, served on cpu');
  assert.deepEqual(stage.alive, ['actor0-cpu-1']);
  assert.equal(stage.device('cuda:0').state, 'fenced');
  assert.deepEqual(stage.told('device-fenced', 'moved', 'replica-exit'), [
    'device-fenced: CUDA failure 700; probed again in 30 s', 'moved: cuda:0 fenced: CUDA failure 700, served on cpu',
  ]);
  assert.equal(stage.actor().state, 'degraded');
});

test('fence: a request that must not run twice is not repeated', async () => {
  await start();
  await stage.mood('cuda:0', 'broken');
  const failure = await rejection(stage.infer('actor0', false));
  assert.deepEqual([failure.code, failure.outcome], ['UNAVAILABLE', 'unknown']);
});

test('fence with a healthy sibling: it serves until the new pool is proven, then both old ones end', async () => {
  await start({ replicas: 2 }, { cpu: 'dawdles' });
  stage.lane('actor0-cuda0-0').poisoned = true;
  const answers = await Promise.all([stage.infer(), stage.infer(), stage.infer()]);
  assert.deepEqual(answers.map(({ device }) => device), ['cuda:0', 'cuda:0', 'cuda:0']);
  assert.equal(stage.device('cuda:0').state, 'fenced');
  assert.equal((await stage.infer()).servedBy.split('#')[0], 'actor0-cuda0-1');
  assert.deepEqual(stage.told('moved'), []);
  await stage.mood('cpu', 'computes');
  assert.deepEqual(stage.alive, ['actor0-cpu-2', 'actor0-cpu-3']);
  assert.equal(stage.told('moved').length, 1);
  assert.equal((await stage.infer()).device, 'cpu');
});

test('fence of a whole device with many replicas: two executions show it, the third is elsewhere', async () => {
  await start({ replicas: 5 });
  await stage.mood('cuda:0', 'broken');
  const asked = Promise.all([stage.infer(), stage.infer(), stage.infer()]);
  await stage.pass(0);
  for (const { device, attempts } of await asked) assert.ok(device === 'cpu' && attempts <= 3, `${device} ${attempts}`);
});

test('fence at load: a replica that finds the device gone fences it for every actor', async () => {
  stage = await DeviceStage.start(both, [{ devices: both }, { devices: both }]);
  await stage.mood('cuda:0', 'broken');
  stage.lane('actor0-cuda0-0').die();
  await stage.pass(1000);
  assert.equal(stage.device('cuda:0').state, 'fenced');
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cpu', 'actor1-cpu']);
});

test('return: a fenced device is probed after 30 s, and the pool goes back with overlap', async () => {
  await start();
  await stage.mood('cuda:0', 'broken');
  const moved = stage.infer();
  await stage.pass(0);
  await moved;
  assert.equal(stage.probes('cuda:0'), 1);
  await stage.mood('cuda:0', 'dawdles');
  await stage.pass(29_000);
  assert.equal(stage.probes('cuda:0'), 1);
  await stage.pass(1500);
  assert.equal(stage.device('cuda:0').state, 'usable');
  // The new one is loading; the old one serves.
  assert.equal((await stage.infer()).device, 'cpu');
  await stage.mood('cuda:0', 'computes');
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cuda0']);
  const { device, degraded } = await stage.infer();
  assert.deepEqual([device, degraded], ['cuda:0', undefined]);
  assert.equal(stage.told('moved').at(-1), 'moved: cuda:0 can be used again');
  assert.equal(stage.actor().state, 'ready');
});

test('a device that stays broken is probed after 30 s, then 60 s, then 120 s', async () => {
  await start({}, { 'cuda:0': 'broken' });
  const probes: number[] = [];
  for (const ms of [29_000, 2000, 57_000, 4000, 115_000, 6000]) {
    await stage.pass(ms);
    probes.push(stage.probes('cuda:0'));
  }
  assert.deepEqual(probes, [1, 2, 2, 3, 3, 4]);
});

test('no other device: the actor is down with the reason, the host stays, and it comes back with the device', async () => {
  await start({}, {}, ['cuda:0']);
  await stage.mood('cuda:0', 'broken');
  const asked = rejection(stage.infer());
  await stage.pass(6000);
  assert.equal((await asked).code, 'UNAVAILABLE');
  const { state, reason } = stage.actor();
  assert.deepEqual([state, reason, stage.alive.length], ['down', 'no usable device: cuda:0 fenced: CUDA failure 700', 0]);
  assert.match((await rejection(stage.infer())).message, /no usable device/);
  await stage.mood('cuda:0', 'computes');
  await stage.pass(31_000);
  assert.equal((await stage.infer()).device, 'cuda:0');
  assert.equal(stage.actor().state, 'ready');
});

const brief = { restart: { intensity: 2, backoff: { minMs: 10, maxMs: 20, factor: 1, jitter: 0 } } };

test('a pool that gives up moves to the next device; its first one is tried again after 30 s, with one replica', async () => {
  await start({ replicas: 3, ...brief }, { 'cuda:0': 'crashes' });
  await stage.pass(1000);
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cpu', 'actor0-cpu', 'actor0-cpu']);
  const { degraded } = await stage.infer();
  assert.match(degraded!, /^cuda:0 failed: gave up after too many restarts \(last: crashed: SIGSEGV\), served on cpu$/);
  // Replicas, not starts: a pool restarts at once, so one that fails at once may be started twice before its end is ordered.
  const tries = (): number => new Set(stage.lanes.filter((lane) => lane.device === 'cuda:0' && !lane.isProbe).map(({ order }) => order.replica)).size;
  const before = tries();
  await stage.pass(31_000);
  assert.equal(tries(), before + 1, 'half-open with one replica');
  await stage.pass(58_000);
  assert.equal(tries(), before + 1, 'the second wait is twice as long');
  await stage.mood('cuda:0', 'computes');
  await stage.pass(4000);
  assert.equal(tries(), before + 4);
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cuda0', 'actor0-cuda0', 'actor0-cuda0']);
  assert.equal((await stage.infer()).degraded, undefined);
});

test('a pool that gives up everywhere goes on as a last resort, and leaves it for a device that works again', async () => {
  await start(brief, { 'cuda:0': 'crashes', cpu: 'crashes' });
  await stage.pass(2000);
  assert.match(stage.actor().reason, /one replica is tried every 20 ms/);
  assert.ok(stage.told('pool-retry').length >= 1);
  await stage.mood('cuda:0', 'computes');
  await stage.pass(125_000);
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cuda0']);
  assert.equal((await stage.infer()).device, 'cuda:0');
});

test('one device only: a pool that gives up comes back as a last resort, whole', async () => {
  await start({ replicas: 2, ...brief }, { cpu: 'crashes' }, ['cpu']);
  await stage.pass(2000);
  assert.equal(stage.actor().state, 'down');
  await stage.mood('cpu', 'computes');
  await stage.pass(1000);
  assert.deepEqual([stage.actor().state, stage.alive.length], ['ready', 2]);
  await stage.pass(40_000);
  assert.deepEqual([stage.actor().state, stage.alive.length], ['ready', 2]);
});

test('a last resort that healed has its own budget again: what gives up once more moves to a device that works', async () => {
  await start({ replicas: 2, ...brief }, { 'cuda:0': 'crashes', cpu: 'crashes' });
  await stage.pass(2000);
  await stage.mood('cpu', 'computes');
  await stage.pass(1000);
  assert.deepEqual(stage.alive.map((replica) => replica.replace(/-\d+$/, '')), ['actor0-cpu', 'actor0-cpu']);
  await stage.mood('cuda:0', 'computes');
  const gaveUp = stage.told('pool-gave-up').length;
  // Fewer than 30 s after the giving up on cuda:0, so that nothing but a giving up here makes it move.
  for (let crash = 0; crash < 3; crash++) {
    stage.lanes.findLast((lane) => !lane.ended && lane.device === 'cpu')!.die();
    await stage.pass(150);
  }
  assert.equal(stage.told('pool-gave-up').length, gaveUp + 1);
});

test('Served-By is never given twice: giving up, last resorts, taken out and added again', async () => {
  const actor = { name: 'actor0', module: '/nowhere.js', replicas: 2, ...brief };
  await start({ replicas: 2, ...brief }, { cpu: 'crashes' }, ['cpu']);
  for (let round = 0; round < 2; round++) {
    await stage.pass(1000);
    assert.equal(stage.actor().ready, 0);
    await stage.mood('cpu', 'computes');
    await stage.pass(1000);
    assert.equal(stage.actor().ready, 2);
    await stage.mood('cpu', 'crashes');
    for (const lane of stage.lanes) if (!lane.isProbe) lane.die();
  }
  await stage.mood('cpu', 'computes');
  await stage.pass(1000);
  for (const actors of [[], [actor]]) {
    const applied = stage.host.apply(parsed({ actors }));
    await stage.pass(100);
    await applied;
  }
  await stage.pass(100);
  assert.equal(stage.actor().ready, 2);
  const lives = stage.events.filter(({ type }) => type === 'replica-ready').map(({ replica, detail }) => `${replica}#${detail!['incarnation']}`);
  assert.ok(lives.length >= 8, String(lives));
  assert.deepEqual(lives.filter((life, at) => lives.indexOf(life) !== at), []);
});

test('a pool that gives up: requests are refused at once, not when its other replica has stopped', async () => {
  await start({ replicas: 2, shutdownMs: 60_000, ...brief }, {}, ['cpu']);
  const other = stage.lane('actor0-cpu-1');
  other.stop = () => {}; // drains
  for (let crash = 0; crash < 3; crash++) {
    stage.lane('actor0-cpu-0').die();
    await stage.pass(150);
  }
  assert.equal(stage.told('pool-gave-up').length, 1);
  assert.equal(other.ended, undefined);
  let refused: unknown;
  void stage.infer().catch((error: unknown) => { refused = error; });
  await stage.pass(0);
  assert.match(String(refused), /has no ready replica here/);
  other.die('shutdown', 'stopped');
  await stage.pass(1000);
  assert.equal(stage.actor().ready, 2, 'its last resort');
});

test('a pool that gives up with another device to go to: requests wait for it', async () => {
  await start({ replicas: 2, shutdownMs: 60_000, ...brief });
  const other = stage.lane('actor0-cuda0-1');
  other.stop = () => {};
  for (let crash = 0; crash < 3; crash++) {
    stage.lane('actor0-cuda0-0').die();
    await stage.pass(150);
  }
  assert.equal(stage.told('pool-gave-up').length, 1);
  const asked = stage.infer();
  await stage.pass(0);
  other.die('shutdown', 'stopped');
  await stage.pass(10);
  assert.equal((await asked).device, 'cpu');
});

test('start time-out, the host itself stood still: a replica that has loaded meanwhile is not condemned', async () => {
  await start({ startTimeoutMs: 10_000 }, { cpu: 'dawdles' }, ['cpu']);
  const now = stage.clock.now.bind(stage.clock);
  stage.clock.now = () => now() + 30_000;
  await stage.pass(10_000);
  await stage.mood('cpu', 'computes');
  assert.equal(stage.actor().ready, 1);
  assert.deepEqual(stage.told('replica-exit'), []);
});

test('start time-out, the host itself stood still: a replica that does not load within the same time again is', async () => {
  await start({ startTimeoutMs: 10_000 }, { cpu: 'dawdles' }, ['cpu']);
  const now = stage.clock.now.bind(stage.clock);
  stage.clock.now = () => now() + 30_000;
  await stage.pass(19_999);
  assert.deepEqual(stage.told('replica-exit'), []);
  await stage.pass(1);
  assert.deepEqual(stage.told('replica-exit'), ['replica-exit: load-failed: not ready within startTimeoutMs (10000)']);
});

test('memory: a cell over its bound is replaced with overlap, once', async () => {
  await start({ memory: { bytesMax: 1000 } }, {}, ['cpu']);
  stage.lane('actor0-cpu-0').memoryBytes = 1001;
  await stage.pass(2500);
  assert.deepEqual(stage.alive, ['actor0-cpu-0'], 'one look is no finding');
  await stage.pass(1500);
  assert.deepEqual(stage.alive, ['actor0-cpu-1']);
  assert.match(stage.told('replica-ejected')[0]!, /^replica-ejected: memory: 0 MiB resident, bytesMax is 0 MiB$/);
  assert.deepEqual(stage.told('replica-exit'), []);
});

test('memory: a bound below what the actor needs burns fewer and fewer starts', async () => {
  await start({ memory: { bytesMax: 1000 } }, {}, ['cpu']);
  const grow = async (): Promise<void> => {
    for (const lane of stage.lanes) lane.memoryBytes = 2000;
    await stage.pass(1000);
  };
  for (let second = 0; second < 300; second++) await grow();
  // 10 s, 20, 40, 80, 160: not one every 10 s.
  assert.ok(stage.lanes.length >= 4 && stage.lanes.length <= 6, `${stage.lanes.length} starts in 300 s`);
});

test('an exchange after a pool gave up: once its first replica served, requests wait for it again like for any other', async () => {
  await start({ version: '1', ...brief }, { cpu: 'crashes' }, ['cpu']);
  await stage.pass(2000);
  assert.equal(stage.actor().state, 'down');
  await stage.mood('cpu', 'computes');
  // The second one is not there yet.
  const stopListening = stage.host.onEvent(({ type }) => {
    if (type === 'replica-ready') void stage.mood('cpu', 'dawdles');
  });
  const applied = stage.host.apply(parsed({ actors: [{ name: 'actor0', module: '/nowhere.js', idempotent: true, version: '2', replicas: 2, ...brief }] }));
  while (stage.actor().ready === 0) await stage.pass(0); // the new edition's file is looked at in real time
  stopListening();
  stage.lane(stage.alive[0]!).die();
  await stage.pass(0);
  const asked = stage.infer();
  await stage.pass(10);
  await stage.mood('cpu', 'computes');
  assert.equal((await asked).device, 'cpu');
  await stage.pass(100);
  await applied;
});

test('a pool that gives up while it makes a replacement: its last resort does not wait for the replacement', async () => {
  await start({ startTimeoutMs: 60_000, memory: { bytesMax: 1000 }, ...brief }, {}, ['cpu']);
  stage.lane('actor0-cpu-0').memoryBytes = 2000;
  await stage.mood('cpu', 'dawdles');
  await stage.pass(4500);
  assert.equal(stage.alive.length, 2, 'its replacement loads');
  for (let crash = 0; crash < 3; crash++) {
    stage.lane('actor0-cpu-0').die();
    await stage.pass(150);
  }
  assert.equal(stage.told('pool-gave-up').length, 1);
  await stage.mood('cpu', 'computes');
  await stage.pass(1000);
  assert.equal(stage.actor().ready, 1);
});
