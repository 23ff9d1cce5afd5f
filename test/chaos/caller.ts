/** A plain NATS client: one request, one reply subject, no retries. What anybody writes who never heard of regrow. */
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { errorCodes } from '../../src/errors.js';
import { decodeResponse } from '../../src/protocol/infer.js';
import type { StatusDocument } from '../../src/protocol/status.js';
import type { Outcome } from './load.js';
import { nowMs } from './time.js';
import { wrongness, type Question } from './subject.js';

/** Of a caller: its budget, and how much longer it waits for the answer that the budget is used up. */
export const BUDGET_MS = 5000;
const GRACE_MS = 500;
/** The same as a host's own (adapters/nats-bus): the first attempt after a lost connection. */
export const RECONNECT_MS = 250;

export interface Caller {
  ask(question: Question): Promise<Outcome>;
  status(): Promise<StatusDocument>;
  /** Wall times of every reconnect. */
  readonly reconnectsMs: readonly number[];
  close(): Promise<void>;
}

export async function openCaller(url: string, actor: string): Promise<Caller> {
  const nats = await connect({ servers: url, reconnectTimeWait: RECONNECT_MS, reconnectJitter: 0, maxReconnectAttempts: -1 });
  const reconnectsMs: number[] = [];
  void (async () => {
    for await (const { type } of nats.status()) if (type === 'reconnect') reconnectsMs.push(nowMs());
  })();
  return {
    reconnectsMs,
    ask: (question) => ask(nats, actor, question),
    status: async () => (await nats.request('regrow.status', '', { timeout: 1000 })).json<StatusDocument>(),
    close: () => nats.close(),
  };
}

async function ask(nats: NatsConnection, actor: string, question: Question): Promise<Outcome> {
  const fields = headers();
  fields.set('Inference-Header-Content-Length', question.jsonLength);
  fields.set('Timeout-Ms', String(BUDGET_MS));
  try {
    const { headers: told, data } = await nats.request(`regrow.infer.${actor}`, question.body, { timeout: BUDGET_MS + GRACE_MS, headers: fields });
    const number = told?.get('Nats-Service-Error-Code');
    if (number) return Object.entries(errorCodes).find(([, facts]) => String(facts.number) === number)?.[0] ?? number;
    const length = told?.get('Inference-Header-Content-Length');
    const wrong = wrongness(question, decodeResponse(data, length ? Number(length) : undefined).outputs);
    return wrong === undefined ? 'ok' : `wrong: ${wrong}`;
  } catch (error) {
    const { name, message } = error as Error;
    if (/no responders/i.test(message) || name === 'NoRespondersError') return 'NO_RESPONDERS';
    if (name === 'TimeoutError' || /timeout/i.test(message)) return 'SILENCE';
    return 'DISCONNECTED';
  }
}
