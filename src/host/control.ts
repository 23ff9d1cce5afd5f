/**
 * Operator verbs on `<prefix>.control.<host>.<verb>`: a JSON request, a JSON answer. Subscribed only on an authenticated
 * connection; who may publish there is the broker's decision (nats.conf: the operator alone).
 */
import { ServeError, isServeError } from '../errors.js';
import type { Bus, BusMessage, Log } from '../ports.js';
import { encodeError } from '../protocol/error-body.js';
import { errorHeaders } from '../protocol/headers.js';
import { lastToken, type Subjects } from '../protocol/subjects.js';

/** Rejects with a ServeError for what cannot be done. */
export type Verb = (request: Readonly<Record<string, unknown>>) => Promise<unknown>;

export interface ControlOptions {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly host: string;
  readonly log: Log;
  readonly verbs: Readonly<Record<string, Verb>>;
}

/** @returns the way to stop listening */
export function listenForOrders(options: ControlOptions): () => void {
  const { bus, subjects, host } = options;
  const subscription = bus.subscribe(subjects.controlOf(host), (message) => void obey(message, options));
  return () => subscription.unsubscribe();
}

async function obey(message: BusMessage, { verbs, log }: ControlOptions): Promise<void> {
  const name = lastToken(message.subject);
  log.log('info', 'order', { verb: name });
  try {
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (!verb) throw new ServeError('INVALID_ARGUMENT', `no order "${name}"; there are ${Object.keys(verbs).join(', ')}`);
    const answer = await verb(requestOf(message.data));
    message.respond(new TextEncoder().encode(JSON.stringify(answer ?? {})));
  } catch (error) {
    const refusal = isServeError(error) ? error : new ServeError('INTERNAL', String(error), { cause: error });
    try {
      message.respond(encodeError(refusal), errorHeaders(refusal));
    } catch {
      // The bus closed under it: whoever waits runs into their own time-out.
    }
  }
}

function requestOf(data: Uint8Array): Readonly<Record<string, unknown>> {
  if (data.byteLength === 0) return {};
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(data));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Falls through to the same refusal.
  }
  throw new ServeError('INVALID_ARGUMENT', 'an order is a JSON object');
}

/** The string field of an order. @throws ServeError INVALID_ARGUMENT */
export function wanted(request: Readonly<Record<string, unknown>>, field: string): string {
  const value = request[field];
  if (typeof value !== 'string' || value === '') throw new ServeError('INVALID_ARGUMENT', `an order needs "${field}"`);
  return value;
}
