/**
 * Everything this host says and hears on its bus: inference subjects that follow availability, status, events, and the
 * micro protocol. Subscribing is how a host says "ready"; nothing else may subscribe to an inference subject.
 */
import type { Bus, BusMessage, BusSubscription, Clock, Log, TimerHandle } from '../ports.js';
import type { RegrowEvent } from '../protocol/events.js';
import { microInfo, microPing, microStats, microSubjects, microVerbs, type MicroEndpointStats, type MicroService, type MicroVerb } from '../protocol/micro.js';
import type { HostStatus, StatusDocument } from '../protocol/status.js';
import type { Subjects } from '../protocol/subjects.js';
import type { Endpoint } from '../serving/endpoint.js';

export interface LinksOptions {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly service: MicroService;
  readonly clock: Clock;
  readonly log: Log;
  readonly endpoint: (actor: string) => Endpoint;
  /** The cluster; asks the other hosts. Never rejects. */
  readonly document: () => Promise<StatusDocument>;
  readonly host: () => HostStatus;
}

/** Own status is published on change, at most this often. */
const STATUS_EVERY_MS = 1000;

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

export class Links {
  readonly #inference = new Map<string, BusSubscription[]>();
  /** Actors whose requests are taken, or would be. */
  readonly #reachable = new Set<string>();
  #muted = false;
  readonly #always: BusSubscription[] = [];
  #statusTimer: TimerHandle | undefined;
  #closed = false;

  constructor(private readonly options: LinksOptions) {
    const { bus, subjects, service } = options;
    const answer = (subject: string, document: () => unknown, queue?: string): void => {
      this.#always.push(bus.subscribe(subject, (message) => void this.#answer(message, document), queue === undefined ? {} : { queue }));
    };
    answer(subjects.status, options.document, subjects.queueGroup);
    answer(subjects.statusOf(service.id), options.host);
    const documents: Record<MicroVerb, () => unknown> = {
      PING: () => microPing(service),
      INFO: () => microInfo(service, this.#endpoints()),
      STATS: () => microStats(service, this.#endpoints()),
    };
    for (const verb of microVerbs) for (const subject of microSubjects(verb, service.id)) answer(subject, documents[verb]);
  }

  /** The actor's requests are taken from now on, or no longer. Requests already on their way are still answered. */
  setReachable(actor: string, reachable: boolean): void {
    if (reachable) this.#reachable.add(actor);
    else this.#reachable.delete(actor);
    this.#subscribe(actor, reachable && !this.#muted && !this.#closed);
  }

  /** While muted no request is taken, as if no actor were reachable. */
  mute(muted: boolean): void {
    this.#muted = muted;
    for (const actor of this.#reachable) this.#subscribe(actor, !muted && !this.#closed);
  }

  #subscribe(actor: string, wanted: boolean): void {
    const { bus, subjects, service, endpoint } = this.options;
    if (wanted === this.#inference.has(actor)) return;
    if (!wanted) {
      for (const subscription of this.#inference.get(actor)!) subscription.unsubscribe();
      this.#inference.delete(actor);
      return;
    }
    const handle = (message: BusMessage): void => void endpoint(actor).handle(message);
    this.#inference.set(actor, [
      bus.subscribe(subjects.infer(actor), handle, { queue: subjects.queueGroup }),
      bus.subscribe(subjects.hostInfer(service.id, actor), handle),
    ]);
  }

  publishEvent(event: RegrowEvent): void {
    this.options.bus.publish(this.options.subjects.events(event.host, event.type), json(event));
  }

  /** Something in the status changed; publishes it soon, once for many changes. */
  statusChanged(): void {
    if (this.#statusTimer !== undefined || this.#closed) return;
    this.#statusTimer = this.options.clock.setTimeout(() => {
      this.#statusTimer = undefined;
      this.publishStatus();
    }, STATUS_EVERY_MS);
  }

  publishStatus(): void {
    const { bus, subjects, service, host } = this.options;
    bus.publish(subjects.statusOf(service.id), json(host()));
  }

  /** No new inference; status and the micro protocol go on answering until `close`. */
  stopInference(): void {
    this.#closed = true;
    for (const actor of [...this.#inference.keys()]) this.setReachable(actor, false);
  }

  close(): void {
    this.stopInference();
    if (this.#statusTimer !== undefined) this.options.clock.clearTimeout(this.#statusTimer);
    for (const subscription of this.#always.splice(0)) subscription.unsubscribe();
  }

  #endpoints(): MicroEndpointStats[] {
    return [...this.#inference.keys()].map((actor) => {
      const { requests, errors, lastError, processingMs } = this.options.endpoint(actor);
      return { actor, subject: this.options.subjects.infer(actor), metadata: {}, requests, errors, lastError, processingMs };
    });
  }

  async #answer(message: BusMessage, document: () => unknown): Promise<void> {
    if (!message.hasReply) return; // also our own published status, which comes back on the same subject
    try {
      message.respond(json(await document()));
    } catch (error) {
      this.options.log.log('warn', 'answer-refused', { subject: message.subject, error: String(error) });
    }
  }
}
