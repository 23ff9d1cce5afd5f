/** Replicas are killed under steady load, again and again: callers see answers, operators see what happened. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectPlain, headers, type NatsConnection } from '@nats-io/transport-node';
import { encodeRequest, joinEncoded } from '../../src/protocol/infer.js';
import { namedTensors } from '../../src/tensor/typed.js';
import { blankDigit, briskRestart, digits, stageHost, type HostStage } from '../support/host-stage.js';
import { steadyLoad } from '../support/load.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import type { RegrowEvent } from '../../src/protocol/events.js';

const KILLS = 3;

let nats: TestNats;
let stage: HostStage;
let plain: NatsConnection;
before(async () => {
  nats = await startTestNats();
  stage = await stageHost({
    nats: { servers: nats.url, ...nats.host },
    actors: [
      digits({ name: 'one', restart: briskRestart }),
      digits({ name: 'two', replicas: 2, restart: briskRestart }),
    ],
  });
  // Somebody who has never heard of regrow, and has no password.
  plain = await connectPlain({ servers: nats.url });
});
after(async () => {
  await plain.close();
  await stage[Symbol.asyncDispose]();
  await nats.remove();
});

const inMemory = (actor: string) => (n: number): Promise<unknown> => stage.host.infer(actor, blankDigit, { requestId: `memory-${n}` });

const jsonBody = JSON.stringify({ inputs: [{ name: 'image', datatype: 'FP32', shape: [1, 1, 28, 28], data: Array<number>(784).fill(0) }] });

const overJson = (actor: string) => async (n: number): Promise<void> => {
  const asked = headers();
  asked.set('Request-Id', `json-${n}`);
  const answer = await plain.request(`regrow.infer.${actor}`, jsonBody, { timeout: 6000, headers: asked });
  assert.equal(answer.headers?.get('Nats-Service-Error-Code') ?? '', '', answer.string());
  const { outputs } = answer.json<{ outputs: { name: string; shape: number[]; data: number[] }[] }>();
  assert.deepEqual(outputs[0]!.shape, [1, 10]);
  assert.equal(outputs[0]!.data.length, 10);
};

const encoded = encodeRequest(namedTensors(blankDigit), { binary: true });
const binaryBody = joinEncoded(encoded);

const overBinary = (actor: string) => async (n: number): Promise<void> => {
  const asked = headers();
  asked.set('Inference-Header-Content-Length', String(encoded.jsonLength));
  asked.set('Request-Id', `binary-${n}`);
  const answer = await plain.request(`regrow.infer.${actor}`, binaryBody, { timeout: 6000, headers: asked });
  assert.equal(answer.headers?.get('Nats-Service-Error-Code') ?? '', '', answer.string());
  const jsonLength = Number(answer.headers!.get('Inference-Header-Content-Length'));
  assert.equal(answer.data.length - jsonLength, 40, '10 FP32 after the JSON');
};

const ways = { 'in memory': inMemory, 'plain NATS, JSON': overJson, 'plain NATS, binary': overBinary };

for (const [way, ask] of Object.entries(ways)) {
  for (const actor of ['one', 'two']) {
    test(`${way}, actor with ${actor} replica${actor === 'one' ? '' : 's'}: ${KILLS} SIGKILLs, no request fails`, async () => {
      const before = stage.replica(actor);
      const load = steadyLoad(ask(actor));
      await load.answered(20);
      const named: string[] = [];
      for (let kill = 0; kill < KILLS; kill++) {
        const from = stage.events.all.length;
        const victim = stage.replica(actor);
        process.kill(victim.pid, 'SIGKILL');
        const mine = (type: RegrowEvent['type']) => (event: RegrowEvent): boolean => event.type === type && event.replica === victim.id;
        await stage.events.next(mine('replica-ready'), 'the replica back', from);
        const story = stage.events.all.slice(from).filter(({ replica }) => replica === victim.id);
        assert.deepEqual(story.map(({ type }) => type), ['replica-exit', 'replica-restart', 'replica-ready']);
        assert.equal(story[0]!.reason, 'killed: SIGKILL');
        const now = stage.replica(actor);
        assert.notEqual(now.pid, victim.pid);
        assert.equal(now.incarnation, victim.incarnation + 1);
        assert.equal(now.lastExit!.reason, 'killed');
        named.push(...now.lastExit!.requests);
        await load.answered(20);
      }
      const { ok, failures } = await load.stop();
      assert.deepEqual(failures.slice(0, 5), []);
      assert.ok(ok > 20 * KILLS);
      assert.equal(stage.replica(actor).restarts, before.restarts + KILLS);
      assert.equal(stage.actor(actor).state, 'ready');
      // Four callers who ask again at once: a replica is hardly ever killed idle.
      assert.ok(named.length > 0, 'no exit named a request');
      assert.match(named[0]!, /^(memory|json|binary)-\d+$/);
    });
  }
}

test('a replica of two is killed: the other serves on, and the host says degraded until it is back', async () => {
  const from = stage.events.all.length;
  process.kill(stage.replica('two').pid, 'SIGKILL');
  const exit = stage.events.next(({ type }) => type === 'replica-exit', 'the exit', from);
  await exit;
  const { ready, state, reason } = stage.actor('two');
  assert.deepEqual([ready, state], [1, 'degraded']);
  assert.match(reason, /two-cpu-0/);
  await stage.host.infer('two', blankDigit);
  await stage.events.next(({ type }) => type === 'replica-ready', 'the replica back', from);
  assert.equal(stage.actor('two').state, 'ready');
});

test('all replicas of an actor killed at once: requests wait and are answered', async () => {
  const load = steadyLoad(inMemory('two'));
  await load.answered(10);
  const from = stage.events.all.length;
  for (const { pid } of stage.actor('two').replicas) process.kill(pid, 'SIGKILL');
  await stage.events.times(2, ({ type }) => type === 'replica-ready', 'both back', from);
  await load.answered(10);
  assert.deepEqual((await load.stop()).failures.slice(0, 5), []);
});

test('the frozen replica of two is suspected, its request is answered elsewhere, it is replaced', async () => {
  const from = stage.events.all.length;
  const victim = stage.replica('two');
  const load = steadyLoad(inMemory('two'));
  await load.answered(10);
  process.kill(victim.pid, 'SIGSTOP');
  const exit = await stage.events.next(({ type }) => type === 'replica-exit', 'the end of the frozen one', from);
  assert.match(exit.reason, /^hung: did not answer pings/);
  await stage.events.next(({ type }) => type === 'replica-ready', 'its replacement', from);
  assert.deepEqual((await load.stop()).failures.slice(0, 5), []);
});
