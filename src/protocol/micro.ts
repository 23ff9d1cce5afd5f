/**
 * NATS micro (ADR-32) as documents: one service named `regrow` per host, one endpoint per actor, so that
 * `nats micro ls`, `info` and `stats` show a cluster without knowing anything about regrow.
 *
 * Spoken over plain subscriptions, because the client's own services package exists for this major version only as a
 * pre-release. It formats what it is given; counting requests is the business of the endpoint.
 */
import { QUEUE_GROUP } from './subjects.js';

export const MICRO_NAME = 'regrow';

export type MicroVerb = 'PING' | 'INFO' | 'STATS';
export const microVerbs: readonly MicroVerb[] = ['PING', 'INFO', 'STATS'];

export interface MicroService {
  /** Of this instance: the host id. One subject token. */
  readonly id: string;
  /** Of regrow, a semantic version; tools refuse a service without one. */
  readonly version: string;
  readonly description: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** When this host process started; ISO, in UTC. */
  readonly started: string;
}

export interface MicroEndpoint {
  readonly actor: string;
  readonly subject: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface MicroEndpointStats extends MicroEndpoint {
  readonly requests: number;
  readonly errors: number;
  /** Text of the last error, empty when there was none. */
  readonly lastError: string;
  /** Sum over all requests. */
  readonly processingMs: number;
  /** Free-form, shown by `nats micro stats --json`. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Subjects to answer a verb on. Without a queue group: every instance answers. */
export function microSubjects(verb: MicroVerb, id: string): readonly string[] {
  return [`$SRV.${verb}`, `$SRV.${verb}.${MICRO_NAME}`, `$SRV.${verb}.${MICRO_NAME}.${id}`];
}

function identity(verb: string, service: MicroService): Record<string, unknown> {
  return {
    type: `io.nats.micro.v1.${verb}_response`,
    name: MICRO_NAME,
    id: service.id,
    version: service.version,
    metadata: service.metadata,
  };
}

/** Endpoint names allow less than tokens in general; an actor's name has been held to the same letters. */
function endpoint(each: MicroEndpoint): Record<string, unknown> {
  return { name: each.actor, subject: each.subject, queue_group: QUEUE_GROUP };
}

export function microPing(service: MicroService): Record<string, unknown> {
  return identity('ping', service);
}

export function microInfo(service: MicroService, endpoints: readonly MicroEndpoint[]): Record<string, unknown> {
  return {
    ...identity('info', service),
    description: service.description,
    endpoints: endpoints.map((each) => ({ ...endpoint(each), metadata: each.metadata })),
  };
}

/** Times in these documents are whole nanoseconds. */
function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6);
}

export function microStats(service: MicroService, endpoints: readonly MicroEndpointStats[]): Record<string, unknown> {
  return {
    ...identity('stats', service),
    started: service.started,
    endpoints: endpoints.map((each) => ({
      ...endpoint(each),
      num_requests: each.requests,
      num_errors: each.errors,
      last_error: each.lastError,
      processing_time: nanoseconds(each.processingMs),
      average_processing_time: each.requests === 0 ? 0 : nanoseconds(each.processingMs / each.requests),
      ...(each.data && { data: each.data }),
    })),
  };
}
