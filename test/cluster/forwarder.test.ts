/** The forwarder against scripted hosts on a memory bus: who gets a request, how often it may run, what a lost host means. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Forwarder, type ForwardTarget } from '../../src/cluster/forwarder.js';
import { ServeError } from '../../src/errors.js';
import type { BusMessage } from '../../src/ports.js';
import { encodeError } from '../../src/protocol/error-body.js';
import { answerHeaders, errorHeaders } from '../../src/protocol/headers.js';
import { encodeResponse, joinEncoded } from '../../src/protocol/infer.js';
import { subjects as subjectsOf } from '../../src/protocol/subjects.js';

const subjects = subjectsOf();
const log = { log: () => {} };
const call = { inputs: [], requestId: 'r', timeoutMs: 5000, attemptsLeft: 3 };

interface Scene {
  readonly forwarder: Forwarder;
  /** `host Attempts-Left`, in order of arrival. */
  readonly asked: string[];
  /** The host turns suspect under the requests it has. */
  lose(host: string): void;
  budget: number;
}

type Script = (message: BusMessage, lose: () => void) => void;

function scene(targets: readonly ForwardTarget[], scripts: Readonly<Record<string, Script>>): Scene {
  const broker = createMemoryBus({ clock: systemClock, log });
  const hosts = broker.connect();
  const bus = broker.connect();
  const lost = new Map<string, () => void>();
  const made: Scene = {
    asked: [],
    budget: 10,
    lose: (host) => lost.get(host)?.(),
    forwarder: new Forwarder({
      bus: () => bus, subjects, clock: systemClock, targets: () => targets, actors: () => ['a'],
      onLost: (host, tell) => {
        lost.set(host, tell);
        return () => lost.delete(host);
      },
      takeReplay: () => made.budget-- > 0,
    }),
  };
  for (const [host, script] of Object.entries(scripts)) {
    hosts.subscribe(subjects.hostInfer(host, 'a'), (message) => {
      assert.equal(message.headers.get('hops'), '1');
      made.asked.push(`${host} ${message.headers.get('attempts-left')}`);
      script(message, () => made.lose(host));
    });
  }
  return made;
}

const target = (host: string, load = 0, idempotent = true): ForwardTarget => ({ host, load, ready: 1, idempotent });
const answers: Script = (message) => {
  const encoded = encodeResponse({ modelName: 'a', modelVersion: '1', outputs: [] }, { inputs: [], binaryOutputDefault: true } as never);
  message.respond(joinEncoded(encoded), answerHeaders({ servedBy: 'x/a-cpu-0#1', attempts: 1, modelVersion: '1', device: 'cpu', ...(encoded.jsonLength !== undefined && { jsonLength: encoded.jsonLength }) }));
};
const refuses = (attempts: number): Script => (message) => {
  const error = new ServeError('UNAVAILABLE', 'draining', { attempts });
  message.respond(encodeError(error), { ...errorHeaders(error), ...answerHeaders({ servedBy: 'x', attempts }) });
};
const dies: Script = (_message, lose) => lose();

test('the least loaded host gets it, with all executions but one', async () => {
  const { forwarder, asked } = scene([target('busy', 9), target('idle', 1)], { busy: answers, idle: answers });
  const answer = await forwarder.infer('a', call);
  assert.deepEqual([answer.host, answer.servedBy, asked], ['idle', 'a-cpu-0#1', ['idle 2']]);
});

test('a host that is lost with the request has used what it was given; another one gets the rest', async () => {
  const { forwarder, asked } = scene([target('one'), target('two', 5)], { one: dies, two: answers });
  const answer = await forwarder.infer('a', call);
  assert.deepEqual([answer.host, answer.attempts, asked], ['two', 3, ['one 2', 'two 1']]);
});

test('a refusal that ran nothing costs no execution and no budget', async () => {
  const stage = scene([target('one'), target('two', 5)], { one: refuses(0), two: answers });
  stage.budget = 0;
  assert.equal((await stage.forwarder.infer('a', call)).attempts, 1);
  assert.deepEqual(stage.asked, ['one 2', 'two 2']);
});

test('another execution is paid out of the replay budget of this host', async () => {
  const stage = scene([target('one'), target('two', 5)], { one: dies, two: answers });
  stage.budget = 0;
  await assert.rejects(stage.forwarder.infer('a', call), { code: 'UNAVAILABLE', attempts: 2 });
  assert.deepEqual(stage.asked, ['one 2']);
});

for (const [what, idempotent, spec] of [['the caller forbids it', false, true], ['its spec does', undefined, false]] as const) {
  test(`lost with the host and not to run twice, because ${what}: outcome unknown, nobody else is asked`, async () => {
    const { forwarder, asked } = scene([target('one', 0, spec), target('two', 5, spec)], { one: dies, two: answers });
    await assert.rejects(forwarder.infer('a', { ...call, idempotent }), { code: 'UNAVAILABLE', outcome: 'unknown', retryable: false });
    assert.equal(asked.length, 1);
  });
}

test('a host that left meanwhile is passed over; when nobody is left, the last refusal is the answer', async () => {
  const { forwarder, asked } = scene([target('gone'), target('one', 5)], { one: refuses(0) });
  await assert.rejects(forwarder.infer('a', call), { code: 'UNAVAILABLE', message: 'draining', attempts: 0 });
  assert.deepEqual(asked, ['one 2']);
});
