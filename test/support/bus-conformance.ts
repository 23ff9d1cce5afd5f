/**
 * What every Bus must do, run against each implementation. A fixture is one broker; its endpoints come from `connect`.
 *
 * "Nothing more arrives" is decided without waiting: after the sender's flush the broker has everything, after the
 * receiver's flush the receiver has it too.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BusError, type Bus, type BusErrorCode, type BusMessage, type BusState } from '../../src/ports.js';

export interface BusFixture {
  /** A new endpoint, up. */
  connect(): Promise<Bus>;
  /** The broker goes away; resolves when it is gone. */
  stop(): Promise<void>;
  /** And comes back. */
  start(): Promise<void>;
  remove(): Promise<void>;
}

const WATCHDOG = { timeout: 20_000 };
/** Long enough that only the watchdog could end it. */
const LONG_MS = 60_000;

export const text = (data: Uint8Array): string => Buffer.from(data).toString('utf8');
export const bytes = (content: string): Uint8Array => Buffer.from(content, 'utf8');

/** Resolves when the bus is in that state. */
export function untilState(bus: Bus, wanted: BusState): Promise<string> {
  return new Promise((resolve) => {
    const stop = bus.onState((state, detail) => {
      if (state !== wanted) return;
      stop();
      resolve(detail);
    });
    if (bus.state === wanted) {
      stop();
      resolve('');
    }
  });
}

export function rejectsWith(promise: Promise<unknown>, code: BusErrorCode): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.ok(error instanceof BusError, `wanted a BusError, got ${String(error)}`);
    assert.equal(error.code, code, error.message);
    return true;
  });
}

async function settled(sender: Bus, ...receivers: Bus[]): Promise<void> {
  await sender.flush(LONG_MS);
  for (const receiver of receivers) await receiver.flush(LONG_MS);
}

export function busConformance(name: string, open: () => Promise<BusFixture>): void {
  describe(`bus: ${name}`, () => {
    let fixture: BusFixture;
    let a: Bus;
    let b: Bus;
    let number = 0;
    /** A subject no other test uses. */
    const fresh = (): string => `regrow.conformance.t${number++}`;

    before(async () => {
      fixture = await open();
      a = await fixture.connect();
      b = await fixture.connect();
    }, WATCHDOG);
    after(async () => {
      await Promise.all([a.close(), b.close()]);
      await fixture.remove();
    }, WATCHDOG);

    test('publish: reaches every subscriber in order, with its subject', WATCHDOG, async () => {
      const subject = fresh();
      const seen: string[] = [];
      const same: string[] = [];
      b.subscribe(subject, (message) => void seen.push(`${message.subject} ${text(message.data)}`));
      a.subscribe(subject, (message) => void same.push(text(message.data)));
      await settled(b);
      const numbers = Array.from({ length: 200 }, (_, i) => String(i));
      for (const each of numbers) a.publish(subject, bytes(each));
      await settled(a, b);
      assert.deepEqual(seen, numbers.map((each) => `${subject} ${each}`));
      assert.deepEqual(same, numbers);
    });

    test('subscribe: * is exactly one token, > is one or more', WATCHDOG, async () => {
      const base = fresh();
      const seen: string[] = [];
      const listen = (pattern: string): void => void b.subscribe(pattern, (message) => void seen.push(`${pattern.slice(base.length)} <- ${message.subject.slice(base.length)}`));
      for (const pattern of [`${base}.*`, `${base}.>`, `${base}.*.end`, base]) listen(pattern);
      await settled(b);
      for (const subject of [base, `${base}.x`, `${base}.x.end`, `${base}.x.y.end`, `${base}x`]) a.publish(subject, bytes(''));
      await settled(a, b);
      assert.deepEqual(seen.sort(), [' <- ', '.* <- .x', '.*.end <- .x.end', '.> <- .x', '.> <- .x.end', '.> <- .x.y.end'].sort());
    });

    test('queue group: each message goes to exactly one member, and to every other subscriber', WATCHDOG, async () => {
      const subject = fresh();
      const shares: string[][] = [[], [], []];
      const outside: string[] = [];
      b.subscribe(subject, (message) => void shares[0]!.push(text(message.data)), { queue: 'group' });
      b.subscribe(subject, (message) => void shares[1]!.push(text(message.data)), { queue: 'group' });
      a.subscribe(subject, (message) => void shares[2]!.push(text(message.data)), { queue: 'group' });
      b.subscribe(subject, (message) => void outside.push(text(message.data)));
      await settled(a, b);
      const numbers = Array.from({ length: 300 }, (_, i) => i);
      for (const each of numbers) a.publish(subject, bytes(String(each)));
      await settled(a, b, a);
      assert.deepEqual(shares.flat().map(Number).sort((x, y) => x - y), numbers);
      assert.equal(outside.length, 300);
      // Which member is the broker's choice; that a group of three leaves one without any of 300 is not.
      for (const share of shares) assert.ok(share.length > 0);
    });

    test('request: headers are read without case, answers carry theirs', WATCHDOG, async () => {
      const subject = fresh();
      let heard: BusMessage | undefined;
      b.subscribe(subject, (message) => {
        heard = message;
        message.respond(bytes(`${text(message.data)}!`), { 'Served-By': 'h/r#1', attempts: '2' });
      });
      await settled(b);
      const answer = await a.request(subject, bytes('hello'), { timeoutMs: LONG_MS, headers: { 'Timeout-Ms': '250', 'X-blank': ' around ' } });
      assert.equal(heard?.hasReply, true);
      assert.deepEqual([...heard.headers], [['timeout-ms', '250'], ['x-blank', 'around']]);
      assert.equal(text(answer.data), 'hello!');
      assert.deepEqual([...answer.headers], [['served-by', 'h/r#1'], ['attempts', '2']]);
    });

    test('request: no headers and no bytes are allowed both ways', WATCHDOG, async () => {
      const subject = fresh();
      b.subscribe(subject, (message) => message.respond(new Uint8Array(0), {}));
      await settled(b);
      const answer = await a.request(subject, new Uint8Array(0), { timeoutMs: LONG_MS, headers: {} });
      assert.equal(answer.data.length, 0);
      assert.equal(answer.headers.size, 0);
      assert.equal(answer.hasReply, false);
    });

    test('request: many at once get each its own answer', WATCHDOG, async () => {
      const subject = fresh();
      b.subscribe(subject, (message) => message.respond(message.data));
      await settled(b);
      const asked = Array.from({ length: 500 }, (_, i) => String(i));
      const answers = await Promise.all(asked.map((each) => a.request(subject, bytes(each), { timeoutMs: LONG_MS })));
      assert.deepEqual(answers.map((answer) => text(answer.data)), asked);
    });

    test('request: the first of two answers counts', WATCHDOG, async () => {
      const subject = fresh();
      b.subscribe(subject, (message) => {
        message.respond(bytes('first'));
        message.respond(bytes('second'));
      });
      await settled(b);
      assert.equal(text((await a.request(subject, bytes(''), { timeoutMs: LONG_MS })).data), 'first');
      await settled(b, a);
    });

    test('request: nobody there is NO_RESPONDERS, not a time-out', WATCHDOG, async () => {
      await rejectsWith(a.request(fresh(), bytes(''), { timeoutMs: LONG_MS }), 'NO_RESPONDERS');
    });

    test('request: silence is TIMEOUT, and a late answer goes nowhere', WATCHDOG, async () => {
      const subject = fresh();
      let late: BusMessage | undefined;
      b.subscribe(subject, (message) => void (late = message));
      await settled(b);
      await rejectsWith(a.request(subject, bytes(''), { timeoutMs: 20 }), 'TIMEOUT');
      late!.respond(bytes('late'));
      await settled(b, a);
    });

    test('request: an abort rejects with its reason, before and during', WATCHDOG, async () => {
      const subject = fresh();
      const reason = new Error('caller is gone');
      const during = new AbortController();
      b.subscribe(subject, () => during.abort(reason));
      await settled(b);
      await assert.rejects(a.request(subject, bytes(''), { timeoutMs: LONG_MS, signal: AbortSignal.abort(reason) }), reason);
      await assert.rejects(a.request(subject, bytes(''), { timeoutMs: LONG_MS, signal: during.signal }), reason);
    });

    test('payload: what the bus takes arrives whole, one byte more is PAYLOAD_TOO_LARGE before sending', WATCHDOG, async () => {
      const subject = fresh();
      const fits = new Uint8Array(b.payloadBytesMax).fill(7);
      const tooLarge = new Uint8Array(b.payloadBytesMax + 1);
      let refused: unknown;
      b.subscribe(subject, (message) => {
        try {
          message.respond(tooLarge);
        } catch (error) {
          refused = error;
        }
        message.respond(message.data);
      });
      await settled(b);
      const answer = await a.request(subject, fits, { timeoutMs: LONG_MS });
      assert.ok(Buffer.from(answer.data).equals(fits));
      assert.ok(refused instanceof BusError && refused.code === 'PAYLOAD_TOO_LARGE');
      await rejectsWith(a.request(subject, tooLarge, { timeoutMs: LONG_MS }), 'PAYLOAD_TOO_LARGE');
      await rejectsWith(a.request(subject, fits, { timeoutMs: LONG_MS, headers: { 'Request-Id': 'x' } }), 'PAYLOAD_TOO_LARGE');
      assert.throws(() => a.publish(subject, tooLarge), { code: 'PAYLOAD_TOO_LARGE' });
    });

    test('headers: a line break or a colon is refused by the sender', WATCHDOG, () => {
      assert.throws(() => a.publish(fresh(), bytes(''), { 'X-A': 'one\r\nX-B: two' }), TypeError);
      assert.throws(() => a.publish(fresh(), bytes(''), { 'X A': 'one' }), TypeError);
      assert.throws(() => a.publish(fresh(), bytes(''), { 'X:A': 'one' }), TypeError);
    });

    test('unsubscribe: nothing more arrives, and a request finds nobody', WATCHDOG, async () => {
      const subject = fresh();
      const seen: string[] = [];
      const subscription = b.subscribe(subject, (message) => void seen.push(text(message.data)));
      await settled(b);
      a.publish(subject, bytes('before'));
      await settled(a, b);
      subscription.unsubscribe();
      subscription.unsubscribe();
      await settled(b);
      a.publish(subject, bytes('after'));
      await settled(a, b);
      assert.deepEqual(seen, ['before']);
      await rejectsWith(a.request(subject, bytes(''), { timeoutMs: LONG_MS }), 'NO_RESPONDERS');
    });

    test('respond: without a reply it does nothing', WATCHDOG, async () => {
      const subject = fresh();
      const heard: boolean[] = [];
      b.subscribe(subject, (message) => {
        heard.push(message.hasReply);
        message.respond(bytes('nobody listens'));
      });
      await settled(b);
      a.publish(subject, bytes(''));
      await settled(a, b);
      assert.deepEqual(heard, [false]);
    });

    test('handlers: a throw costs its message and nothing else', WATCHDOG, async () => {
      const subject = fresh();
      b.subscribe(subject, (message) => {
        if (message.data.length === 0) throw new Error('on purpose');
        message.respond(message.data);
      });
      await settled(b);
      a.publish(subject, bytes(''));
      assert.equal(text((await a.request(subject, bytes('alive'), { timeoutMs: LONG_MS })).data), 'alive');
    });

    test('outage: down and up are told, subscriptions survive, requests fail at once', WATCHDOG, async () => {
      const silent = fresh();
      const echo = fresh();
      const during = fresh();
      const lost: string[] = [];
      const arrived = new Promise<BusMessage>((resolve) => void b.subscribe(silent, resolve));
      b.subscribe(echo, (message) => {
        lost.push(text(message.data));
        message.respond(message.data);
      });
      await settled(b);
      const told: BusState[] = [];
      const stopListening = a.onState((state) => void told.push(state));
      const underWay = a.request(silent, bytes(''), { timeoutMs: LONG_MS });
      await arrived;

      const downs = [a, b].map((bus) => untilState(bus, 'down'));
      await Promise.all([fixture.stop(), ...downs, rejectsWith(underWay, 'DISCONNECTED')]);
      assert.equal(a.state, 'down');
      await rejectsWith(a.request(echo, bytes(''), { timeoutMs: LONG_MS }), 'DISCONNECTED');
      await rejectsWith(a.flush(LONG_MS), 'DISCONNECTED');
      a.publish(echo, bytes('dropped'));
      const subscription = b.subscribe(during, (message) => message.respond(bytes('made while down')));

      const ups = [a, b].map((bus) => untilState(bus, 'up'));
      await Promise.all([fixture.start(), ...ups]);
      await settled(b);
      assert.equal(text((await a.request(echo, bytes('again'), { timeoutMs: LONG_MS })).data), 'again');
      assert.equal(text((await a.request(during, bytes(''), { timeoutMs: LONG_MS })).data), 'made while down');
      assert.deepEqual(lost, ['again']);
      assert.deepEqual(told, ['down', 'up']);
      stopListening();
      subscription.unsubscribe();
    });

    test('close: sends what was published, ends subscriptions and requests, and is told once', WATCHDOG, async () => {
      const subject = fresh();
      const silent = fresh();
      const seen: string[] = [];
      b.subscribe(subject, (message) => void seen.push(text(message.data)));
      const arrived = new Promise<BusMessage>((resolve) => void b.subscribe(silent, resolve));
      await settled(b);
      const c = await fixture.connect();
      const told: string[] = [];
      c.onState((state) => void told.push(state));
      c.subscribe(`${subject}.c`, (message) => message.respond(message.data));
      await settled(c);
      const pending = c.request(silent, bytes(''), { timeoutMs: LONG_MS });
      await arrived;
      c.publish(subject, bytes('last words'));
      await Promise.all([rejectsWith(pending, 'CLOSED'), c.close(), c.close()]);
      await c.close();
      assert.equal(c.state, 'closed');
      assert.deepEqual(told, ['closed']);
      await settled(b);
      assert.deepEqual(seen, ['last words']);
      await rejectsWith(c.request(subject, bytes(''), { timeoutMs: LONG_MS }), 'CLOSED');
      await rejectsWith(c.flush(LONG_MS), 'CLOSED');
      assert.throws(() => c.subscribe(subject, () => {}), { code: 'CLOSED' });
      await rejectsWith(a.request(`${subject}.c`, bytes(''), { timeoutMs: LONG_MS }), 'NO_RESPONDERS');
    });

    test('close: while the broker is away it ends all the same', WATCHDOG, async () => {
      const c = await fixture.connect();
      await Promise.all([fixture.stop(), untilState(c, 'down')]);
      await c.close();
      assert.equal(c.state, 'closed');
      await Promise.all([fixture.start(), untilState(a, 'up'), untilState(b, 'up')]);
      assert.equal(c.state, 'closed');
    });
  });
}
