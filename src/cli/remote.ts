/** How client commands reach a cluster. */
import { createNatsBus, type NatsBus } from '../adapters/nats-bus.js';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { connect } from '../host/connect.js';
import type { Client } from '../client/client.js';
import { subjects } from '../protocol/subjects.js';
import { NothingThere } from './exit.js';

const CONNECT_TIMEOUT_MS = 3000;

const serversOf = (values: CliValues): string[] => (values.nats ?? process.env['NATS_URL'] ?? 'nats://127.0.0.1:4222').split(',');

export async function client(values: CliValues): Promise<Client> {
  const servers = serversOf(values);
  try {
    return await connect({ servers, connectTimeoutMs: CONNECT_TIMEOUT_MS, ...(values.prefix && { prefix: values.prefix }) });
  } catch (error) {
    throw new NothingThere(`${(error as Error).message}\nIs a nats-server running at ${servers.join(', ')}? Another address: --nats URL or NATS_URL`);
  }
}

/** The bus itself, for what follows subjects. It reconnects for ever; the caller closes it. */
export function bus(values: CliValues): { readonly bus: NatsBus; readonly subjects: ReturnType<typeof subjects> } {
  return { bus: createNatsBus({ servers: serversOf(values) }, { clock: systemClock, log: silentLog }), subjects: subjects(values.prefix) };
}
