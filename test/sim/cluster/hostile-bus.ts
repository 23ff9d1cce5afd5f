/**
 * NATS as seen by processes that it fails: one broker, and for every connection two pipes that can be slow or swallow what
 * they are given. Rules of the wire, as measured: at most once and in order within a connection; publishing while
 * disconnected is lost without a word; subscriptions live at the broker, so a frozen process stays in its queue groups
 * until two pings went unanswered; a cut is noticed by each end for itself, 4 to 6 s later; nobody listening is said at once.
 *
 * Nothing is ever delivered twice: NATS does not do that either.
 */
import { BusError, type Bus, type BusHeaders, type BusMessage, type BusRequestOptions, type BusState, type BusSubscription } from '../../../src/ports.js';
import { assertHeaders, headerBytes, noHeaders, readHeaders } from '../../../src/protocol/bus-headers.js';
import type { Chance } from '../chance.js';
import type { SimTime } from '../sim-time.js';
import type { Process } from './process.js';

const PAYLOAD_BYTES_MAX = 8 * 1024 * 1024;
/** From a silence to the end of the connection: two pings of 2 s. */
const PINGED_OUT_MS = [4000, 6000] as const;
const RECONNECT_MS = [250, 500] as const;
const LATENCY_MS = [0.05, 1.5] as const;

export type Way = 'up' | 'down';
/** Large tensors and signs of life travel apart. */
export type ConnectionKind = 'data' | 'control';

type Headers = Readonly<Record<string, string>> | undefined;

export interface Letter {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: Headers;
  readonly reply: string | undefined;
}

interface Interest {
  readonly session: Session;
  readonly sid: number;
  readonly tokens: readonly string[];
  readonly queue: string | undefined;
}

/** The line between one process and the broker, for one kind of connection. */
export class Line {
  readonly blocked = { up: 0, down: 0 };
  /** Added to every message. */
  slowMs = 0;
  constructor(readonly kind: ConnectionKind, private readonly broker: HostileBroker) {}

  get open(): boolean {
    return this.blocked.up === 0 && this.blocked.down === 0;
  }

  block(way: Way): void {
    this.blocked[way]++;
    this.broker.lineChanged(this);
  }

  unblock(way: Way): void {
    this.blocked[way]--;
    this.broker.lineChanged(this);
  }
}

/** In order, however late. What it was given while blocked waits in the sender's socket. */
class Pipe {
  #waiting: { readonly order: number; readonly arrival: () => void }[] = [];
  #lastMs = 0;
  #sent = 0;
  ended = false;
  constructor(private readonly broker: HostileBroker, private readonly line: Line, private readonly way: Way) {}

  send(arrival: () => void): void {
    this.#carry({ order: ++this.#sent, arrival });
  }

  #carry(item: { readonly order: number; readonly arrival: () => void }): void {
    if (this.ended) return;
    if (this.line.blocked[this.way] > 0) return void this.#waiting.push(item);
    const { time, chance } = this.broker;
    const atMs = Math.max(this.#lastMs, time.now() + chance.real(...LATENCY_MS) + this.line.slowMs);
    this.#lastMs = atMs;
    time.setTimeout(() => {
      if (this.ended) return;
      // It was cut while this was on its way.
      if (this.line.blocked[this.way] > 0) this.#waiting.push(item);
      else item.arrival();
    }, atMs - time.now());
  }

  lineChanged(): void {
    if (this.line.blocked[this.way] > 0) return;
    for (const item of this.#waiting.splice(0).sort((a, b) => a.order - b.order)) this.#carry(item);
  }

  end(): void {
    this.ended = true;
    this.#waiting = [];
  }
}

/** One connection from its making to its end; each end has its own idea of whether it lives. */
class Session {
  readonly up: Pipe;
  readonly down: Pipe;
  /** The broker knows it. */
  known = true;
  /** Its machine does not know it any more, and says so. */
  resets = false;
  readonly interests = new Map<number, Interest>();

  constructor(readonly broker: HostileBroker, readonly endpoint: Endpoint, readonly id: number) {
    this.up = new Pipe(broker, endpoint.line, 'up');
    this.down = new Pipe(broker, endpoint.line, 'down');
  }

  /** The broker's end goes; the other end hears of it if it can hear. */
  drop(): void {
    if (!this.known) return;
    this.known = false;
    this.up.end();
    this.broker.sessionGone(this);
    this.down.send(() => this.endpoint.process.outside(() => this.endpoint.lost(this, 'the server closed the connection')));
  }
}

export class HostileBroker {
  readonly sessions = new Set<Session>();
  running = true;
  /** Told of what happens on the wire, for whoever looks into a seed. */
  tap: ((line: string) => void) | undefined;
  /** Answers what is not for a subscriber. */
  service: ((letter: Letter, reply: (data: Uint8Array) => void) => boolean) | undefined;
  /** Told of every inference on its way to a process. */
  carried: ((request: string, to: Process) => void) | undefined;
  readonly #exact = new Map<string, Set<Interest>>();
  readonly #wild = new Set<Interest>();
  readonly #endpoints = new Set<Endpoint>();
  /** "from>to" whose route inside the broker's cluster swallows messages: all of it, then interest is gone as well. */
  readonly #cuts = new Map<string, 'swallows' | 'gone'>();
  #ids = 0;

  constructor(readonly time: SimTime, readonly chance: Chance) {}

  connect(process: Process, line: Line): Bus {
    const endpoint = new Endpoint(this, process, line);
    this.#endpoints.add(endpoint);
    return endpoint;
  }

  forget(endpoint: Endpoint): void {
    this.#endpoints.delete(endpoint);
  }

  /** Subscriptions the broker holds for the process. */
  interestsOf(process: Process): number {
    return [...this.sessions].filter(({ endpoint }) => endpoint.process === process).reduce((sum, { interests }) => sum + interests.size, 0);
  }

  stop(): void {
    this.running = false;
    for (const session of [...this.sessions]) {
      session.up.end();
      session.down.end();
      session.known = false;
      this.sessionGone(session);
      this.time.setTimeout(() => session.endpoint.process.outside(() => session.endpoint.lost(session, 'the server went away')), this.chance.real(...LATENCY_MS));
    }
  }

  start(): void {
    this.running = true;
  }

  /** What `from` sends does not reach `to`, the other way round it does. Later the broker knows as much. */
  cutRoute(from: string, to: string): void {
    const key = `${from}>${to}`;
    this.#cuts.set(key, 'swallows');
    this.time.setTimeout(() => { if (this.#cuts.has(key)) this.#cuts.set(key, 'gone'); }, this.chance.real(...PINGED_OUT_MS));
  }

  healRoute(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  lineChanged(line: Line): void {
    for (const session of this.sessions) if (session.endpoint.line === line) this.#watch(session);
    for (const endpoint of this.#endpoints) if (endpoint.line === line) endpoint.lineChanged();
  }

  /** The process stopped running, or went. `abruptly`: its machine did, and nobody closes its connections. */
  processChanged(process: Process, abruptly = false): void {
    for (const session of [...this.sessions]) {
      if (session.endpoint.process !== process) continue;
      if (process.state === 'dead' && !abruptly) session.up.send(() => session.drop());
      else this.#watch(session);
    }
  }

  /** Another process runs on the machine of a dead one: the next bytes for the old one are answered by a reset. */
  processReplaced(process: Process): void {
    for (const session of this.sessions) if (session.endpoint.process === process) session.resets = true;
  }

  kick(id: number): void {
    [...this.sessions].find((session) => session.id === id)?.drop();
  }

  open(endpoint: Endpoint): Session | undefined {
    if (!this.running || !endpoint.line.open) return undefined;
    const session = new Session(this, endpoint, ++this.#ids);
    this.sessions.add(session);
    return session;
  }

  sessionGone(session: Session): void {
    this.sessions.delete(session);
    for (const sid of session.interests.keys()) this.unsubscribe(session, sid);
  }

  /** Nobody answers its pings while it stands still or is cut off. */
  #watch(session: Session): void {
    const silent = (): boolean => !session.endpoint.process.runs || !session.endpoint.line.open;
    if (!silent()) return;
    const { process, line } = session.endpoint;
    const since = [process.interruptions, line.blocked.up, line.blocked.down, process.state].join();
    this.time.setTimeout(() => {
      if (session.known && silent() && since === [process.interruptions, line.blocked.up, line.blocked.down, process.state].join()) session.drop();
    }, this.chance.real(...PINGED_OUT_MS));
  }

  // ----------------------------------------------------------------------------------------------------- what it is sent

  subscribe(session: Session, sid: number, subject: string, queue: string | undefined): void {
    if (!session.known) return;
    const interest: Interest = { session, sid, tokens: subject.split('.'), queue };
    session.interests.set(sid, interest);
    if (interest.tokens.includes('*') || interest.tokens.at(-1) === '>') this.#wild.add(interest);
    else this.#exact.set(subject, (this.#exact.get(subject) ?? new Set()).add(interest));
  }

  unsubscribe(session: Session, sid: number): void {
    const interest = session.interests.get(sid);
    if (!interest) return;
    session.interests.delete(sid);
    this.#wild.delete(interest);
    const subject = interest.tokens.join('.');
    const same = this.#exact.get(subject);
    if (same?.delete(interest) && same.size === 0) this.#exact.delete(subject);
  }

  publish(from: Session, letter: Letter): void {
    if (letter.subject.startsWith('$SYS.REQ.SERVER.') && letter.subject.endsWith('.KICK')) {
      this.kick((JSON.parse(new TextDecoder().decode(letter.data)) as { cid: number }).cid);
      return;
    }
    const { endpoint } = from;
    const isServed = this.service?.(letter, (data) => {
      from.down.send(() => endpoint.process.outside(() => endpoint.receive(from, 0, { subject: letter.reply!, data, headers: undefined, reply: undefined })));
    });
    if (isServed) return;
    const receivers = this.#receivers(letter.subject, from.endpoint.process.name);
    this.tap?.(`${from.endpoint.process.name} -> ${letter.subject} -> ${receivers.map(({ session }) => `${session.endpoint.process.name}${session.known && session.endpoint.process.runs ? '' : ' (still)'}`).join(', ') || 'nobody'} ${JSON.stringify(letter.headers ?? {})}`);
    for (const { session, sid } of receivers) {
      const request = letter.headers?.['Request-Id'];
      if (request !== undefined) this.carried?.(request, session.endpoint.process);
      if (this.#cuts.has(`${from.endpoint.process.name}>${session.endpoint.process.name}`)) continue;
      if (session.resets) session.drop();
      else session.down.send(() => session.endpoint.process.outside(() => session.endpoint.receive(session, sid, letter)));
    }
    if (receivers.length === 0 && letter.reply !== undefined) {
      from.down.send(() => from.endpoint.process.outside(() => from.endpoint.nobody(from, letter.reply!)));
    }
  }

  #receivers(subject: string, from: string): Interest[] {
    const matching = [...(this.#exact.get(subject) ?? [])];
    if (this.#wild.size > 0) {
      const tokens = subject.split('.');
      for (const each of this.#wild) if (matches(each.tokens, tokens)) matching.push(each);
    }
    const groups = new Map<string, Interest[]>();
    const chosen: Interest[] = [];
    for (const each of matching) {
      if (this.#cuts.get(`${from}>${each.session.endpoint.process.name}`) === 'gone') continue;
      if (each.queue === undefined) chosen.push(each);
      else groups.set(each.queue, [...(groups.get(each.queue) ?? []), each]);
    }
    for (const members of groups.values()) chosen.push(this.chance.pick(members));
    return chosen;
  }
}

interface Wanted {
  readonly subject: string;
  readonly queue: string | undefined;
  readonly handler: (message: BusMessage) => void;
  ended: boolean;
}

interface Pending {
  resolve(message: BusMessage): void;
  fail(error: unknown): void;
}

class Message implements BusMessage {
  #headers: BusHeaders | undefined;
  constructor(private readonly endpoint: Endpoint, private readonly letter: Letter) {}
  get subject(): string { return this.letter.subject; }
  get data(): Uint8Array { return this.letter.data; }
  get hasReply(): boolean { return this.letter.reply !== undefined; }
  get headers(): BusHeaders {
    return (this.#headers ??= this.letter.headers === undefined ? noHeaders : readHeaders(Object.entries(this.letter.headers)));
  }

  respond(data: Uint8Array, headers?: Headers): void {
    if (this.letter.reply !== undefined) this.endpoint.publish(this.letter.reply, data, headers);
  }
}

/** The client library's end, with the rules of src/adapters/nats-bus.ts. */
class Endpoint implements Bus {
  state: BusState = 'down';
  readonly payloadBytesMax = PAYLOAD_BYTES_MAX;
  readonly #listeners = new Set<(state: BusState, detail: string) => void>();
  readonly #wanted = new Map<number, Wanted>();
  readonly #pending = new Map<string, Pending>();
  readonly #pongs = new Map<number, () => void>();
  #session: Session | undefined;
  #ids = 0;
  #inbox: string;
  #closing: Promise<void> | undefined;

  constructor(private readonly broker: HostileBroker, readonly process: Process, readonly line: Line) {
    this.#inbox = `_INBOX.${process.name}-${line.kind}.${Math.floor(broker.chance.next() * 1e9)}`;
    this.#connectSoon(1);
  }

  get identity(): { serverId: string; clientId: number } | undefined {
    return this.state === 'up' && this.#session ? { serverId: 'SIM', clientId: this.#session.id } : undefined;
  }

  onState(listener: (state: BusState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  publish(subject: string, data: Uint8Array, headers?: Headers): void {
    this.#send(subject, data, headers, undefined);
  }

  subscribe(subject: string, handler: (message: BusMessage) => void, options?: { readonly queue?: string }): BusSubscription {
    if (this.#closing) throw new BusError('CLOSED', `cannot subscribe to ${subject}: the bus is closed`);
    const sid = ++this.#ids;
    const wanted: Wanted = { subject, handler, queue: options?.queue, ended: false };
    this.#wanted.set(sid, wanted);
    this.#tellInterest(sid, wanted);
    return {
      unsubscribe: () => {
        if (wanted.ended) return;
        wanted.ended = true;
        const session = this.#session;
        if (!session) return void this.#wanted.delete(sid);
        // What was routed here before the broker heard of it is still handled.
        session.up.send(() => {
          this.broker.unsubscribe(session, sid);
          session.down.send(() => this.process.outside(() => this.#wanted.delete(sid)));
        });
      },
    };
  }

  request(subject: string, data: Uint8Array, { timeoutMs, headers, signal }: BusRequestOptions): Promise<BusMessage> {
    const { clock } = this.process;
    return new Promise((resolve, reject) => {
      if (this.#closing || this.state !== 'up') throw this.#notUp(`cannot ask ${subject}`);
      signal?.throwIfAborted();
      const token = `${this.#inbox}.${++this.#ids}`;
      const settle = (): void => {
        this.#pending.delete(token);
        clock.clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const fail = (error: unknown): void => {
        settle();
        reject(error as Error);
      };
      const abort = (): void => fail(signal!.reason);
      this.#send(subject, data, headers, token);
      const timer = clock.setTimeout(() => fail(new BusError('TIMEOUT', `no answer from ${subject} in ${timeoutMs} ms`)), timeoutMs);
      this.#pending.set(token, { fail, resolve: (message) => { settle(); resolve(message); } });
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  async flush(timeoutMs: number): Promise<void> {
    if (this.#closing || this.state !== 'up') throw this.#notUp('cannot flush');
    await this.#ping(timeoutMs);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#failPending(() => new BusError('CLOSED', 'the bus is closed'));
    if (this.state === 'up') {
      // As the client's drain: unsubscribe, hear what is on its way, let the answers leave.
      const session = this.#session!;
      for (const sid of this.#wanted.keys()) session.up.send(() => this.broker.unsubscribe(session, sid));
      await this.#ping(5000).catch(() => {});
      session.up.send(() => session.drop());
    }
    this.#wanted.clear();
    this.broker.forget(this);
    this.#session = undefined;
    this.#turn('closed', 'closed by its owner');
  }

  // --------------------------------------------------------------------------------------------------- from the broker

  receive(session: Session, sid: number, letter: Letter): void {
    if (session !== this.#session) return;
    if (sid === 0) return this.#pending.get(letter.subject)?.resolve(new Message(this, letter));
    this.#wanted.get(sid)?.handler(new Message(this, letter));
  }

  nobody(session: Session, reply: string): void {
    if (session === this.#session) this.#pending.get(reply)?.fail(new BusError('NO_RESPONDERS', 'nobody answers'));
  }

  lost(session: Session, detail: string): void {
    if (session !== this.#session || this.state === 'closed') return;
    this.#session = undefined;
    session.down.end();
    for (const [sid, { ended }] of this.#wanted) if (ended) this.#wanted.delete(sid);
    this.#turn('down', detail);
    this.#connectSoon();
  }

  /** Pings go unanswered on a cut line; this end notices by itself. */
  lineChanged(): void {
    const session = this.#session;
    session?.up.lineChanged();
    session?.down.lineChanged();
    if (!session || this.line.open) return;
    const since = [this.line.blocked.up, this.line.blocked.down].join();
    this.process.outsideClock.setTimeout(() => {
      if (since !== [this.line.blocked.up, this.line.blocked.down].join()) return;
      this.lost(session, 'stale connection');
      // Its kernel says goodbye after what it has still to send, as soon as the line lets it; the broker's own pings may be first.
      session.up.send(() => session.drop());
      this.broker.time.setTimeout(() => session.drop(), this.broker.chance.real(...PINGED_OUT_MS));
    }, this.broker.chance.real(...PINGED_OUT_MS));
  }

  // ------------------------------------------------------------------------------------------------------------ inside

  #connectSoon(ms = this.broker.chance.real(...RECONNECT_MS)): void {
    this.process.outsideClock.setTimeout(() => {
      if (this.#closing || this.#session) return;
      const session = this.broker.open(this);
      if (!session) return this.#connectSoon();
      this.#session = session;
      session.up.send(() => this.broker.subscribe(session, 0, `${this.#inbox}.*`, undefined));
      for (const [sid, wanted] of this.#wanted) this.#tellInterest(sid, wanted);
      this.#turn('up', 'simulated');
    }, ms);
  }

  #tellInterest(sid: number, { subject, queue }: Wanted): void {
    const session = this.#session;
    session?.up.send(() => this.broker.subscribe(session, sid, subject, queue));
  }

  #send(subject: string, data: Uint8Array, headers: Headers, reply: string | undefined): void {
    if (headers) assertHeaders(headers);
    const length = data.length + headerBytes(headers);
    if (length > this.payloadBytesMax) throw new BusError('PAYLOAD_TOO_LARGE', `the message has ${length} bytes, the server takes ${this.payloadBytesMax}`);
    const session = this.#session;
    if (this.state === 'up' && session) session.up.send(() => this.broker.publish(session, { subject, data, headers, reply }));
  }

  #ping(timeoutMs: number): Promise<void> {
    const session = this.#session!;
    const { clock } = this.process;
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      const timer = clock.setTimeout(() => settle(() => reject(new BusError('TIMEOUT', `the server did not answer in ${timeoutMs} ms`))), timeoutMs);
      const settle = (end: () => void): void => {
        if (!this.#pongs.delete(id)) return;
        clock.clearTimeout(timer);
        end();
      };
      this.#pongs.set(id, () => settle(() => reject(this.#notUp('the connection was lost while flushing'))));
      session.up.send(() => session.down.send(() => this.process.outside(() => settle(resolve))));
    });
  }

  #turn(state: BusState, detail: string): void {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    if (state !== 'up') {
      this.#failPending(() => this.#notUp('no answer'));
      for (const lose of [...this.#pongs.values()]) lose();
    }
    for (const listener of [...this.#listeners]) listener(state, detail);
  }

  #failPending(error: () => BusError): void {
    for (const { fail } of [...this.#pending.values()]) fail(error());
  }

  #notUp(what: string): BusError {
    return new BusError(this.#closing ? 'CLOSED' : 'DISCONNECTED', `${what}: not connected`);
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
