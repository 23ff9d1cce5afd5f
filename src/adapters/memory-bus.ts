/**
 * The bus within one process, for hosts without NATS and for tests: the rules of NATS (wildcards, queue groups,
 * no-responders at once, a payload limit, at most once), without a socket.
 *
 * Delivery is asynchronous and in order of publishing. Payloads travel by reference: neither side may write to bytes it
 * has sent or received. Chance is left out on purpose: members of a queue group take turns.
 */
import { BusError, type Bus, type BusHeaders, type BusMessage, type BusRequestOptions, type BusState, type BusSubscription, type Clock, type Log, type TimerHandle } from '../ports.js';
import { assertHeaders, headerBytes, noHeaders, readHeaders } from '../protocol/bus-headers.js';

/** As in nats.conf. */
const PAYLOAD_BYTES_MAX = 8 * 1024 * 1024;

export interface MemoryBusOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Of one message, headers included. Default 8 MiB. */
  readonly payloadBytesMax?: number;
  /** Runs the next round of deliveries later. Default setImmediate, which lets sockets and timers have their turn. */
  readonly schedule?: (round: () => void) => void;
}

export interface MemoryBroker {
  /** Another endpoint of the same bus, up unless the broker is stopped. */
  connect(): Bus;
  /** As when a NATS server goes away: every endpoint is down, what was on its way is lost. */
  stop(): void;
  /** Every endpoint is up again, with the subscriptions it has. */
  start(): void;
}

type Headers = Readonly<Record<string, string>> | undefined;
type Reply = (data: Uint8Array, headers: Headers) => void;

interface Subscriber {
  readonly endpoint: Endpoint;
  readonly tokens: readonly string[];
  readonly queue: string | undefined;
  readonly handler: (message: BusMessage) => void;
}

class MemoryMessage implements BusMessage {
  #headers: BusHeaders | undefined;
  constructor(
    readonly subject: string,
    readonly data: Uint8Array,
    private readonly written: Headers,
    private readonly reply: Reply | undefined,
    private readonly answerer: Endpoint | undefined,
  ) {}

  get headers(): BusHeaders {
    return (this.#headers ??= this.written === undefined ? noHeaders : readHeaders(Object.entries(this.written)));
  }

  get hasReply(): boolean {
    return this.reply !== undefined;
  }

  respond(data: Uint8Array, headers?: Headers): void {
    if (!this.reply || !this.answerer) return;
    this.answerer.assertFits(data, headers);
    if (this.answerer.state === 'up') this.reply(data, headers);
  }
}

class Broker implements MemoryBroker {
  readonly payloadBytesMax: number;
  readonly clock: Clock;
  readonly endpoints = new Set<Endpoint>();
  running = true;
  readonly #log: Log;
  readonly #schedule: (round: () => void) => void;
  /** Subjects without wildcards, by their text. */
  readonly #exact = new Map<string, Set<Subscriber>>();
  readonly #wild = new Set<Subscriber>();
  /** Whose turn it is in each queue group. */
  readonly #turns = new Map<string, number>();
  #pending: (() => void)[] = [];
  /** A message is lost when an outage lies between its sending and its delivery. */
  #outages = 0;

  constructor(options: MemoryBusOptions) {
    this.clock = options.clock;
    this.#log = options.log;
    this.payloadBytesMax = options.payloadBytesMax ?? PAYLOAD_BYTES_MAX;
    this.#schedule = options.schedule ?? ((round) => void setImmediate(round));
  }

  connect(): Bus {
    const endpoint = new Endpoint(this);
    this.endpoints.add(endpoint);
    return endpoint;
  }

  stop(): void {
    this.running = false;
    this.#outages++;
    for (const endpoint of this.endpoints) endpoint.turn('down', 'the in-memory broker was stopped');
  }

  start(): void {
    this.running = true;
    for (const endpoint of this.endpoints) endpoint.turn('up', 'in memory');
  }

  add(subscriber: Subscriber, subject: string): void {
    if (subscriber.tokens.includes('*') || subscriber.tokens.at(-1) === '>') this.#wild.add(subscriber);
    else if (this.#exact.has(subject)) this.#exact.get(subject)!.add(subscriber);
    else this.#exact.set(subject, new Set([subscriber]));
  }

  remove(subscriber: Subscriber, subject: string): void {
    this.#wild.delete(subscriber);
    const same = this.#exact.get(subject);
    if (same?.delete(subscriber) && same.size === 0) this.#exact.delete(subject);
  }

  /** Returns how many subscribers will get the message. */
  route(subject: string, data: Uint8Array, headers: Headers, reply: Reply | undefined): number {
    const receivers = this.#receivers(subject);
    const outages = this.#outages;
    for (const receiver of receivers) {
      this.later(() => {
        // Also to who has unsubscribed since: it was routed there, and whoever asked waits for an answer.
        if (receiver.endpoint.state !== 'closed' && outages === this.#outages) this.#deliver(receiver.handler, new MemoryMessage(subject, data, headers, reply, receiver.endpoint));
      });
    }
    return receivers.length;
  }

  /** Deliveries of one round run in order; what they cause runs in the next. */
  later(delivery: () => void): void {
    this.#pending.push(delivery);
    if (this.#pending.length > 1) return;
    this.#schedule(() => {
      const round = this.#pending;
      this.#pending = [];
      for (const each of round) each();
    });
  }

  #receivers(subject: string): Subscriber[] {
    const matching = [...(this.#exact.get(subject) ?? [])];
    if (this.#wild.size > 0) {
      const tokens = subject.split('.');
      for (const each of this.#wild) if (matches(each.tokens, tokens)) matching.push(each);
    }
    if (!matching.some((each) => each.queue !== undefined)) return matching;
    const groups = new Map<string, Subscriber[]>();
    for (const each of matching) {
      if (each.queue === undefined) continue;
      const members = groups.get(each.queue);
      if (members) members.push(each);
      else groups.set(each.queue, [each]);
    }
    const chosen = matching.filter((each) => each.queue === undefined);
    for (const [queue, members] of groups) chosen.push(members[this.#nextTurn(queue) % members.length]!);
    return chosen;
  }

  #nextTurn(queue: string): number {
    const turn = this.#turns.get(queue) ?? 0;
    this.#turns.set(queue, (turn + 1) % Number.MAX_SAFE_INTEGER);
    return turn;
  }

  #deliver(handler: (message: BusMessage) => void, message: BusMessage): void {
    try {
      handler(message);
    } catch (error) {
      this.#log.log('error', 'bus-handler-threw', { subject: message.subject, error });
    }
  }
}

class Endpoint implements Bus {
  state: BusState;
  readonly payloadBytesMax: number;
  readonly #broker: Broker;
  readonly #listeners = new Set<(state: BusState, detail: string) => void>();
  readonly #subscriptions = new Set<BusSubscription & { readonly subscriber: Subscriber; leave(): void }>();
  readonly #waiting = new Set<(error: BusError) => void>();
  #closing: Promise<void> | undefined;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.payloadBytesMax = broker.payloadBytesMax;
    this.state = broker.running ? 'up' : 'down';
  }

  turn(state: BusState, detail: string): void {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    if (state !== 'up') this.#failWaiting(state === 'down' ? 'DISCONNECTED' : 'CLOSED', detail);
    for (const listener of [...this.#listeners]) listener(state, detail);
  }

  onState(listener: (state: BusState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  publish(subject: string, data: Uint8Array, headers?: Headers): void {
    this.assertFits(data, headers);
    if (this.state === 'up') this.#broker.route(subject, data, headers, undefined);
  }

  subscribe(subject: string, handler: (message: BusMessage) => void, options?: { readonly queue?: string }): BusSubscription {
    if (this.#closing) throw new BusError('CLOSED', `cannot subscribe to ${subject}: the bus is closed`);
    const subscriber: Subscriber = { endpoint: this, tokens: subject.split('.'), queue: options?.queue, handler };
    const subscription = {
      subscriber,
      leave: () => this.#broker.remove(subscriber, subject),
      unsubscribe: () => {
        subscription.leave();
        this.#subscriptions.delete(subscription);
      },
    };
    this.#subscriptions.add(subscription);
    this.#broker.add(subscriber, subject);
    return subscription;
  }

  request(subject: string, data: Uint8Array, options: BusRequestOptions): Promise<BusMessage> {
    const { timeoutMs, headers, signal } = options;
    return new Promise((resolve, reject) => {
      if (this.#closing) throw new BusError('CLOSED', `cannot ask ${subject}: the bus is closed`);
      if (this.state !== 'up') throw new BusError('DISCONNECTED', `cannot ask ${subject}: the in-memory broker is stopped`);
      signal?.throwIfAborted();
      this.assertFits(data, headers);
      let open = true;
      let timer: TimerHandle;
      const finish = (): boolean => {
        if (!open) return false;
        open = false;
        this.#broker.clock.clearTimeout(timer);
        this.#waiting.delete(fail);
        signal?.removeEventListener('abort', abort);
        return true;
      };
      const fail = (error: unknown): void => { if (finish()) reject(error as Error); };
      const abort = (): void => fail(signal!.reason);
      const reply: Reply = (answer, answerHeaders) => {
        this.#broker.later(() => { if (finish()) resolve(new MemoryMessage(subject, answer, answerHeaders, undefined, undefined)); });
      };
      timer = this.#broker.clock.setTimeout(() => fail(new BusError('TIMEOUT', `no answer from ${subject} in ${timeoutMs} ms`)), timeoutMs);
      this.#waiting.add(fail);
      signal?.addEventListener('abort', abort, { once: true });
      if (this.#broker.route(subject, data, headers, reply) === 0) {
        this.#broker.later(() => fail(new BusError('NO_RESPONDERS', `nobody answers ${subject}`)));
      }
    });
  }

  flush(): Promise<void> {
    if (this.#closing) return Promise.reject(new BusError('CLOSED', 'the bus is closed'));
    if (this.state !== 'up') return Promise.reject(new BusError('DISCONNECTED', 'the in-memory broker is stopped'));
    return new Promise((resolve) => this.#broker.later(resolve));
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#failWaiting('CLOSED', 'the bus is closed');
    for (const each of this.#subscriptions) each.leave();
    // What has been routed here is still handled, and answered if the handler answers at once.
    if (this.state === 'up') await new Promise<void>((resolve) => this.#broker.later(resolve));
    for (const each of this.#subscriptions) each.unsubscribe();
    this.#broker.endpoints.delete(this);
    this.turn('closed', 'closed by its owner');
  }

  assertFits(data: Uint8Array, headers: Headers): void {
    if (headers) assertHeaders(headers);
    const length = data.length + headerBytes(headers);
    if (length > this.payloadBytesMax) throw new BusError('PAYLOAD_TOO_LARGE', `the message has ${length} bytes, the bus takes ${this.payloadBytesMax}`);
  }

  #failWaiting(code: 'DISCONNECTED' | 'CLOSED', detail: string): void {
    for (const fail of [...this.#waiting]) fail(new BusError(code, detail));
  }
}

/** `*` is exactly one token, a `>` at the end one or more. */
function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === '>' && i === pattern.length - 1) return tokens.length > i;
    if (i >= tokens.length || (pattern[i] !== '*' && pattern[i] !== tokens[i])) return false;
  }
  return pattern.length === tokens.length;
}

export function createMemoryBus(options: MemoryBusOptions): MemoryBroker {
  return new Broker(options);
}
