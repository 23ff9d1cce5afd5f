/**
 * Orders to a host: who is meant, the request on `<prefix>.control.<host>.<verb>`, and what a refusal means for whoever
 * typed the command. While an order is under way the host's own events are shown on stderr.
 */
import type { NatsBus } from '../adapters/nats-bus.js';
import type { CliValues } from '../cli.js';
import { ServeError } from '../errors.js';
import { readErrorHeaders } from '../protocol/headers.js';
import { microSubjects } from '../protocol/micro.js';
import type { RegrowEvent } from '../protocol/events.js';
import type { HostStatus } from '../protocol/status.js';
import type { Subjects } from '../protocol/subjects.js';
import { eventLine } from './events.js';
import { NothingThere, OrderRefused, UsageError } from './exit.js';
import { connectedBus } from './remote.js';

/** A roll-out loads every replica anew. nats.conf lets a host answer within 5 minutes. */
const ORDER_TIMEOUT_MS = 290_000;
/** How long hosts may take to answer who they are. */
const ROLL_CALL_MS = 400;
const STATUS_TIMEOUT_MS = 1000;

/** For whoever was refused. */
export const OPERATOR_CURE = "With this project's nats.conf: --user operator --pass-file .regrow/nats-operator.pass --inbox-prefix _INBOX_operator";

export interface Orders extends AsyncDisposable {
  readonly host: string;
  /** Rejects with the host's ServeError, with OrderRefused, or with NothingThere. */
  give(verb: string, request?: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
  /** The host's own status; undefined when it does not answer. */
  status(): Promise<HostStatus | undefined>;
}

/** @param wanted host id; by default the only host there is */
export async function openOrders(values: CliValues, wanted = values.host): Promise<Orders> {
  const timeoutMs = Number(values['timeout-ms'] ?? ORDER_TIMEOUT_MS);
  if (!(timeoutMs > 0)) throw new UsageError(`--timeout-ms ${values['timeout-ms']} is no number of milliseconds`);
  const { bus, subjects } = await connectedBus(values);
  try {
    const host = wanted ?? (await onlyHost(bus));
    const status = (): Promise<HostStatus | undefined> => bus.request(subjects.statusOf(host), new Uint8Array(), { timeoutMs: STATUS_TIMEOUT_MS }).then(({ data }) => parsed(data) as unknown as HostStatus, () => undefined);
    bus.subscribe(`${subjects.events(host, 'x').slice(0, -1)}*`, ({ data }) => process.stderr.write(`${eventLine(parsed(data) as unknown as RegrowEvent)}\n`));
    return {
      host,
      status,
      give: (verb, request = {}) => give(bus, subjects, host, verb, request, timeoutMs, status),
      [Symbol.asyncDispose]: () => bus.close(),
    };
  } catch (error) {
    await bus.close();
    throw error instanceof TypeError ? new UsageError(error.message) : error; // a name that is no token
  }
}

async function give(bus: NatsBus, subjects: Subjects, host: string, verb: string, request: object, timeoutMs: number, status: Orders['status']): Promise<Record<string, unknown>> {
  const subject = subjects.control(host, verb);
  const answer = await bus.request(subject, new TextEncoder().encode(JSON.stringify(request)), { timeoutMs }).catch(async (error: Error & { code?: string }) => {
    switch (error.code) {
      case 'PERMISSION':
        throw new OrderRefused(`${error.message}: orders need an operator's credentials.\n${OPERATOR_CURE}`);
      case 'NO_RESPONDERS':
        if (!(await status())) throw new NothingThere(`no host "${host}" answers; see regrow status`);
        throw new OrderRefused(`host "${host}" takes no orders: it does so only on an authenticated connection.\nGive it credentials in its host file (nats.user and nats.passFile, or nats.credsFile) and start it again`);
      case 'TIMEOUT':
        throw new OrderRefused(`host "${host}" did not answer ${verb} within ${timeoutMs} ms; it may still be at it: see regrow status, or give it longer with --timeout-ms`);
      default:
        throw new NothingThere(`the order may or may not have arrived: ${error.message}`);
    }
  });
  const refusal = readErrorHeaders(answer.headers, answer.data);
  if (refusal) throw refusal;
  return parsed(answer.data);
}

/** Every host answers its micro ping, whatever it knows of the others. */
async function onlyHost(bus: NatsBus): Promise<string> {
  const ids = new Set<string>();
  const answers = await bus.connection!.requestMany(microSubjects('PING', 'any')[1]!, undefined, { strategy: 'timer', maxWait: ROLL_CALL_MS });
  try {
    for await (const answer of answers) ids.add(String(answer.json<{ id: string }>().id));
  } catch {
    // Nobody there ends the roll call with an error.
  }
  const [first, ...others] = [...ids].sort();
  if (first === undefined) throw new NothingThere('no host answers on this NATS; is one running (regrow status)? If there is, --host ID names it');
  if (others.length > 0) throw new UsageError(`there are several hosts, --host ID says which: ${[first, ...others].join(', ')}`);
  return first;
}

function parsed(data: Uint8Array): Record<string, unknown> {
  try {
    return JSON.parse(new TextDecoder().decode(data)) as Record<string, unknown>;
  } catch (cause) {
    throw new ServeError('INTERNAL', 'the host answered what is no JSON', { cause });
  }
}
