/** What happens to requests while lanes come, go, die and freeze: the cells of semantics, section 2. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ServingStage } from '../support/serving-stage.js';
import { settle } from '../support/sim-clock.js';

describe('dispatch', () => {
  test('one run goes on, one idempotent run is posted ahead, the rest waits', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    for (const id of ['a', 'b', 'c']) await stage.send(id);
    assert.deepEqual(lane.on, ['a', 'b']);
    assert.equal(stage.dispatcher.queueCount, 1);
    await stage.answer(lane);
    assert.deepEqual(lane.on, ['b', 'c']);
    assert.deepEqual(stage.ends, { a: 'ok' });
  });

  test('a run that may not be repeated is never posted ahead', async () => {
    const stage = new ServingStage({ idempotent: false });
    const lane = await stage.replica();
    await stage.send('a');
    await stage.send('b');
    assert.deepEqual(lane.on, ['a']);
  });

  test('a header may forbid repetition, never allow it', async () => {
    const forbids = new ServingStage({ idempotent: true });
    const first = await forbids.replica();
    await forbids.send('a', { idempotent: false });
    await forbids.die(first);
    assert.equal(forbids.endOf('a'), 'UNAVAILABLE(unknown)');
    const allows = new ServingStage({ idempotent: false });
    const second = await allows.replica();
    await allows.send('a', { idempotent: true });
    await allows.die(second);
    assert.equal(allows.endOf('a'), 'UNAVAILABLE(unknown)');
  });

  test('idle lanes come before lanes with a run on them', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    for (const id of ['a', 'b', 'c', 'd', 'e']) await stage.send(id);
    assert.deepEqual([one.on.length, two.on.length], [2, 2]);
    assert.equal(stage.dispatcher.queueCount, 1);
  });

  test('a module with concurrency 3 runs three at once', async () => {
    const stage = new ServingStage({ idempotent: false });
    const lane = await stage.replica(3);
    for (const id of ['a', 'b', 'c', 'd']) await stage.send(id);
    assert.deepEqual(lane.on, ['a', 'b', 'c']);
  });

  test('interactive requests overtake bulk ones, which still get every eighth turn', async () => {
    const stage = new ServingStage({ idempotent: false });
    const lane = await stage.replica();
    await stage.send('running');
    for (let i = 0; i < 3; i++) await stage.send(`bulk-${i}`, { priority: 1 });
    for (let i = 0; i < 20; i++) await stage.send(`fast-${i}`);
    const order: string[] = [];
    for (let i = 0; i < 18; i++) order.push(await stage.answer(lane));
    assert.deepEqual(order.filter((id) => id.startsWith('bulk')), ['bulk-0', 'bulk-1']);
    assert.equal(order[1], 'fast-0');
  });
});

describe('a lane dies', () => {
  test('by itself: whoever was on it may have done it, the one posted ahead too; each is replayed alone on the replacement', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    for (const id of ['a', 'b', 'c']) await stage.send(id); // one, two, ahead on one
    await stage.die(one, 'crashed', 'SIGABRT');
    assert.deepEqual(two.on, ['b']);
    const three = await stage.replica();
    assert.equal(three.on.length, 1);
    await stage.answer(three);
    assert.equal(three.on.length, 1);
    await stage.answer(three);
    assert.deepEqual([stage.endOf('a'), stage.endOf('c')], ['ok', 'ok']);
  });

  test('a solo run that ends a replica within 100 ms of its first death is proof, no crowd', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    await stage.send('a');
    await stage.die(one);
    await stage.clock.advance(80);
    await stage.die(await stage.replica());
    assert.equal(stage.endOf('a'), 'POISON');
  });

  test('killed from outside in its solo run: no proof, it runs alone again while it has executions left', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    await stage.send('a');
    await stage.die(one, 'killed', 'SIGKILL');
    await stage.clock.advance(150);
    await stage.die(await stage.replica(), 'killed', 'SIGKILL');
    await stage.clock.advance(150);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['a']);
    await stage.answer(three);
    assert.equal(stage.endOf('a'), 'ok');
    assert.deepEqual(stage.poisoned, []);
  });

  test('killed: the running request is replayed alone on the replacement, the one posted ahead at once elsewhere', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a'); // one
    await stage.send('b'); // two
    await stage.send('c'); // ahead on one
    assert.deepEqual(one.on, ['a', 'c']);
    await stage.die(one, 'killed', 'SIGKILL');
    assert.deepEqual(stage.lost, [['a', 'c']]);
    assert.deepEqual(two.on, ['b', 'c']);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['a'], 'alone on the newcomer');
    await stage.send('d');
    await stage.send('e');
    assert.deepEqual(three.on, ['a'], 'nothing is posted beside a solo run');
    await stage.answer(three);
    assert.equal(stage.endOf('a'), 'ok');
    assert.equal(stage.outcomes.find(({ id }) => id === 'a')?.answer?.attempts, 2);
    assert.ok(three.on.length > 0, 'it takes work now');
  });

  test('the last ready replica is never spent on a suspect', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.die(one);
    await stage.send('b');
    assert.deepEqual(two.on, ['b']);
    await stage.answer(two);
    assert.deepEqual(two.on, []);
    assert.equal(stage.endOf('a'), undefined);
  });

  test('with two others ready, one is set aside, emptied, and runs the suspect alone', async () => {
    const stage = new ServingStage();
    const lanes = [await stage.replica(), await stage.replica(), await stage.replica()];
    for (const id of ['a', 'b', 'c']) await stage.send(id);
    await stage.die(lanes[0]!);
    assert.deepEqual([lanes[1]!.on, lanes[2]!.on], [['b'], ['c']], 'both busy: nobody is interrupted');
    await stage.send('d');
    const reserved = [lanes[1]!, lanes[2]!].find((lane) => !lane.on.includes('d'))!;
    await stage.answer(reserved);
    assert.deepEqual(reserved.on, ['a']);
    await stage.answer(reserved);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('a second death, in the solo run, proves the request poison; an equal one is refused at once', async () => {
    const stage = new ServingStage();
    await stage.send('early');
    assert.equal(stage.endOf('early'), 'UNAVAILABLE', 'nothing is ready yet');
    const one = await stage.replica();
    await stage.send('a');
    await stage.die(one);
    await stage.clock.advance(150);
    const two = await stage.replica();
    assert.deepEqual(two.on, ['a']);
    assert.equal(stage.dispatcher.onProbation('echo-2'), true);
    await stage.die(two);
    assert.equal(stage.endOf('a'), 'POISON');
    assert.deepEqual(stage.poisoned, ['a']);
    const three = await stage.replica();
    await stage.send('a-again', { inputs: [{ name: 'x', datatype: 'UINT8', shape: [1], data: new TextEncoder().encode('a') }] });
    assert.equal(stage.endOf('a-again'), 'POISON');
    await stage.send('b');
    assert.deepEqual(three.on, ['b'], 'others are served');
    await stage.answer(three);
    await stage.clock.advance(600_001);
    await stage.send('a-later', { inputs: [{ name: 'x', datatype: 'UINT8', shape: [1], data: new TextEncoder().encode('a') }] });
    assert.deepEqual(three.on, ['a-later'], 'quarantine ends');
  });

  test('killed from outside in two solo runs: that is no accident any more, it is poison that exhausts memory', async () => {
    const stage = new ServingStage();
    await stage.replica().then((lane) => stage.send('a').then(() => stage.die(lane, 'killed', 'SIGKILL')));
    for (let solo = 0; solo < 2; solo++) {
      await stage.clock.advance(150);
      await stage.die(await stage.replica(), 'killed', 'SIGKILL');
    }
    assert.equal(stage.endOf('a'), 'POISON');
  });

  test('two lanes within 100 ms make no suspects: both requests go on as usual', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.send('b');
    await stage.die(one);
    await stage.clock.advance(99);
    await stage.die(two);
    const three = await stage.replica();
    assert.deepEqual(three.on.sort(), ['a', 'b'], 'posted ahead like any other');
  });

  test('two lanes 101 ms apart make two suspects', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.send('b');
    await stage.die(one);
    await stage.clock.advance(101);
    await stage.die(two);
    const three = await stage.replica();
    assert.deepEqual(three.on, ['b'], 'alone; a waits, because the death of two would spoil the verdict on it');
    await stage.answer(three);
    assert.deepEqual(three.on, ['a']);
  });

  test('ended by regrow: the request is replayed like any other and nobody is suspect', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.die(one, 'hung', 'did not answer pings');
    assert.deepEqual(two.on, ['a']);
  });

  test('replays end with replaysMax, and the caller hears that trying again may help', async () => {
    const stage = new ServingStage({ replaysMax: 2 });
    await stage.replica().then((lane) => stage.send('a').then(() => stage.die(lane, 'hung', '')));
    await stage.die(await stage.replica(), 'hung', '');
    assert.equal(stage.endOf('a'), undefined);
    await stage.die(await stage.replica(), 'hung', '');
    assert.equal(stage.endOf('a'), 'UNAVAILABLE');
  });

  test('Attempts-Left bounds executions over all layers', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    await stage.send('a', { attemptsLeft: 1 });
    await stage.die(lane, 'hung', '');
    assert.equal(stage.endOf('a'), 'UNAVAILABLE');
  });

  test('the host-wide replay budget is 20 % of the recent requests plus 10', async () => {
    const stage = new ServingStage({ replaysMax: 100 });
    for (let i = 0; i < 10; i++) assert.equal(stage.shared.takeReplay(0), true, `replay ${i}`);
    assert.equal(stage.shared.takeReplay(0), false);
    for (let i = 0; i < 10; i++) stage.shared.countRequest(0);
    assert.deepEqual([1, 2, 3].map(() => stage.shared.takeReplay(0)), [true, true, false]);
    assert.equal(stage.shared.takeReplay(11_000), true, 'the window slides');
  });
});

describe('hold', () => {
  test('requests wait for the replacement of the last replica', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    await stage.die(one);
    await stage.send('a');
    assert.equal(stage.endOf('a'), undefined);
    await stage.clock.advance(1999);
    const two = await stage.replica();
    assert.deepEqual(two.on, ['a']);
    assert.deepEqual(stage.availability, [true]);
  });

  test('beyond holdMs they are answered and the subject is left', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    await stage.die(one);
    await stage.send('a');
    await stage.clock.advance(2002);
    assert.equal(stage.endOf('a'), 'UNAVAILABLE');
    assert.deepEqual(stage.availability, [true, false]);
    await stage.send('b');
    assert.equal(stage.endOf('b'), 'UNAVAILABLE');
    await stage.replica();
    assert.deepEqual(stage.availability, [true, false, true]);
  });

  test('nothing restarts: the subject is left at once', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    stage.dispatcher.setProspect(false, 'the pool gave up');
    assert.deepEqual(stage.availability, [true], 'while a replica is ready it is used');
    await stage.die(one);
    assert.deepEqual(stage.availability, [true, false]);
  });

  test('a suspect that waits for a newcomer is answered at its deadline', async () => {
    const stage = new ServingStage({ timeoutMs: 1000 });
    const one = await stage.replica();
    await stage.send('a');
    await stage.die(one);
    await stage.clock.advance(1000);
    assert.equal(stage.endOf('a'), 'DEADLINE_EXCEEDED');
    assert.equal(stage.dispatcher.inFlight, 0);
    const two = await stage.replica();
    assert.deepEqual(two.on, []);
    await stage.send('b');
    assert.deepEqual(two.on, ['b'], 'the newcomer is not kept waiting for a suspect that is gone');
  });
});

describe('deadline and cancel', () => {
  test('the caller is answered at the deadline, the lane is not touched, the late result is dropped', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    await stage.send('a', { timeoutMs: 100 });
    await stage.clock.advance(100);
    assert.equal(stage.endOf('a'), 'DEADLINE_EXCEEDED');
    assert.equal(lane.ended, undefined);
    assert.equal(lane.canceled.length, 1);
    await stage.answer(lane);
    assert.equal(stage.dispatcher.lateResults, 1);
    assert.equal(stage.outcomes.length, 1);
  });

  test('a caller cannot ask for more than timeoutMaxMs', async () => {
    const stage = new ServingStage({ timeoutMaxMs: 200 });
    await stage.replica();
    await stage.send('a', { timeoutMs: 60_000 });
    await stage.clock.advance(200);
    assert.equal(stage.endOf('a'), 'DEADLINE_EXCEEDED');
  });

  test('an aborted caller leaves the queue and frees its bytes', async () => {
    const stage = new ServingStage();
    await stage.replica();
    const abort = new AbortController();
    for (const id of ['a', 'b']) await stage.send(id);
    await stage.send('c', { signal: abort.signal });
    assert.equal(stage.dispatcher.queueBytes, 1);
    abort.abort();
    await settle();
    assert.equal(stage.endOf('c'), 'canceled');
    assert.deepEqual([stage.dispatcher.queueCount, stage.dispatcher.queueBytes, stage.shared.queueBytes], [0, 0, 0]);
    assert.equal(stage.dispatcher.outcomes.canceled, 1);
  });

  test('thousands of expired tickets leave nothing behind', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    await stage.send('a');
    await stage.send('b');
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 200 }, (_, i) => stage.send(`x${round}-${i}`, { timeoutMs: 10 })));
      await stage.clock.advance(10);
    }
    assert.equal(stage.outcomes.filter(({ end }) => end === 'DEADLINE_EXCEEDED').length, 4000);
    assert.deepEqual([stage.dispatcher.queueCount, stage.dispatcher.queueBytes], [0, 0]);
    await stage.send('last');
    await stage.answer(lane);
    assert.deepEqual(lane.on, ['b', 'last']);
  });
});

describe('bounds', () => {
  test('a full queue refuses at once, by count', async () => {
    const stage = new ServingStage({ queue: { sizeMax: 1, bytesMax: 1 << 20 } });
    await stage.replica();
    for (const id of ['a', 'b', 'c', 'd']) await stage.send(id);
    assert.deepEqual(stage.ends, { d: 'RESOURCE_EXHAUSTED' });
  });

  test('a full queue refuses at once, by bytes', async () => {
    const stage = new ServingStage({ queue: { sizeMax: 100, bytesMax: 10 } });
    await stage.replica();
    for (const id of ['a', 'b', '12345678', 'xyz']) await stage.send(id);
    assert.deepEqual(stage.ends, { xyz: 'RESOURCE_EXHAUSTED' });
  });

  test('what cannot meet its deadline behind the queue is refused at once', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    for (const id of ['cold', 'slow']) {
      await stage.send(id);
      await stage.clock.advance(1000);
      await stage.answer(lane); // a run takes 1000 ms
    }
    for (const id of ['a', 'b', 'c', 'd']) await stage.send(id, { timeoutMs: 20_000 });
    await stage.send('hurried', { timeoutMs: 1500 });
    assert.equal(stage.endOf('hurried'), 'RESOURCE_EXHAUSTED');
    await stage.send('patient', { timeoutMs: 20_000 });
    assert.equal(stage.endOf('patient'), undefined);
  });
});

describe('frozen and hung', () => {
  test('a frozen replica gets nothing new and its idempotent run goes elsewhere too; the first answer wins', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    stage.dispatcher.routeSuspect(one.route, true);
    await settle();
    assert.deepEqual([one.on, two.on], [['a'], ['a']]);
    await stage.send('b');
    assert.deepEqual(two.on, ['a', 'b']);
    await stage.answer(two);
    assert.equal(stage.endOf('a'), 'ok');
    await stage.answer(one); // it was only slow
    assert.equal(stage.dispatcher.lateResults, 1);
    await stage.send('c');
    assert.deepEqual(one.on, ['c'], 'it answered, so it takes work again');
  });

  test('what may not run twice stays with the frozen replica', async () => {
    const stage = new ServingStage({ idempotent: false });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    stage.dispatcher.routeSuspect(one.route, true);
    await settle();
    assert.deepEqual([one.on, two.on], [['a'], []]);
  });

  test('a run beyond hangMs ends its lane, and the request is a suspect', async () => {
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 });
    const one = await stage.replica();
    await stage.send('a');
    await stage.clock.advance(1300);
    assert.equal(one.ended?.reason, 'hung');
    const two = await stage.replica();
    assert.equal(stage.dispatcher.onProbation('echo-2'), true);
    await stage.clock.advance(1300);
    assert.equal(two.ended?.reason, 'hung');
    assert.equal(stage.endOf('a'), 'POISON');
  });

  test('a run posted ahead is not hung while another runs', async () => {
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000 });
    const lane = await stage.replica();
    await stage.send('a');
    await stage.send('b');
    await stage.clock.advance(900);
    await stage.answer(lane);
    await stage.clock.advance(900);
    assert.equal(lane.ended, undefined);
  });

  test('the hang clock stands still while only nested calls are pending', async () => {
    const stage = new ServingStage({ hangMs: 1000, timeoutMs: 30_000, idempotent: false });
    const lane = await stage.replica();
    await stage.send('a');
    const run = stage.dispatcher.runOf('echo-1', lane.pending[0]!.task.id)!;
    let done!: () => void;
    void stage.dispatcher.whileNested(run, new Promise<void>((resolve) => (done = resolve)));
    await stage.clock.advance(5000);
    assert.equal(stage.lost.length, 0);
    done();
    await stage.clock.advance(900);
    assert.equal(stage.lost.length, 0);
    await stage.clock.advance(400);
    assert.equal(lane.ended?.reason, 'hung');
  });
});

describe('drain', () => {
  test('a closed route finishes what it has and gets nothing new', async () => {
    const stage = new ServingStage();
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    stage.dispatcher.routeClosed(one.route);
    await stage.send('b');
    await stage.send('c');
    assert.deepEqual([one.on, two.on], [['a'], ['b', 'c']]);
    await stage.answer(one);
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('whenIdle waits for the last accepted request', async () => {
    const stage = new ServingStage();
    const lane = await stage.replica();
    await stage.send('a');
    let idle = false;
    void stage.dispatcher.whenIdle().then(() => (idle = true));
    await settle();
    assert.equal(idle, false);
    await stage.answer(lane);
    assert.equal(idle, true);
  });
});

describe('late runs', () => {
  const learned = async (stage: ServingStage, lane: Awaited<ReturnType<ServingStage['replica']>>): Promise<void> => {
    for (let i = 0; i < 32; i++) {
      await stage.send(`warm-${i % 10}`);
      await stage.clock.advance(5);
      await stage.answer(lane);
    }
  };

  test('a run 8 times slower than its like is run elsewhere too; its replica gets nothing new until it answers', async () => {
    const stage = new ServingStage();
    const one = await stage.replica();
    await learned(stage, one);
    const two = await stage.replica();
    await stage.send('late-0');
    const [slow, other] = one.on.includes('late-0') ? [one, two] : [two, one];
    await stage.clock.advance(90);
    assert.deepEqual(other.on, [], 'not before 100 ms');
    await stage.clock.advance(40);
    assert.deepEqual([slow.on, other.on], [['late-0'], ['late-0']]);
    await stage.send('next');
    assert.deepEqual(other.on, ['late-0'], 'alone, for it may be what never ends');
    await stage.answer(other);
    assert.equal(stage.endOf('late-0'), 'ok');
    assert.deepEqual([slow.on, other.on], [['late-0'], ['next']]);
    await stage.answer(slow);
    assert.deepEqual(stage.slow.map((line) => line.split(' ')[1]), ['late', 'answered']);
  });

  test('an unknown shape is late after a third of timeoutMs', async () => {
    const stage = new ServingStage({ timeoutMs: 3000 });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.clock.advance(990);
    assert.deepEqual([one.on, two.on], [['a'], []]);
    await stage.clock.advance(50);
    assert.deepEqual([one.on, two.on], [['a'], ['a']]);
  });

  test('suspectMs of the spec overrules what was learned', async () => {
    const stage = new ServingStage({ suspectMs: 300 });
    const [, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    await stage.clock.advance(330);
    assert.deepEqual(two.on, ['a']);
  });

  test('with nowhere else to go nobody is suspected', async () => {
    const stage = new ServingStage({ suspectMs: 300 });
    const lane = await stage.replica();
    await stage.send('a');
    await stage.clock.advance(2000);
    assert.deepEqual(stage.slow, []);
    await stage.answer(lane);
    assert.equal(stage.endOf('a'), 'ok');
  });
});

describe('guard', () => {
  const fp32 = (...values: number[]) => ({ name: 'y', datatype: 'FP32' as const, shape: [values.length], data: new Uint8Array(new Float32Array(values).buffer) });
  const answers = (...values: number[]) => ({ ok: true as const, outputs: [fp32(...values)], runMs: 1 });

  test('a refused answer is tried once elsewhere, and the replica is doubted', async () => {
    const stage = new ServingStage({ guard: { finite: true } });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    one.answer(answers(NaN));
    await settle();
    assert.deepEqual([one.on, two.on], [[], ['a']]);
    assert.deepEqual(stage.doubted, ['echo-1']);
    two.answer(answers(1));
    await settle();
    assert.equal(stage.endOf('a'), 'ok');
  });

  test('a second refusal is INTERNAL with reason guard', async () => {
    const stage = new ServingStage({ guard: { finite: true, range: { y: { min: 0, max: 1 } } } });
    const [one, two] = [await stage.replica(), await stage.replica()];
    await stage.send('a');
    one.answer(answers(2));
    await settle();
    two.answer(answers(-1));
    await settle();
    assert.equal(stage.endOf('a'), 'INTERNAL');
    assert.match(stage.outcomes[0]!.message!, /refused twice: y has -1/);
  });

  test('with one replica it is tried there again', async () => {
    const stage = new ServingStage({ guard: { finite: true } });
    const one = await stage.replica();
    await stage.send('a');
    one.answer(answers(NaN));
    await settle();
    assert.deepEqual(one.on, ['a']);
  });

  test('NaN in the inputs explains NaN in the outputs: no replica is blamed', async () => {
    const stage = new ServingStage({ guard: { finite: true } });
    const one = await stage.replica();
    await stage.send('a', { inputs: [{ ...fp32(NaN, 1), name: 'x' }] });
    one.answer(answers(NaN));
    await settle();
    assert.equal(stage.endOf('a'), 'ok');
    assert.deepEqual(stage.doubted, []);
  });
});

describe('errors against siblings', () => {
  const failure = { ok: false as const, code: 'INTERNAL' as const, message: 'no' };

  test('a replica that fails where its siblings do not is named; errors all share name nobody', async () => {
    const alone = new ServingStage({ idempotent: false });
    const [bad, good] = [await alone.replica(), await alone.replica()];
    for (let i = 0; i < 12; i++) {
      await alone.send(`x${i}`);
      await alone.send(`y${i}`);
      bad.answer(failure);
      good.answer();
      await settle();
    }
    assert.deepEqual(alone.erring, ['echo-1']);
    const shared = new ServingStage({ idempotent: false });
    const lanes = [await shared.replica(), await shared.replica()];
    for (let i = 0; i < 12; i++) {
      await shared.send(`x${i}`);
      await shared.send(`y${i}`);
      for (const lane of lanes) lane.answer(failure);
      await settle();
    }
    assert.deepEqual(shared.erring, []);
  });
});
