/**
 * The bus over NATS. Creating one never waits: it starts `down`, goes `up` when a server answers, and from then on
 * follows the client's own reconnecting for ever, so that a host can start before its broker and outlive it.
 *
 * Assumes nats-server >= 2.11 and refuses older ones by closing. While the bus is down, publishing is dropped and
 * requests fail at once: the client would buffer the first and let the second wait for their whole time-out. It does not
 * replay anything after an outage; requests that were under way fail with DISCONNECTED and may have run.
 */
import { readFileSync } from 'node:fs';
import {
  connect, createInbox, credsAuthenticator, jwtAuthenticator, MsgHdrsImpl, nkeyAuthenticator, PermissionViolationError,
  usernamePasswordAuthenticator,
  type Authenticator, type ConnectionOptions, type Msg, type MsgHdrs, type NatsConnection, type NodeConnectionOptions, type Subscription,
} from '@nats-io/transport-node';
import { BusError, type Bus, type BusHeaders, type BusMessage, type BusRequestOptions, type BusState, type BusSubscription, type Clock, type Log, type TimerHandle } from '../ports.js';
import { assertHeaders, headerBytes, noHeaders, readHeaders } from '../protocol/bus-headers.js';

/** The `nats` key of a host file, and what callers embedding regrow may give directly. */
export interface NatsOptions {
  readonly servers: string | readonly string[];
  /** Shown in the server's list of connections. Default `regrow`. */
  readonly name?: string;
  readonly user?: string;
  readonly pass?: string;
  /** Holds the password of `user` instead of `pass`; white space around it does not count. Read again at every connect. */
  readonly passFile?: string;
  readonly token?: string;
  readonly jwt?: string;
  readonly nkeySeed?: string;
  readonly nkeySeedFile?: string;
  /** Read again at every connect, so that renewed credentials need no restart. */
  readonly credsFile?: string;
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
  /** Private to a user, or other users of the account read the answers. Default `_INBOX`. */
  readonly inboxPrefix?: string;
}

export interface NatsOutside {
  readonly clock: Clock;
  readonly log: Log;
}

export interface NatsBus extends Bus {
  /** For what the port does not cover (JetStream). Undefined until the first connect; one object over all reconnects. */
  readonly connection: NatsConnection | undefined;
  /** Why the bus is in its state: the server it is connected to, or what the last attempt ended with. */
  readonly detail: string;
  /** How a system user names this connection in `$SYS.REQ.SERVER.<serverId>.KICK {"cid": clientId}`; undefined while down. */
  readonly identity: { readonly serverId: string; readonly clientId: number } | undefined;
}

/** Two pings of 2 s unanswered, and the connection is given up: a silent broker is noticed within 6 s. */
const PING_INTERVAL_MS = 2000;
const PINGS_OUT_MAX = 2;
const RECONNECT_MS = 250;
const RECONNECT_JITTER_MS = 250;
const CONNECT_TIMEOUT_MS = 5000;
/** How long `close` waits for the server to take the last answers. */
const DRAIN_MS = 5000;
const VERSION_MIN = [2, 11] as const;
/** NATS' own default, until the server has told its limit. */
const PAYLOAD_BYTES_MAX = 1024 * 1024;

type Headers = Readonly<Record<string, string>> | undefined;

/** One per message on the hot path: reading headers is put off until somebody asks. */
class NatsMessage implements BusMessage {
  #headers: BusHeaders | undefined;
  constructor(private readonly bus: NatsEndpoint, private readonly message: Msg) {}

  get subject(): string {
    return this.message.subject;
  }

  get data(): Uint8Array {
    return this.message.data;
  }

  get headers(): BusHeaders {
    return (this.#headers ??= this.message.headers ? readHeaders(this.message.headers as Iterable<[string, string[]]>) : noHeaders);
  }

  get hasReply(): boolean {
    return Boolean(this.message.reply);
  }

  respond(data: Uint8Array, headers?: Headers): void {
    const reply = this.message.reply;
    if (reply) this.bus.send(reply, data, headers);
  }
}

interface Wanted {
  readonly subject: string;
  readonly queue: string | undefined;
  readonly handler: (message: BusMessage) => void;
  live: Subscription | undefined;
}

interface Pending {
  readonly subject: string;
  answer(message: Msg): void;
  fail(error: unknown): void;
}

class NatsEndpoint implements NatsBus {
  state: BusState = 'down';
  payloadBytesMax = PAYLOAD_BYTES_MAX;
  connection: NatsConnection | undefined;
  readonly #options: NodeConnectionOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<(state: BusState, detail: string) => void>();
  readonly #wanted = new Set<Wanted>();
  readonly #inbox: string;
  readonly #pending = new Map<string, Pending>();
  #asked = 0;
  #inboxOpen = false;
  detail = 'not connected yet';
  #closing: Promise<void> | undefined;
  /** Ends the wait between two attempts of the first connect. */
  #stopWaiting: () => void = () => {};
  readonly #refused = new Set<string>();

  constructor(options: NatsOptions, outside: NatsOutside) {
    this.#options = connectionOptions(options);
    this.#inbox = `${createInbox(options.inboxPrefix)}.`;
    this.#clock = outside.clock;
    this.#log = outside.log;
    void this.#connectFirst();
  }

  get identity(): { serverId: string; clientId: number } | undefined {
    const info = this.state === 'up' ? this.connection?.info : undefined;
    return info && { serverId: info.server_id, clientId: info.client_id };
  }

  onState(listener: (state: BusState, detail: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  publish(subject: string, data: Uint8Array, headers?: Headers): void {
    this.send(subject, data, headers);
  }

  /** Checks, then sends or, while there is no server, drops. */
  send(subject: string, data: Uint8Array, headers: Headers, reply?: string): void {
    this.#assertFits(data, headers);
    if (this.state !== 'up' || this.connection!.isClosed()) return;
    this.connection!.publish(subject, data, headers || reply ? { reply, headers: encodable(headers) } : undefined);
  }

  subscribe(subject: string, handler: (message: BusMessage) => void, options?: { readonly queue?: string }): BusSubscription {
    if (this.#closing || this.state === 'closed') throw new BusError('CLOSED', `cannot subscribe to ${subject}: ${this.detail}`);
    const wanted: Wanted = { subject, queue: options?.queue, handler, live: undefined };
    this.#wanted.add(wanted);
    if (this.connection) this.#attach(wanted);
    return {
      unsubscribe: () => {
        this.#wanted.delete(wanted);
        const { live } = wanted;
        // Not `unsubscribe`: that drops what the server has sent already, and whoever asked would wait for nothing.
        live?.drain().catch(() => live.unsubscribe());
      },
    };
  }

  /**
   * One inbox for all requests of this bus, a counter as the last token. The client has the same, but its requests know
   * neither an abort signal nor a lost connection, and cost three times the promises.
   */
  request(subject: string, data: Uint8Array, options: BusRequestOptions): Promise<BusMessage> {
    const { timeoutMs, headers, signal } = options;
    return new Promise((resolve, reject) => {
      if (this.#closing || this.state !== 'up') throw this.#notUp(`cannot ask ${subject}`);
      if (!this.#inboxOpen) throw this.#inboxRefused();
      signal?.throwIfAborted();
      const token = (++this.#asked).toString(36);
      let timer: TimerHandle;
      const settle = (): void => {
        this.#pending.delete(token);
        this.#clock.clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const fail = (error: unknown): void => {
        settle();
        reject(error as Error);
      };
      const abort = (): void => fail(signal!.reason);
      const answer = (message: Msg): void => {
        settle();
        if (message.data.length === 0 && message.headers?.code === 503) reject(new BusError('NO_RESPONDERS', `nobody answers ${subject}`));
        else resolve(new NatsMessage(this, message));
      };
      this.send(subject, data, headers, this.#inbox + token);
      timer = this.#clock.setTimeout(() => fail(new BusError('TIMEOUT', `no answer from ${subject} in ${timeoutMs} ms`)), timeoutMs);
      this.#pending.set(token, { subject, answer, fail });
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  async flush(timeoutMs: number): Promise<void> {
    if (this.#closing || this.state !== 'up') throw this.#notUp('cannot flush');
    let timer: TimerHandle;
    const late = new Promise<never>((_, reject) => {
      timer = this.#clock.setTimeout(() => reject(new BusError('TIMEOUT', `the server did not answer in ${timeoutMs} ms`)), timeoutMs);
    });
    const flushed = this.connection!.flush().catch((cause: unknown) => {
      throw new BusError(this.state === 'closed' ? 'CLOSED' : 'DISCONNECTED', 'the connection was lost while flushing', { cause });
    });
    await Promise.race([flushed, late]).finally(() => this.#clock.clearTimeout(timer));
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close('closed by its owner'));
  }

  async #close(detail: string): Promise<void> {
    this.#failPending(() => new BusError('CLOSED', 'the bus is closed'));
    this.#stopWaiting();
    const { connection } = this;
    if (connection && this.state === 'up') {
      let timer: TimerHandle;
      const late = new Promise<void>((resolve) => { timer = this.#clock.setTimeout(resolve, DRAIN_MS); });
      // A connection lost in the middle rejects the drain; there is nobody left to tell.
      await Promise.race([connection.drain().catch(() => {}), late]);
      this.#clock.clearTimeout(timer);
    }
    await connection?.close().catch(() => {});
    this.#turn('closed', detail);
  }

  // ------------------------------------------------------------------------------------------------------ connecting

  /** The client stops trying before it was connected once, or cannot be stopped; so the first connect is retried here. */
  async #connectFirst(): Promise<void> {
    while (!this.#closing) {
      try {
        const connection = await connect({ ...this.#options });
        if (this.#closing) return void (await connection.close());
        this.connection = connection;
        void this.#follow(connection);
        this.#connected();
        return;
      } catch (error) {
        const detail = error instanceof Error ? error.message : String(error);
        if (detail !== this.detail) this.#log.log('warn', 'bus-unreachable', { servers: this.#options.servers, detail });
        this.detail = detail;
        await this.#wait(RECONNECT_MS + Math.random() * RECONNECT_JITTER_MS);
      }
    }
  }

  #wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(resolve, delayMs);
      this.#stopWaiting = () => {
        this.#clock.clearTimeout(timer);
        resolve();
      };
    });
  }

  async #follow(connection: NatsConnection): Promise<void> {
    void connection.closed().then((error) => {
      // The client ends only when told to, or when its own loop breaks: an exit for whoever supervises this bus.
      const detail = error instanceof Error ? error.message : 'the client closed the connection';
      if (!this.#closing) this.#closing = this.#close(detail);
    });
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') this.#turn('down', `connection to ${status.server} lost`);
      else if (status.type === 'reconnect') this.#connected();
      else if (status.type === 'error') this.#serverError(status.error);
      else if (status.type === 'staleConnection' || status.type === 'ldm' || status.type === 'forceReconnect') {
        this.#log.log('warn', 'bus-status', { status: status.type });
      }
    }
  }

  #connected(): void {
    const info = this.connection!.info;
    if (!info || this.#closing) return;
    const where = `nats-server ${info.version} at ${this.connection!.getServer()}`;
    if (!isRecent(info.version)) {
      const detail = `${where} is too old: regrow needs ${VERSION_MIN.join('.')} or newer`;
      this.#log.log('error', 'bus-server-too-old', { detail });
      this.#closing = this.#close(detail);
      return;
    }
    this.payloadBytesMax = info.max_payload;
    // The first time everything, later what the server refused before: permissions may have changed.
    if (!this.#inboxOpen) this.#listenToInbox();
    for (const wanted of this.#wanted) if (!wanted.live) this.#attach(wanted);
    this.#turn('up', where);
  }

  #serverError(error: Error): void {
    if (!(error instanceof PermissionViolationError)) {
      this.#log.log('warn', 'bus-server-error', { detail: error.message });
      return;
    }
    const { operation, subject } = error;
    if (operation === 'publish') {
      // The server names the subject, not the request: every request to it would be refused the same way.
      for (const pending of [...this.#pending.values()]) {
        if (pending.subject === subject) pending.fail(new BusError('PERMISSION', `this user may not publish to ${subject}`, { cause: error }));
      }
    }
    const what = `${operation} ${subject}`;
    if (this.#refused.has(what) || this.#refused.size > 100) return;
    this.#refused.add(what);
    this.#log.log('error', 'bus-permission', { operation, subject, detail: error.message });
  }

  #turn(state: BusState, detail: string): void {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    this.detail = detail;
    if (state !== 'up') this.#failPending(() => this.#notUp('no answer'));
    for (const listener of [...this.#listeners]) listener(state, detail);
  }

  // ------------------------------------------------------------------------------------------------------ messages

  #attach(wanted: Wanted): void {
    const callback = (error: Error | null, message: Msg): void => {
      // An error is a refused subscription; it reaches the log by way of #serverError, which sees the same one.
      if (error) wanted.live = undefined;
      else this.#deliver(wanted.handler, message);
    };
    wanted.live = this.connection!.subscribe(wanted.subject, { callback, ...(wanted.queue !== undefined && { queue: wanted.queue }) });
  }

  /** A throw would end the client's read loop and with it the connection. */
  #deliver(handler: (message: BusMessage) => void, message: Msg): void {
    try {
      handler(new NatsMessage(this, message));
    } catch (error) {
      this.#log.log('error', 'bus-handler-threw', { subject: message.subject, error });
    }
  }

  #listenToInbox(): void {
    const callback = (error: Error | null, message: Msg): void => {
      if (!error) return this.#pending.get(message.subject.slice(this.#inbox.length))?.answer(message);
      this.#inboxOpen = false;
      this.#failPending(() => this.#inboxRefused());
    };
    this.#inboxOpen = true;
    this.connection!.subscribe(`${this.#inbox}*`, { callback });
  }

  #inboxRefused(): BusError {
    return new BusError('PERMISSION', `this user may not listen to answers on ${this.#inbox}*; set inboxPrefix to one that it may`);
  }

  #failPending(error: () => BusError): void {
    for (const pending of [...this.#pending.values()]) pending.fail(error());
  }

  #notUp(what: string): BusError {
    const closed = this.#closing !== undefined || this.state === 'closed';
    return new BusError(closed ? 'CLOSED' : 'DISCONNECTED', `${what}: ${this.detail}`);
  }

  #assertFits(data: Uint8Array, headers: Headers): void {
    if (headers) assertHeaders(headers);
    const length = data.length + headerBytes(headers);
    if (length > this.payloadBytesMax) throw new BusError('PAYLOAD_TOO_LARGE', `the message has ${length} bytes, the server takes ${this.payloadBytesMax}`);
  }
}

/** Keeps the writer's spelling of names; `undefined` for no headers, because an empty block is a protocol error. */
function encodable(headers: Headers): MsgHdrs | undefined {
  if (headers === undefined || Object.keys(headers).length === 0) return undefined;
  // Its type asks for lists, its code takes single values as well.
  return MsgHdrsImpl.fromRecord(headers as unknown as Record<string, string[]>);
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return major > VERSION_MIN[0] || (major === VERSION_MIN[0] && minor >= VERSION_MIN[1]);
}

/** Everything liveness depends on is given explicitly: the client's defaults give up after ten attempts and ping every two minutes. */
function connectionOptions(options: NatsOptions): NodeConnectionOptions {
  const { servers, name = 'regrow', user, pass, passFile, token, tls, inboxPrefix } = options;
  const authenticator = authenticators(options);
  const chosen: ConnectionOptions = {
    servers: typeof servers === 'string' ? servers : [...servers],
    name,
    timeout: CONNECT_TIMEOUT_MS,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: PINGS_OUT_MAX,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    waitOnFirstConnect: false,
    // Credentials can be renewed while we try; giving up needs a person anyway.
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    ...(user !== undefined && passFile === undefined && { user, pass: pass ?? '' }),
    ...(token !== undefined && { token }),
    ...(tls && { tls }),
    ...(inboxPrefix !== undefined && { inboxPrefix }),
    ...(authenticator.length > 0 && { authenticator }),
  };
  return chosen;
}

function authenticators({ user, passFile, credsFile, nkeySeed, nkeySeedFile, jwt }: NatsOptions): Authenticator[] {
  const chosen: Authenticator[] = [];
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text.trim());
  if (user !== undefined && passFile !== undefined) {
    const file = rereading(passFile);
    chosen.push(usernamePasswordAuthenticator(user, () => new TextDecoder().decode(file()).trim()));
  }
  if (credsFile !== undefined) chosen.push(credsAuthenticator(rereading(credsFile)));
  const seedFile = nkeySeedFile === undefined ? undefined : rereading(nkeySeedFile);
  const seed = seedFile ? () => bytes(new TextDecoder().decode(seedFile())) : nkeySeed === undefined ? undefined : () => bytes(nkeySeed);
  if (jwt !== undefined) chosen.push(jwtAuthenticator(jwt, seed));
  else if (seed) chosen.push(nkeyAuthenticator(seed));
  return chosen;
}

/** A file that is gone for a moment while somebody replaces it must not end the client: the last good content serves. */
function rereading(file: string): () => Uint8Array {
  let last: Uint8Array | undefined;
  return () => {
    try {
      return (last = readFileSync(file));
    } catch (error) {
      if (last) return last;
      throw error;
    }
  };
}

/** Returns at once; the bus is `down` until a server answers. */
export function createNatsBus(options: NatsOptions, outside: NatsOutside): NatsBus {
  return new NatsEndpoint(options, outside);
}

/** For commands that have nothing to do without a server: waits until the bus is up, or rejects with a BusError and leaves nothing behind. */
export async function connectNats(options: NatsOptions, outside: NatsOutside, timeoutMs = CONNECT_TIMEOUT_MS): Promise<NatsBus> {
  const bus = createNatsBus(options, outside);
  let stop: () => void = () => {};
  const up = new Promise<boolean>((resolve) => {
    const timer = outside.clock.setTimeout(() => resolve(false), timeoutMs);
    const silence = bus.onState((state) => resolve(state === 'up'));
    stop = () => {
      outside.clock.clearTimeout(timer);
      silence();
    };
  });
  const connected = await up;
  stop();
  if (connected) return bus;
  const { state, detail } = bus;
  await bus.close();
  throw new BusError(state === 'closed' ? 'CLOSED' : 'DISCONNECTED', `no NATS at ${String(options.servers)}: ${detail}`);
}
