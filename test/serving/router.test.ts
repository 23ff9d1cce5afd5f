/** What the router sends on to another host and what stays, and how an endpoint counts what came back from there. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ServeError, isServeError } from '../../src/errors.js';
import type { BusMessage } from '../../src/ports.js';
import { encodeRequest, joinEncoded } from '../../src/protocol/infer.js';
import { Endpoint } from '../../src/serving/endpoint.js';
import { Router, type Elsewhere } from '../../src/serving/router.js';
import type { InferAnswer, InferCall } from '../../src/serving/ticket.js';
import { ServingStage, inputOf } from '../support/serving-stage.js';
import { settle } from '../support/sim-clock.js';

class Stage extends ServingStage {
  /** Requests another host was asked to answer. */
  readonly sentOn: { readonly call: InferCall; readonly ran: number | undefined }[] = [];
  readonly router: Router;

  constructor(options: ConstructorParameters<typeof ServingStage>[0], answer: Partial<InferAnswer> = {}) {
    super(options, { readyElsewhere: () => true });
    const elsewhere: Elsewhere = {
      ready: () => true,
      actors: () => ['echo'],
      infer: (_actor, call, ran) => {
        this.sentOn.push({ call, ran });
        return Promise.resolve({ outputs: [], servedBy: 'echo-9#1', host: 'other', attempts: 1, version: 'v', device: 'cpu', ...answer });
      },
    };
    this.router = new Router(this.clock, elsewhere);
    this.router.register({ name: 'echo', dispatcher: this.dispatcher, metadata: undefined, version: 'v' });
  }

  /** @returns how the call ends: `ok`, or the code of its error */
  async ask(id: string, then: () => Promise<void>): Promise<string> {
    const end = this.router.infer('echo', { requestId: id, inputs: [inputOf(id)], timeoutMs: 30_000 }).then(
      () => 'ok',
      (error: unknown) => (isServeError(error) ? error.code : String(error)),
    );
    await settle();
    await then();
    return end;
  }
}

describe('sent on to another host', () => {
  test('a run that failed with UNAVAILABLE and may run twice', async () => {
    const stage = new Stage({});
    const lane = await stage.replica();
    assert.equal(await stage.ask('a', async () => void lane.answer({ ok: false, code: 'UNAVAILABLE', message: 'its own call failed' })), 'ok');
    assert.deepEqual(stage.sentOn.map(({ ran, call }) => [ran, call.attemptsLeft]), [[1, 2]]);
  });

  test('not one that may not run twice: it ran here', async () => {
    const stage = new Stage({ idempotent: false });
    const lane = await stage.replica();
    assert.equal(await stage.ask('a', async () => void lane.answer({ ok: false, code: 'UNAVAILABLE', message: 'its own call failed' })), 'UNAVAILABLE');
    assert.deepEqual(stage.sentOn, []);
  });

  test('one that may not run twice and never ran', async () => {
    const stage = new Stage({ idempotent: false });
    const lane = await stage.replica();
    await stage.send('running');
    assert.equal(await stage.ask('a', () => stage.die(lane)), 'ok');
    assert.deepEqual([stage.endOf('running'), stage.sentOn.map(({ ran }) => ran)], ['UNAVAILABLE(unknown)', [0]]);
  });

  test('not a suspect, whatever becomes of it here', async () => {
    const stage = new Stage({});
    const lane = await stage.replica();
    const end = await stage.ask('bad', async () => {
      await stage.die(lane);
      stage.dispatcher.setProspect(false, 'the pool gave up');
    });
    assert.deepEqual([end, stage.sentOn], ['UNAVAILABLE', []]);
  });

  test('not a suspect for which the replay budget is empty', async () => {
    const stage = new Stage({});
    const lane = await stage.replica();
    const end = await stage.ask('bad', async () => {
      while (stage.shared.takeReplay(stage.clock.now()));
      await stage.die(lane);
    });
    assert.deepEqual([end, stage.sentOn], ['UNAVAILABLE', []]);
  });
});

test('an answer of another host that is too large for the bus changes nothing in what is counted here', async () => {
  const stage = new Stage({}, { outputs: [inputOf('x'.repeat(20_000))] });
  const endpoint = new Endpoint(stage.router, { actor: 'echo', host: 'here', clock: stage.clock, random: { next: () => 0, ulid: () => 'id' } as never, answerBytesMax: () => 10_000 });
  const encoded = encodeRequest([inputOf('a')], { binary: true });
  const said: string[] = [];
  const message = {
    hasReply: true, data: joinEncoded(encoded), respond: (data: Uint8Array) => void said.push(new TextDecoder().decode(data)),
    headers: new Map([['inference-header-content-length', String(encoded.jsonLength)]]),
  };
  await endpoint.handle(message as unknown as BusMessage);
  assert.match(said.join(), /PAYLOAD_TOO_LARGE/);
  assert.deepEqual(stage.dispatcher.outcomes, { ok: 0, rejected: 0, canceled: 0, timeout: 0, failed: 0 });
});

test('an error that says `suspect` says so on the wire too, and is not to be tried again', () => {
  const error = ServeError.fromBody(new ServeError('UNAVAILABLE', 'x', { reason: 'suspect' }).toBody());
  assert.deepEqual([error.reason, error.retryable], ['suspect', false]);
});
