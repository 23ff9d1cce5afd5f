/** What strangers send over NATS: exactly one answer each, with headers and body that say what is wrong, and no harm done. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectPlain, createInbox, headers, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { connect, type Client } from '../../src/index.js';
import { encodeRequest, joinEncoded } from '../../src/protocol/infer.js';
import { namedTensors } from '../../src/tensor/typed.js';
import { act, acts, blankDigit, digits, gate, rejection, stageHost, type HostStage } from '../support/host-stage.js';
import { within } from '../support/lanes.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';

let nats: TestNats;
let stage: HostStage;
let plain: NatsConnection;
let client: Client;
before(async () => {
  nats = await startTestNats();
  stage = await stageHost({
    nats: { servers: nats.url, ...nats.host },
    actors: [digits(), acts('tool', { idempotent: true }), acts('busy', { queue: { sizeMax: 1 } })],
  });
  plain = await connectPlain({ servers: nats.url });
  client = await connect({ servers: nats.url });
});
after(async () => {
  await client?.close();
  await plain?.close();
  await stage?.[Symbol.asyncDispose]();
  await nats?.remove();
});

/** Sends one message and collects every answer to it until a later question was answered: what comes twice is seen. */
async function answersTo(actor: string, body: string | Uint8Array, fields: Record<string, string> = {}): Promise<Msg[]> {
  const inbox = createInbox();
  const answers: Msg[] = [];
  let first = (): void => {};
  const came = new Promise<void>((resolve) => (first = resolve));
  const subscription = plain.subscribe(inbox, { callback: (_error, message) => { answers.push(message); first(); } });
  const asked = headers();
  for (const [name, value] of Object.entries(fields)) asked.set(name, value);
  plain.publish(`regrow.infer.${actor}`, body, { reply: inbox, headers: asked });
  await within(came, 'an answer');
  // The same host answers this on the same connection, so anything it had still to say has been said.
  await plain.request('regrow.status', '', { timeout: 5000 });
  subscription.unsubscribe();
  return answers;
}

interface Refusal {
  readonly code: string;
  readonly error: string;
  readonly retryAfter: string;
}

/** The one answer, which must be a refusal whose headers and body agree. */
async function refusal(actor: string, body: string | Uint8Array, fields?: Record<string, string>): Promise<Refusal> {
  const answers = await answersTo(actor, body, fields);
  assert.equal(answers.length, 1);
  const { headers: told, data } = answers[0]!;
  const { code, error, retryable } = JSON.parse(new TextDecoder().decode(data)) as { code: string; error: string; retryable: boolean };
  const numbers: Record<string, string> = { INVALID_ARGUMENT: '400', PAYLOAD_TOO_LARGE: '413', RESOURCE_EXHAUSTED: '429', DEADLINE_EXCEEDED: '504', UNAVAILABLE: '503' };
  assert.equal(told!.get('Nats-Service-Error-Code'), numbers[code], error);
  assert.ok(told!.get('Nats-Service-Error').length > 0);
  assert.equal(retryable, code === 'RESOURCE_EXHAUSTED' || code === 'UNAVAILABLE');
  assert.match(told!.get('Served-By'), /^stage/);
  return { code, error, retryAfter: told!.get('Retry-After') };
}

const json = (inputs: unknown, more: object = {}): string => JSON.stringify({ inputs, ...more });
const good = { name: 'image', datatype: 'FP32', shape: [1, 1, 28, 28], data: Array<number>(784).fill(0) };
const encoded = encodeRequest(namedTensors(blankDigit), { binary: true });
const binary = joinEncoded(encoded);
const jsonLength = String(encoded.jsonLength);

const malformed: Record<string, [string | Uint8Array, Record<string, string>?]> = {
  'nothing': [''],
  'no JSON': ['{"inputs":[{'],
  'no UTF-8': [Uint8Array.of(0xff, 0xfe, 0x00)],
  'JSON that is no object': ['[1,2,3]'],
  'no inputs': ['{}'],
  'inputs that are no list': ['{"inputs":{"image":1}}'],
  'an input without a name': [json([{ ...good, name: undefined }])],
  'a wrong name': [json([{ ...good, name: 'picture' }])],
  'a wrong datatype': [json([{ ...good, datatype: 'INT64' }])],
  'an unknown datatype': [json([{ ...good, datatype: 'FLOAT' }])],
  'a wrong shape': [json([{ ...good, shape: [1, 1, 56, 14] }])],
  'a negative dimension': [json([{ ...good, shape: [-1, -1, -28, -28] }])],
  'dimensions beyond all numbers': [json([{ ...good, shape: [1e15, 1e15, 1e15, 1e15] }])],
  'too few elements': [json([{ ...good, data: [1, 2, 3] }])],
  'text where numbers belong': [json([{ ...good, data: Array<string>(784).fill('x') }])],
  'the same input twice': [json([good, good])],
  'one input too many': [json([good, { ...good, name: 'more' }])],
  'an output the model has not': [json([good], { outputs: [{ name: 'score' }] })],
  'a truncated binary tensor': [binary.subarray(0, binary.length - 1), { 'Inference-Header-Content-Length': jsonLength }],
  'a binary tensor with a byte too many': [Buffer.concat([binary, Buffer.of(0)]), { 'Inference-Header-Content-Length': jsonLength }],
  'a JSON length beyond the message': [binary, { 'Inference-Header-Content-Length': String(binary.length + 1) }],
  'a JSON length in the middle of the JSON': [binary, { 'Inference-Header-Content-Length': '20' }],
  'a JSON length that is no number': [binary, { 'Inference-Header-Content-Length': 'many' }],
  'a binary message without its header': [binary],
  'a budget of nothing': [json([good]), { 'Timeout-Ms': '0' }],
  'a budget that is no number': [json([good]), { 'timeout-ms': 'soon' }],
  'a priority there is not': [json([good]), { Priority: '7' }],
  'idempotent: perhaps': [json([good]), { Idempotent: 'perhaps' }],
  'a request id of blanks': [json([good]), { 'Request-Id': 'a b c' }],
};

for (const [what, [body, fields]] of Object.entries(malformed)) {
  test(`INVALID_ARGUMENT, once: ${what}`, async () => {
    const { rejected } = stage.actor('digits').requests;
    const { code, error } = await refusal('digits', body, fields);
    assert.equal(code, 'INVALID_ARGUMENT', error);
    assert.equal(stage.actor('digits').requests.rejected, rejected + 1, 'counted as rejected');
    assert.equal(stage.actor('digits').queue.count, 0);
  });
}

test('after all of that the same replica answers the same question', async () => {
  const [answer] = await answersTo('digits', json([good], { id: 'q-1' }));
  assert.equal(answer!.headers?.get('Nats-Service-Error-Code') ?? '', '');
  const { id, model_name: name } = answer!.json<{ id: string; model_name: string }>();
  assert.deepEqual([id, name], ['q-1', 'digits']);
  assert.equal(stage.replica('digits').restarts, 0);
});

test('an answer over the limit of the broker: PAYLOAD_TOO_LARGE with size, limit and cure, counted as rejected', async () => {
  const { rejected, ok } = stage.actor('tool').requests;
  const { code, error } = await refusal('tool', json([{ name: 'act', datatype: 'BYTES', shape: [2], data: ['large', String(9 * 1024 * 1024)] }]));
  assert.equal(code, 'PAYLOAD_TOO_LARGE');
  assert.match(error, /the answer has \d{7} bytes, the bus takes \d{7}: ask for binary outputs/);
  const now = stage.actor('tool').requests;
  assert.deepEqual([now.rejected, now.ok], [rejected + 1, ok]);
});

test('a request over the limit: the client says so itself', async () => {
  const error = await rejection(client.infer('tool', act('echo', 'x'.repeat(9 * 1024 * 1024))));
  assert.equal(error.code, 'PAYLOAD_TOO_LARGE');
  assert.match(error.message, /\d{7} bytes.*\d{7}/);
});

test('a message nobody waits for the answer of is not run', async () => {
  const runs = async (): Promise<number> => Number(Buffer.from((await client.infer('tool', act('runs'))).outputs['said']!.data[0] as Uint8Array).toString());
  const before = await runs();
  plain.publish('regrow.infer.tool', json([{ name: 'act', datatype: 'BYTES', shape: [1], data: ['echo'] }]));
  await plain.flush();
  assert.equal(await runs(), before + 1);
});

test('a full queue: RESOURCE_EXHAUSTED with Retry-After in whole seconds', async () => {
  const door = gate();
  const from = stage.logs.all.length;
  const first = client.infer('busy', act('wait', door.file), { idempotent: false });
  await stage.logs.next(({ event }) => event === 'inside wait', 'the first run', from);
  const second = stage.host.infer('busy', act('echo'));
  const { code, retryAfter } = await refusal('busy', json([{ name: 'act', datatype: 'BYTES', shape: [1], data: ['echo'] }]));
  assert.equal(code, 'RESOURCE_EXHAUSTED');
  assert.match(retryAfter, /^[1-9]\d*$/);
  door.open();
  await Promise.all([first, second]);
});

test('a budget in a header is kept, in either spelling', async () => {
  const door = gate();
  for (const name of ['Timeout-Ms', 'timeout-ms']) {
    const { code } = await refusal('tool', json([{ name: 'act', datatype: 'BYTES', shape: [2], data: ['wait', door.file] }]), { [name]: '80' });
    assert.equal(code, 'DEADLINE_EXCEEDED');
  }
  door.open();
});

test('answers name who served, how often it ran, and which version', async () => {
  const [answer] = await answersTo('digits', json([good]), { 'Request-Id': 'abc-1' });
  const told = answer!.headers!;
  assert.match(told.get('Served-By'), /^stage\/digits-cpu-0#1$/);
  assert.equal(told.get('Attempts'), '1');
  assert.match(told.get('Model-Version'), /^[0-9a-f]{12}$/);
  assert.equal(told.get('Device'), 'cpu');
});

test('one host alone can be asked', async () => {
  const answer = await plain.request('regrow.host.stage.infer.digits', json([good]), { timeout: 5000 });
  assert.match(answer.headers!.get('Served-By'), /^stage\//);
});

test('the client: an unknown actor is NOT_FOUND at once, a name that is no name INVALID_ARGUMENT', async () => {
  const error = await rejection(client.infer('nobody', act('echo'), { timeoutMs: 10_000 }));
  assert.equal(error.code, 'NOT_FOUND');
  assert.match(error.message, /digits/);
  assert.equal((await rejection(client.infer('no.body', act('echo')))).code, 'INVALID_ARGUMENT');
});

test('the client: inputs that are no tensors are INVALID_ARGUMENT before anything is sent', async () => {
  assert.equal((await rejection(client.infer('digits', { image: { ...blankDigit.image, shape: [3] } }))).code, 'INVALID_ARGUMENT');
});

test('micro: PING, INFO and STATS are answered for tools that know nothing of regrow', async () => {
  const ask = async (subject: string): Promise<Record<string, unknown>> => (await plain.request(subject, '', { timeout: 5000 })).json();
  for (const tail of ['', '.regrow', '.regrow.stage']) {
    const ping = await ask(`$SRV.PING${tail}`);
    assert.deepEqual([ping['type'], ping['name'], ping['id']], ['io.nats.micro.v1.ping_response', 'regrow', 'stage']);
    assert.match(ping['version'] as string, /^\d+\.\d+\.\d+/);
  }
  const info = (await ask('$SRV.INFO.regrow'))['endpoints'] as { name: string; subject: string; queue_group: string }[];
  assert.deepEqual(info.map(({ name, subject, queue_group: group }) => [name, subject, group]).sort(), ['busy', 'digits', 'tool'].map((name) => [name, `regrow.infer.${name}`, 'regrow']));
  const stats = (await ask('$SRV.STATS.regrow.stage'))['endpoints'] as { name: string; num_requests: number; num_errors: number; last_error: string }[];
  const digitsStats = stats.find(({ name }) => name === 'digits')!;
  assert.ok(digitsStats.num_requests > digitsStats.num_errors && digitsStats.num_errors >= Object.keys(malformed).length);
  assert.ok(digitsStats.last_error.length > 0);
});

test('a client without a password may not speak for a host', async () => {
  const forged = rejection(plain.request('regrow.status.stage', '{}', { timeout: 300 }));
  assert.ok(await forged);
});
