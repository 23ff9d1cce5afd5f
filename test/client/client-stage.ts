/** A client on simulated time, and hosts that do what a script says: answer, refuse, run and stay silent, freeze. */
import { createMemoryBus, type MemoryBroker } from '../../src/adapters/memory-bus.js';
import { Client, type ClientOptions, type InferOptions } from '../../src/client/client.js';
import { ServeError, isServeError, type ErrorCode } from '../../src/errors.js';
import type { Bus, BusMessage, Random } from '../../src/ports.js';
import { encodeError } from '../../src/protocol/error-body.js';
import { answerHeaders, errorHeaders, readRequestHeaders } from '../../src/protocol/headers.js';
import { encodeResponse, joinEncoded } from '../../src/protocol/infer.js';
import { microSubjects } from '../../src/protocol/micro.js';
import type { StatusDocument } from '../../src/protocol/status.js';
import { subjects } from '../../src/protocol/subjects.js';
import { SimClock } from '../support/sim-clock.js';

export const ACTOR = 'digits';
const names = subjects();
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** What a host does with one request. */
export interface Act {
  /** Executions it uses up, at most what it was allowed. Default 1, for a refusal 0. */
  readonly runs?: number;
  readonly end: 'ok' | 'silence' | ErrorCode;
  readonly afterMs?: number;
  readonly outcome?: 'unknown';
  /** Leaves the header out, as older hosts do. */
  readonly mute?: boolean;
}

export interface Execution {
  readonly requestId: string;
  readonly host: string;
  readonly attemptsLeft: number | undefined;
  readonly runs: number;
  readonly direct: boolean;
  readonly timeoutMs: number;
  readonly atMs: number;
}

export class ScriptedHost {
  readonly bus: Bus;
  /** Reads nothing any more, but stays subscribed. */
  frozen = false;
  constructor(
    private readonly stage: ClientStage,
    readonly id: string,
    public act: (request: { readonly requestId: string; readonly direct: boolean }) => Act,
  ) {
    this.bus = stage.broker.connect();
    this.bus.subscribe(names.infer(ACTOR), (message) => this.#infer(message, false), { queue: names.queueGroup });
    this.bus.subscribe(names.hostInfer(id, ACTOR), (message) => this.#infer(message, true));
    for (const subject of microSubjects('PING', id)) this.bus.subscribe(subject, (message) => this.#reply(message, {}));
    this.bus.subscribe(names.status, (message) => this.#reply(message, stage.document()), { queue: names.queueGroup });
  }

  #reply(message: BusMessage, document: unknown): void {
    if (!this.frozen) message.respond(encode(document));
  }

  #infer(message: BusMessage, direct: boolean): void {
    const { stage, id } = this;
    const { requestId = '', attemptsLeft, timeoutMs = 0 } = readRequestHeaders(message.headers);
    const act: Act = this.frozen ? { end: 'silence', runs: 0 } : this.act({ requestId, direct });
    const runs = Math.min(act.runs ?? (act.end === 'ok' || act.end === 'silence' ? 1 : 0), attemptsLeft ?? Infinity);
    stage.executions.push({ requestId, host: id, attemptsLeft, runs, direct, timeoutMs, atMs: stage.clock.now() });
    if (act.end === 'silence') return;
    const respond = (): void => {
      if (act.end === 'ok') {
        const answer = joinEncoded(encodeResponse({ modelName: ACTOR, outputs: [] }, {}));
        message.respond(answer, answerHeaders({ servedBy: `${id}/r#1`, attempts: runs, modelVersion: 'v', device: 'cpu' }));
      } else {
        const error = new ServeError(act.end as ErrorCode, `scripted ${act.end}`, act.outcome && { outcome: act.outcome });
        message.respond(encodeError(error), { ...errorHeaders(error), ...answerHeaders({ servedBy: id, ...(!act.mute && { attempts: runs }) }) });
      }
    };
    if (act.afterMs) stage.clock.setTimeout(respond, act.afterMs);
    else respond();
  }
}

/** Always the same numbers, one per seed. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  let ids = 0;
  return {
    next: () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32,
    ulid: () => `id-${++ids}`,
  };
}

export interface StageOptions extends ClientOptions {
  readonly kind?: 'model' | 'module';
  readonly seed?: number;
}

export class ClientStage {
  readonly clock = new SimClock();
  readonly broker: MemoryBroker = createMemoryBus({ clock: this.clock, log: { log: () => {} }, schedule: queueMicrotask });
  readonly bus: Bus;
  readonly client: Client;
  readonly hosts: ScriptedHost[] = [];
  readonly executions: Execution[] = [];
  readonly #kind: 'model' | 'module';

  constructor({ kind = 'model', seed = 1, ...options }: StageOptions = {}) {
    this.#kind = kind;
    this.bus = this.broker.connect();
    this.client = new Client({ bus: this.bus, subjects: names, clock: this.clock, random: seeded(seed) }, options);
  }

  host(id: string, act: Act | ScriptedHost['act'] = { end: 'ok' }): ScriptedHost {
    const host = new ScriptedHost(this, id, typeof act === 'function' ? act : () => act);
    this.hosts.push(host);
    return host;
  }

  document(): StatusDocument {
    const actors = [{ name: ACTOR, kind: this.#kind, ready: 1 }];
    return { prefix: 'regrow', bus: 'up', hosts: this.hosts.map(({ id }) => ({ id, liveness: 'alive', actors })) } as unknown as StatusDocument;
  }

  /** The call, and in `end` how it ended: `ok@host`, a code, `UNAVAILABLE(unknown)`; with the time it took. */
  call(options: InferOptions = {}): Watched {
    return new Watched(this.client.infer(ACTOR, {}, options), this.clock);
  }

  /** One call after the other; each is given its whole time-out. */
  async calls(count: number, options: InferOptions = {}): Promise<Watched[]> {
    const all: Watched[] = [];
    for (let i = 0; i < count; i++) {
      const call = this.call(options);
      all.push(call);
      while (call.end === undefined && (await this.clock.step()));
      await this.clock.advance(1);
    }
    return all;
  }

  /** Time passes until nothing is due any more. */
  async runOut(): Promise<void> {
    while (await this.clock.step());
  }

  runsOf(requestId: string): number {
    return this.executions.filter((each) => each.requestId === requestId).reduce((sum, { runs }) => sum + runs, 0);
  }
}

export class Watched {
  end: string | undefined;
  error: unknown;
  tookMs = -1;
  constructor(promise: Promise<{ readonly servedBy: string }>, clock: SimClock) {
    const startMs = clock.now();
    const ended = (end: string): void => {
      this.end = end;
      this.tookMs = clock.now() - startMs;
    };
    promise.then(
      ({ servedBy }) => ended(`ok@${servedBy.split('/')[0]}`),
      (error: unknown) => {
        this.error = error;
        ended(isServeError(error) ? `${error.code}${error.outcome ? `(${error.outcome})` : ''}` : String(error));
      },
    );
  }
}
