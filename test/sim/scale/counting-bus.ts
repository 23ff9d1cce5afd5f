/**
 * The broker as a set of counters: what hosts say of themselves goes to every host, and every copy is counted with the
 * bytes NATS would put on the wire. Hosts that only count hear nothing but themselves and requests for their state.
 */
import { BusError, type Bus, type BusMessage, type BusRequestOptions, type BusState, type BusSubscription } from '../../../src/ports.js';
import type { SimTime } from '../sim-time.js';
import type { HostLoop } from './host-loop.js';

/** Beats, states, requests for a state, answers to them. */
export const KINDS = ['beat', 'state', 'ask', 'answer'] as const;
export type Kind = (typeof KINDS)[number];

export interface Tally {
  published: number;
  delivered: number;
  /** Delivered, with the protocol line of each message. */
  bytes: number;
}

const LATENCY_MS = 1;
/** `MSG <subject> <sid> <length>` and two line ends. */
const LINE_BYTES = 14;

const kindOf = (subject: string): Kind => (subject.includes('.beat.') ? 'beat' : subject.includes('.state.') ? 'state' : 'ask');

export interface Receiver {
  readonly host: string;
  readonly loop: HostLoop;
  /** What others publish is handled, not only counted. */
  readonly hears: boolean;
  /** Of hosts that count, as many as this one stands for: their requests are made by it alone. */
  readonly standsFor: () => number;
  /** To be paid before a message is handled. */
  readonly workMs: (kind: Kind, bytes: number) => number;
}

export class CountingBroker {
  readonly endpoints = new Map<string, CountingEndpoint>();
  readonly #seconds: Record<Kind, Tally>[] = [];

  constructor(readonly time: SimTime) {}

  connect(receiver: Receiver): CountingEndpoint {
    const endpoint = new CountingEndpoint(this, receiver);
    this.endpoints.set(receiver.host, endpoint);
    return endpoint;
  }

  /** Its process is gone, and the server noticed. */
  cut(host: string): void {
    this.endpoints.get(host)?.receiver.loop.end();
    this.endpoints.delete(host);
  }

  tally(kind: Kind): Tally {
    const second = Math.floor(this.time.now() / 1000);
    return (this.#seconds[second] ??= emptyTallies())[kind];
  }

  /** Of whole seconds, the last one excluded. */
  between(fromSecond: number, toSecond: number): Record<Kind, Tally> {
    const sum = emptyTallies();
    for (const each of this.#seconds.slice(fromSecond, toSecond)) {
      if (each) for (const kind of KINDS) for (const field of ['published', 'delivered', 'bytes'] as const) sum[kind][field] += each[kind][field];
    }
    return sum;
  }

  /** The most bytes a single second took, and the most deliveries. */
  peak(fromSecond: number, toSecond: number): { readonly bytes: number; readonly delivered: number } {
    const sums = Array.from({ length: toSecond - fromSecond }, (_, at) => KINDS.map((kind) => this.between(fromSecond + at, fromSecond + at + 1)[kind]));
    const most = (field: 'bytes' | 'delivered'): number => Math.max(0, ...sums.map((second) => second.reduce((sum, each) => sum + each[field], 0)));
    return { bytes: most('bytes'), delivered: most('delivered') };
  }

  later(call: () => void): void {
    this.time.setTimeout(call, LATENCY_MS);
  }

  publish(from: string, subject: string, data: Uint8Array): void {
    const kind = kindOf(subject);
    this.tally(kind).published++;
    this.later(() => {
      const tally = this.tally(kind);
      tally.delivered += this.endpoints.size;
      tally.bytes += this.endpoints.size * wireBytes(subject, data);
      for (const [host, endpoint] of this.endpoints) if (host === from || endpoint.receiver.hears) endpoint.take(kind, subject, data);
    });
  }

  request(asker: CountingEndpoint, subject: string, timeoutMs: number): Promise<BusMessage> {
    const { standsFor, loop, workMs } = asker.receiver;
    const count = (kind: Kind, bytes: number): void => {
      const tally = this.tally(kind);
      tally.published += standsFor();
      tally.delivered += standsFor();
      tally.bytes += standsFor() * bytes;
    };
    return new Promise((resolve, reject) => {
      const target = this.endpoints.get(subject.split('.')[2]!);
      if (!target) return this.later(() => loop.hear(() => reject(new BusError('NO_RESPONDERS', `nobody answers ${subject}`))));
      const timer = loop.setTimeout(() => reject(new BusError('TIMEOUT', `no answer from ${subject}`)), timeoutMs);
      count('ask', wireBytes(subject, new Uint8Array()));
      this.later(() => target.take('ask', subject, new Uint8Array(), (data) => {
        count('answer', wireBytes(subject, data));
        this.later(() => loop.hear(() => {
          loop.clearTimeout(timer);
          loop.spend(workMs('answer', data.length));
          resolve(messageOf(subject, data));
        }));
      }));
    });
  }
}

export class CountingEndpoint implements Bus {
  readonly state: BusState = 'up';
  readonly payloadBytesMax = 8 * 1024 * 1024;
  readonly #handlers: { readonly kind: Kind; readonly handle: (message: BusMessage) => void }[] = [];

  constructor(private readonly broker: CountingBroker, readonly receiver: Receiver) {}

  onState(): () => void { return () => {}; }

  publish(subject: string, data: Uint8Array): void {
    this.broker.publish(this.receiver.host, subject, data);
  }

  subscribe(subject: string, handle: (message: BusMessage) => void): BusSubscription {
    this.#handlers.push({ kind: kindOf(subject), handle });
    return { unsubscribe: () => {} };
  }

  request(subject: string, _data: Uint8Array, { timeoutMs }: BusRequestOptions): Promise<BusMessage> {
    return this.broker.request(this, subject, timeoutMs);
  }

  take(kind: Kind, subject: string, data: Uint8Array, respond?: (data: Uint8Array) => void): void {
    const { loop, workMs } = this.receiver;
    loop.hear(() => {
      loop.spend(workMs(kind, data.length));
      for (const each of this.#handlers) if (each.kind === kind) each.handle(messageOf(subject, data, respond));
    });
  }

  flush(): Promise<void> { return Promise.resolve(); }
  close(): Promise<void> { return Promise.resolve(); }
}

const wireBytes = (subject: string, data: Uint8Array): number => LINE_BYTES + subject.length + data.length;
const messageOf = (subject: string, data: Uint8Array, respond?: (data: Uint8Array) => void): BusMessage => ({ subject, data, headers: new Map(), hasReply: respond !== undefined, respond: (answer) => respond?.(answer) });

function emptyTallies(): Record<Kind, Tally> {
  const none = (): Tally => ({ published: 0, delivered: 0, bytes: 0 });
  return { beat: none(), state: none(), ask: none(), answer: none() };
}
