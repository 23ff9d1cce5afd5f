import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rejects } from 'node:assert';
import { ACTOR, ClientStage } from './client-stage.js';
import { settle } from '../support/sim-clock.js';

const answered = (stage: ClientStage) => stage.executions.map(({ host, direct }) => `${direct ? 'direct' : 'group'}:${host}`);

/** Three good hosts and a client that has met all of them. */
async function metThree(options?: ConstructorParameters<typeof ClientStage>[0]): Promise<ClientStage> {
  const stage = new ClientStage(options);
  for (const id of ['a', 'b', 'c']) stage.host(id);
  const met = await stage.calls(30);
  assert.deepEqual(new Set(met.map(({ end }) => end)), new Set(['ok@a', 'ok@b', 'ok@c']));
  stage.executions.length = 0;
  return stage;
}

test('all is well: the queue group, one execution, one kept in reserve, the way back left out of the budget', async () => {
  const stage = new ClientStage();
  stage.host('a');
  const [call] = await stage.calls(1, { timeoutMs: 1000 });
  assert.equal(call!.end, 'ok@a');
  assert.deepEqual(stage.executions.map(({ direct, attemptsLeft, timeoutMs }) => [direct, attemptsLeft, timeoutMs]), [[false, 2, 990]]);
  assert.equal(stage.clock.pending, 0);
});

test('a frozen host costs the one request it swallowed a learned time-out, and later calls avoid it', async () => {
  const stage = await metThree();
  stage.hosts[0]!.frozen = true;
  const calls = await stage.calls(40, { timeoutMs: 5000 });
  assert.ok(calls.every(({ end }) => end === 'ok@b' || end === 'ok@c'), String(calls.map(({ end }) => end)));
  assert.deepEqual(calls.filter(({ tookMs }) => tookMs > 1).map(({ tookMs }) => tookMs), [250]);
  assert.equal(stage.executions.filter(({ host }) => host === 'a').length, 1, 'the frozen host was asked once');
});

test('a frozen host stays avoided for as long as it is frozen: pings find out, not callers', async () => {
  const stage = await metThree();
  stage.hosts[0]!.frozen = true;
  await stage.calls(3);
  stage.executions.length = 0;
  for (let minute = 0; minute < 12; minute++) {
    const calls = await stage.calls(3);
    assert.ok(calls.every(({ tookMs }) => tookMs <= 1));
    await stage.clock.advance(10_000);
  }
  assert.ok(stage.executions.every(({ host, direct }) => host !== 'a' && direct));
});

test('a host that thaws is trusted again, and the queue group with it', async () => {
  const stage = await metThree();
  stage.hosts[0]!.frozen = true;
  await stage.calls(3);
  stage.hosts[0]!.frozen = false;
  await stage.clock.advance(6000);
  await stage.calls(1); // its ping goes along with a call
  stage.executions.length = 0;
  const calls = await stage.calls(9);
  assert.ok(calls.some(({ end }) => end === 'ok@a'));
  assert.ok(stage.executions.every(({ direct }) => !direct));
});

test('calls side by side: each waits at most once for the frozen host, which is one strike', async () => {
  const stage = await metThree();
  stage.hosts[0]!.frozen = true;
  const calls = Array.from({ length: 9 }, () => stage.call());
  await stage.runOut();
  assert.ok(calls.every(({ end }) => end?.startsWith('ok@')));
  assert.deepEqual(calls.map(({ tookMs }) => tookMs).sort((a, b) => a - b), [0, 0, 0, 0, 0, 0, 250, 250, 250]);
  // One strike is 5 s: a second one would keep it out for 10.
  stage.hosts[0]!.frozen = false;
  await stage.clock.advance(5000);
  await stage.calls(1);
  stage.executions.length = 0;
  await stage.calls(3);
  assert.ok(stage.executions.every(({ direct }) => !direct));
});

test('hosts that live and a request that is late: it is sent elsewhere too, the first answer wins, the other is dropped', async () => {
  const stage = new ClientStage();
  for (const id of ['a', 'b']) stage.host(id, ({ direct }) => ({ end: 'ok', afterMs: direct ? 100 : 2900 }));
  const [call] = await stage.calls(1, { timeoutMs: 3000 });
  assert.deepEqual([call!.end!.slice(0, 3), call!.tookMs], ['ok@', 1100]);
  assert.deepEqual(stage.executions.map(({ direct, attemptsLeft }) => [direct, attemptsLeft]), [[false, 2], [true, 1]]);
  await stage.runOut();
  stage.executions.length = 0;
  await stage.calls(1);
  assert.equal(stage.executions[0]!.direct, false, 'both answered their pings, so the queue group is trusted');
});

test('one host alone that is slow is not asked twice', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'ok', afterMs: 2500 });
  const [call] = await stage.calls(1, { timeoutMs: 3000 });
  assert.equal(call!.end, 'ok@a');
  assert.equal(stage.executions.length, 1);
});

test('a host that left: no-responders on its subject costs nothing, not even a pause', async () => {
  const stage = await metThree();
  stage.hosts[0]!.frozen = true;
  await stage.calls(4);
  await stage.hosts[1]!.bus.close();
  stage.executions.length = 0;
  const calls = await stage.calls(10);
  assert.ok(calls.every(({ end, tookMs }) => end === 'ok@c' && tookMs === 0));
  assert.equal(stage.executions.length, 10);
});

test('draining and full hosts: elsewhere after a pause, no execution used', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'RESOURCE_EXHAUSTED' });
  stage.host('b', { end: 'UNAVAILABLE', runs: 0 });
  stage.host('c');
  const calls = await stage.calls(60);
  assert.deepEqual(new Set(calls.map(({ end }) => end)), new Set(['ok@c']));
  assert.ok(stage.executions.every(({ attemptsLeft }) => attemptsLeft === 2));
});

test('what ran and failed is repeated with what is left of the executions, then its error is the answer', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'UNAVAILABLE', runs: 1 });
  const [call] = await stage.calls(1);
  assert.equal(call!.end, 'UNAVAILABLE');
  assert.deepEqual(stage.executions.map(({ attemptsLeft }) => attemptsLeft), [2, 1, 1]);
});

test('a host that does not say what it used has used all it was allowed', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'UNAVAILABLE', runs: 9, mute: true });
  const [call] = await stage.calls(1);
  assert.equal(call!.end, 'UNAVAILABLE');
  assert.deepEqual(stage.executions.map(({ attemptsLeft }) => attemptsLeft), [2, 1]);
});

for (const code of ['INVALID_ARGUMENT', 'POISON', 'INTERNAL', 'DEADLINE_EXCEEDED'] as const) {
  test(`${code} is the answer at once`, async () => {
    const stage = new ClientStage();
    stage.host('a', { end: code, runs: 1 });
    const [call] = await stage.calls(1);
    assert.deepEqual([call!.end, call!.tookMs, stage.executions.length], [code, 0, 1]);
  });
}

test('the deadline is exact, whatever the hosts do', async () => {
  for (const frozen of [true, false]) {
    const stage = new ClientStage();
    stage.host('a', { end: 'RESOURCE_EXHAUSTED' }).frozen = frozen;
    const [call] = await stage.calls(1, { timeoutMs: 777 });
    assert.equal(call!.end, frozen ? 'DEADLINE_EXCEEDED' : 'RESOURCE_EXHAUSTED');
    if (frozen) assert.equal(call!.tookMs, 777);
    else assert.ok(call!.tookMs <= 777);
    await stage.runOut();
  }
});

test('not idempotent: silence is waited for until the deadline, never repeated', async () => {
  const stage = await metThree();
  for (const host of stage.hosts) host.act = () => ({ end: 'silence' });
  const [call] = await stage.calls(1, { idempotent: false, timeoutMs: 3000 });
  assert.deepEqual([call!.end, call!.tookMs], ['DEADLINE_EXCEEDED', 3000]);
  assert.deepEqual(stage.executions.map(({ attemptsLeft }) => attemptsLeft), [1]);
});

test('not idempotent: the connection goes with it, and its outcome is unknown', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'silence' });
  const call = stage.call({ idempotent: false });
  await settle();
  stage.broker.stop();
  await settle();
  assert.equal(call.end, 'UNAVAILABLE(unknown)');
  stage.broker.start();
  await stage.runOut();
  assert.equal(stage.executions.length, 1);
});

test('not idempotent: a refusal that ran nothing is tried elsewhere', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'UNAVAILABLE', runs: 0 });
  stage.host('b');
  const calls = await stage.calls(10, { idempotent: false });
  assert.ok(calls.every(({ end }) => end === 'ok@b'));
  assert.ok(stage.executions.every(({ attemptsLeft }) => attemptsLeft === 1));
});

for (const kind of ['model', 'module'] as const) {
  test(`a ${kind} whose caller says nothing ${kind === 'model' ? 'is repeated' : 'is not repeated'} after a silence and after a lost connection`, async () => {
    const stage = new ClientStage({ kind });
    stage.host('a', { end: 'silence' });
    stage.host('b', { end: 'silence' });
    const silent = stage.call({ timeoutMs: 3000, requestId: 'silent' });
    await stage.runOut();
    assert.equal(silent.end, 'DEADLINE_EXCEEDED');
    assert.equal(stage.executions.filter(({ requestId }) => requestId === 'silent').length, kind === 'model' ? 2 : 1);
    const lost = stage.call({ timeoutMs: 3000, requestId: 'lost' });
    await settle();
    stage.broker.stop();
    await settle();
    for (const host of stage.hosts) host.act = () => ({ end: 'ok' });
    stage.broker.start();
    await settle();
    if (kind === 'model') assert.match(lost.end!, /^ok@/);
    else assert.equal(lost.end, 'UNAVAILABLE(unknown)');
  });
}

test('a module may be repeated when its caller says so', async () => {
  const stage = new ClientStage({ kind: 'module' });
  stage.host('a').frozen = true;
  stage.host('b');
  const calls = await stage.calls(2, { idempotent: true });
  assert.deepEqual(calls.map(({ end }) => end), ['ok@b', 'ok@b']);
});

test('nobody says of what kind the actor is: a lost call is not repeated', async () => {
  const stage = new ClientStage();
  const host = stage.host('a', { end: 'silence' });
  const call = stage.call({ timeoutMs: 4000 });
  stage.broker.stop(); // with the status question on its way as well
  await settle();
  host.frozen = true;
  stage.broker.start();
  await stage.runOut();
  assert.equal(call.end, 'UNAVAILABLE(unknown)');
});

test('the retry budget of a client: a fifth of the calls and ten repetitions, then errors surface', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'UNAVAILABLE', runs: 1 });
  const calls = Array.from({ length: 30 }, () => stage.call());
  await stage.clock.advance(3000);
  assert.ok(calls.every(({ end }) => end === 'UNAVAILABLE'));
  assert.equal(stage.executions.length, 30 + 10 + 30 * 0.2);
});

test('refusals that ran nothing are not charged to the retry budget', async () => {
  const stage = new ClientStage();
  let refusals = 0;
  stage.host('a', () => (refusals++ < 200 ? { end: 'UNAVAILABLE', runs: 0 } : { end: 'ok' }));
  const calls = Array.from({ length: 30 }, () => stage.call({ timeoutMs: 20_000 }));
  await stage.clock.advance(20_000);
  assert.ok(calls.every(({ end }) => end === 'ok@a'));
});

test('while the connection is down a call waits for it, within its deadline', async () => {
  const stage = new ClientStage();
  stage.host('a');
  stage.broker.stop();
  const patient = stage.call({ timeoutMs: 2000 });
  const hasty = stage.call({ timeoutMs: 500 });
  await stage.clock.advance(600);
  assert.deepEqual([hasty.end, hasty.tookMs], ['UNAVAILABLE', 500]);
  assert.equal(patient.end, undefined);
  stage.broker.start();
  await settle();
  assert.deepEqual([patient.end, patient.tookMs], ['ok@a', 600]);
  assert.equal(stage.clock.pending, 0);
});

test('the connection is lost again and again: an idempotent call goes on while it has executions', async () => {
  const stage = new ClientStage();
  const host = stage.host('a');
  await stage.calls(1);
  host.act = () => ({ end: 'silence' });
  const call = stage.call({ requestId: 'x' });
  for (let i = 0; i < 4; i++) {
    await settle();
    stage.broker.stop();
    await settle();
    stage.broker.start();
  }
  await settle();
  assert.equal(call.end, 'UNAVAILABLE');
  assert.deepEqual(stage.executions.filter(({ requestId }) => requestId === 'x').map(({ attemptsLeft }) => attemptsLeft), [2, 1]);
});

test('the caller gives up: its reason, and nothing is left behind', async () => {
  const stage = await metThree();
  for (const host of stage.hosts) host.act = () => ({ end: 'silence' });
  for (const afterMs of [0, 100, 2000]) {
    const gone = new AbortController();
    const { signal } = gone;
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: unknown[]) => { listeners++; (addEventListener as (...all: unknown[]) => void).apply(signal, args); };
    signal.removeEventListener = (...args: unknown[]) => { listeners--; (removeEventListener as (...all: unknown[]) => void).apply(signal, args); };
    const call = stage.call({ signal });
    await stage.clock.advance(afterMs);
    gone.abort(new Error('enough'));
    await settle();
    assert.equal(call.end, 'Error: enough');
    await stage.clock.advance(500); // pings and status of their own end by themselves
    assert.equal(stage.clock.pending, 0, `timers after ${afterMs} ms`);
    assert.equal(listeners, 0, `listeners after ${afterMs} ms`);
  }
  const aborted = stage.call({ signal: AbortSignal.abort(new Error('never')) });
  await settle();
  assert.equal(aborted.end, 'Error: never');
});

test('the caller gives up while the connection is down: no timer, no listener on the bus', async () => {
  const stage = new ClientStage();
  let listeners = 0;
  const { onState } = stage.bus;
  stage.bus.onState = (listener) => {
    const stop = onState.call(stage.bus, listener);
    listeners++;
    return () => { listeners--; stop(); };
  };
  stage.broker.stop();
  const gone = new AbortController();
  const call = stage.call({ signal: gone.signal });
  await settle();
  assert.equal(listeners, 1);
  gone.abort(new Error('enough'));
  await settle();
  assert.deepEqual([call.end, listeners, stage.clock.pending], ['Error: enough', 0, 0]);
});

test('nobody there: NOT_FOUND at once where a host knows better, else UNAVAILABLE after pauses', async () => {
  const stage = new ClientStage();
  stage.host('a');
  await rejects(stage.client.infer('nobody', {}), { code: 'NOT_FOUND', message: new RegExp(ACTOR) });
  assert.equal(stage.clock.now(), 0);
  const empty = new ClientStage();
  const [call] = await empty.calls(1, { timeoutMs: 1000 });
  assert.equal(call!.end, 'UNAVAILABLE');
  assert.ok(call!.tookMs <= 1000 && call!.tookMs >= 400);
});

test('the actor is down for a moment everywhere: the call waits for it', async () => {
  const stage = new ClientStage();
  const call = stage.call({ timeoutMs: 3000 });
  await stage.clock.advance(1000);
  stage.host('late');
  await stage.runOut();
  assert.equal(call.end, 'ok@late');
});

test('a closed client: calls under way and later ones end', async () => {
  const stage = new ClientStage();
  stage.host('a', { end: 'silence' });
  const before = stage.call();
  await settle();
  await stage.client.close();
  const after = stage.call();
  await settle();
  assert.deepEqual([before.end, after.end, stage.clock.pending], ['UNAVAILABLE', 'UNAVAILABLE', 0]);
});

test('options that cannot be are INVALID_ARGUMENT', async () => {
  assert.throws(() => new ClientStage({ attemptsMax: 0 }), { code: 'INVALID_ARGUMENT' });
  const stage = new ClientStage();
  await rejects(stage.client.infer(ACTOR, {}, { timeoutMs: NaN }), { code: 'INVALID_ARGUMENT' });
  stage.host('a');
  const [call] = await stage.calls(1, { timeoutMs: Infinity });
  assert.equal(call!.end, 'ok@a');
});
