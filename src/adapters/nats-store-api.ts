/**
 * JetStream's API as the store needs it: plain requests over the bus, one answer each, with what is known after a failure
 * told apart (StoreErrorCode). No consumers: they can go blind for a minute without an error, requests cannot.
 *
 * Assumes the API of nats-server >= 2.11. Reads go to the stream's leader (STREAM.INFO, STREAM.MSG.GET) except for the
 * one call named `direct`. It deliberately repeats nothing by itself.
 */
import { BusError, StoreError, type Bus, type BusMessage, type Clock } from '../ports.js';

export interface StreamConfig {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly storage: string;
  readonly num_replicas: number;
  readonly [more: string]: unknown;
}

/** One that is to be made; how many servers keep it is decided then. */
export interface NewStream {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly storage: string;
  readonly [more: string]: unknown;
}

export interface StreamState {
  readonly config: StreamConfig;
  readonly lastSequence: number;
}

/** A message as it lies in a stream. */
export interface Stored {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly sequence: number;
  /** The header block as text; empty for none. */
  readonly headers: string;
}

interface ApiFailure {
  readonly code: number;
  readonly err_code: number;
  readonly description: string;
}

/** An answer that says no. */
export class JetStreamRefusal extends Error {
  override readonly name = 'JetStreamRefusal';
  constructor(readonly status: number, readonly code: number, description: string) {
    super(description);
  }
}

/** There is no JetStream for this user. */
export class JetStreamAbsent extends Error {
  override readonly name = 'JetStreamAbsent';
}

export const STREAM_NOT_FOUND = 10059;
const NO_MESSAGE = 10037;
/** More than one replica of a server that is no cluster. */
const ALONE = 10074;
const NOT_ENABLED = [10039, 10076];
/** With the last sequence in its text; the other one where replicas are still agreeing on a write to the same subject, which may fail. */
const WRONG_LAST_SEQUENCE = 10071;
const WRONG_LAST_SEQUENCE_UNKNOWN = 10164;
const EXPECTED = 'Nats-Expected-Last-Subject-Sequence';
/** Of a bucket on a cluster: it outlives the loss of any one server. */
const REPLICAS = 3;
/** Reads of one listing that are under way at the same time. */
const READS_MAX = 32;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class JetStreamApi {
  constructor(private readonly bus: Bus, private readonly clock: Clock) {}

  /** Undefined: there is no such stream. */
  async stream(name: string, timeoutMs: number): Promise<StreamState | undefined> {
    const answer = await this.#found<StreamAnswer>(STREAM_NOT_FOUND, this.ask<StreamAnswer>(`STREAM.INFO.${name}`, undefined, timeoutMs));
    return answer && { config: answer.config, lastSequence: answer.state.last_seq };
  }

  /** Succeeds as well where a stream with the same configuration exists. */
  async createStream(config: StreamConfig, timeoutMs: number): Promise<StreamState> {
    const answer = await this.ask<StreamAnswer>(`STREAM.CREATE.${config.name}`, config, timeoutMs);
    return { config: answer.config, lastSequence: answer.state.last_seq };
  }

  /** With as many replicas as `wanted`; without a wish three, or one where the server stands alone. */
  async createReplicated(config: NewStream, wanted: number | undefined, timeoutMs: number): Promise<StreamState> {
    const create = (replicas: number): Promise<StreamState> => this.createStream({ ...config, num_replicas: replicas }, timeoutMs);
    if (wanted !== undefined) return create(wanted);
    // Asking is the only way to know: what a server tells of its cluster may be incomplete while that forms, and a bucket
    // that was made with one replica keeps one.
    return create(REPLICAS).catch((error: unknown) => {
      if (error instanceof JetStreamRefusal && error.code === ALONE) return create(1);
      throw error;
    });
  }

  async updateStream(config: StreamConfig, timeoutMs: number): Promise<StreamState> {
    const answer = await this.ask<StreamAnswer>(`STREAM.UPDATE.${config.name}`, config, timeoutMs);
    return { config: answer.config, lastSequence: answer.state.last_seq };
  }

  /** The last message on a subject, from the leader. */
  last(stream: string, subject: string, timeoutMs: number): Promise<Stored | undefined> {
    return this.#message(stream, { last_by_subj: subject }, timeoutMs);
  }

  /** The first message on a subject at or after a sequence, from the leader. */
  next(stream: string, subject: string, sequence: number, timeoutMs: number): Promise<Stored | undefined> {
    return this.#message(stream, { seq: sequence, next_by_subj: subject }, timeoutMs);
  }

  /** As `next`, from any replica, which may be behind; costs no base64. */
  async nextDirect(stream: string, subject: string, sequence: number, timeoutMs: number): Promise<Stored | undefined> {
    const body = encoder.encode(JSON.stringify({ seq: sequence, next_by_subj: subject }));
    const answer = await this.#request(`$JS.API.DIRECT.GET.${stream}`, body, timeoutMs);
    const found = answer.headers.get('nats-sequence');
    return found === undefined ? undefined : { subject, data: answer.data, sequence: Number(found), headers: '' };
  }

  /** How many messages lie on each subject that fits, and the stream's last sequence, from the leader. */
  async subjects(stream: string, filter: string, timeoutMs: number): Promise<{ readonly counts: ReadonlyMap<string, number>; readonly lastSequence: number } | undefined> {
    const until = this.clock.now() + timeoutMs;
    const counts = new Map<string, number>();
    let lastSequence: number | undefined;
    // Paged by the server, 100,000 at a time.
    for (let offset = 0; ;) {
      const body = { subjects_filter: filter, offset };
      const page = await this.#found<StreamAnswer>(STREAM_NOT_FOUND, this.ask<StreamAnswer>(`STREAM.INFO.${stream}`, body, this.#left(until)));
      if (!page) return undefined;
      // Of the first page: what came after it may be missing from the later ones.
      lastSequence ??= page.state.last_seq;
      const found = Object.entries(page.state.subjects ?? {});
      for (const [subject, count] of found) counts.set(subject, count);
      offset += found.length;
      if (found.length === 0 || offset >= (page.total ?? 0)) return { counts, lastSequence };
    }
  }

  /** The last message on every subject that fits, by sequence. Undefined: there is no such stream. */
  async lastOfAll(stream: string, filter: string, timeoutMs: number): Promise<{ readonly messages: readonly Stored[]; readonly lastSequence: number } | undefined> {
    const until = this.clock.now() + timeoutMs;
    const known = await this.subjects(stream, filter, timeoutMs);
    if (!known) return undefined;
    const waiting = [...known.counts.keys()];
    const messages: Stored[] = [];
    const reader = async (): Promise<void> => {
      for (let subject = waiting.pop(); subject !== undefined; subject = waiting.pop()) {
        const message = await this.last(stream, subject, this.#left(until));
        if (message) messages.push(message);
      }
    };
    await Promise.all(Array.from({ length: READS_MAX }, reader));
    messages.sort((a, b) => a.sequence - b.sequence);
    return { messages, lastSequence: known.lastSequence };
  }

  /** Resolves with the sequence once the stream has the message. `expected`: the sequence of the last one on this subject, 0 for none ever. */
  async publish(subject: string, data: Uint8Array, options: { readonly timeoutMs: number; readonly expected?: number; readonly headers?: Readonly<Record<string, string>> }): Promise<number> {
    const { timeoutMs, expected } = options;
    const headers = { ...options.headers, ...(expected !== undefined && { [EXPECTED]: String(expected) }) };
    const answer = await this.#request(subject, data, timeoutMs, headers);
    const acknowledged = parsed<{ seq: number }>(answer, subject);
    if (!('error' in acknowledged)) return acknowledged.seq;
    const { code, err_code: errorCode, description } = acknowledged.error;
    const what = `${subject}: ${description}`;
    if (errorCode === WRONG_LAST_SEQUENCE) throw new StoreError(expected === 0 ? 'EXISTS' : 'CONFLICT', what);
    if (errorCode === WRONG_LAST_SEQUENCE_UNKNOWN) throw new StoreError('CONFLICT', what);
    // A stream that is losing its leader may say 503 about a message that its followers have already.
    throw new StoreError(code >= 500 ? 'UNKNOWN' : 'DOWN', what);
  }

  async purge(stream: string, subject: string, timeoutMs: number): Promise<void> {
    await this.ask(`STREAM.PURGE.${stream}`, { filter: subject }, timeoutMs);
  }

  /** Rejects with a StoreError, a JetStreamAbsent, or a JetStreamRefusal, which says that nothing happened. */
  async ask<T extends object>(api: string, body: object | undefined, timeoutMs: number): Promise<T> {
    const answer = await this.#request(`$JS.API.${api}`, body === undefined ? new Uint8Array(0) : encoder.encode(JSON.stringify(body)), timeoutMs);
    const said = parsed<T>(answer, api);
    if (!('error' in said)) return said;
    const { code, err_code: errorCode, description } = said.error;
    if (NOT_ENABLED.includes(errorCode)) throw new JetStreamAbsent(description);
    throw new JetStreamRefusal(code, errorCode, description);
  }

  async #message(stream: string, body: object, timeoutMs: number): Promise<Stored | undefined> {
    const answer = await this.#found<MessageAnswer>(NO_MESSAGE, this.ask<MessageAnswer>(`STREAM.MSG.GET.${stream}`, body, timeoutMs));
    if (!answer) return undefined;
    const { subject, seq, data, hdrs } = answer.message;
    return { subject, sequence: seq, data: Buffer.from(data ?? '', 'base64'), headers: Buffer.from(hdrs ?? '', 'base64').toString('utf8') };
  }

  async #found<T>(absence: number, answer: Promise<T>): Promise<T | undefined> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof JetStreamRefusal && error.code === absence) return undefined;
      throw error;
    }
  }

  #left(until: number): number {
    return Math.max(1, until - this.clock.now());
  }

  async #request(subject: string, data: Uint8Array, timeoutMs: number, headers?: Readonly<Record<string, string>>): Promise<BusMessage> {
    // Asked here, because the bus fails with the same code before and after it has sent something.
    if (this.bus.state !== 'up') throw new StoreError(this.bus.state === 'closed' ? 'CLOSED' : 'DOWN', `nothing was sent to ${subject}: the bus is ${this.bus.state}`);
    try {
      return await this.bus.request(subject, data, { timeoutMs, ...(headers && { headers }) });
    } catch (cause) {
      if (!(cause instanceof BusError)) throw cause;
      if (cause.code === 'NO_RESPONDERS' && subject.startsWith('$JS.API.')) throw new JetStreamAbsent('the server has no JetStream, or not for this account', { cause });
      if (cause.code === 'PERMISSION' && subject.startsWith('$JS.API.')) throw new JetStreamAbsent(cause.message, { cause });
      const certain = cause.code === 'NO_RESPONDERS' || cause.code === 'PERMISSION' || cause.code === 'PAYLOAD_TOO_LARGE';
      throw new StoreError(certain ? 'DOWN' : 'UNKNOWN', `${subject}: ${cause.message}`, { cause });
    }
  }
}

interface StreamAnswer {
  readonly config: StreamConfig;
  readonly state: { readonly last_seq: number; readonly subjects?: Readonly<Record<string, number>> };
  readonly total?: number;
}

interface MessageAnswer {
  readonly message: { readonly subject: string; readonly seq: number; readonly data?: string; readonly hdrs?: string };
}

function parsed<T extends object>(answer: BusMessage, what: string): T | { readonly error: ApiFailure } {
  try {
    return JSON.parse(decoder.decode(answer.data)) as T | { readonly error: ApiFailure };
  } catch (cause) {
    throw new StoreError('UNKNOWN', `${what}: an answer that is no JSON`, { cause });
  }
}

/** For the public calls: what the API says, in the words of the port. */
export function asStoreError(error: unknown): unknown {
  if (error instanceof JetStreamAbsent) return new StoreError('DOWN', `no store: ${error.message}`, { cause: error });
  if (error instanceof JetStreamRefusal) return new StoreError('DOWN', `the store refused: ${error.message}`, { cause: error });
  return error;
}
