/** How client commands reach a cluster. */
import { connectNats, type NatsBus, type NatsOptions } from '../adapters/nats-bus.js';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { connect } from '../host/connect.js';
import type { Client } from '../client/client.js';
import { subjects } from '../protocol/subjects.js';
import { NothingThere, UsageError } from './exit.js';

const CONNECT_TIMEOUT_MS = 3000;

/**
 * Where and as whom. Nobody by default: infer and status need no credentials, orders to hosts need an operator's.
 * @throws UsageError for half a login
 */
function natsOf(values: CliValues): NatsOptions & { readonly servers: string[] } {
  const { user, creds: credsFile, 'pass-file': passFile, 'inbox-prefix': inboxPrefix } = values;
  if ((user === undefined) !== (passFile === undefined)) throw new UsageError('--user and --pass-file go together');
  return {
    servers: (values.nats ?? process.env['NATS_URL'] ?? 'nats://127.0.0.1:4222').split(','),
    ...(user !== undefined && { user, passFile }),
    ...(credsFile !== undefined && { credsFile }),
    ...(inboxPrefix !== undefined && { inboxPrefix }),
  };
}

export async function client(values: CliValues): Promise<Client> {
  const nats = natsOf(values);
  try {
    return await connect({ ...nats, connectTimeoutMs: CONNECT_TIMEOUT_MS, ...(values.prefix && { prefix: values.prefix }) });
  } catch (error) {
    throw nothingAt(nats.servers, error);
  }
}

/** The bus itself, connected once, for what follows subjects. From then on it reconnects for ever; the caller closes it. */
export async function connectedBus(values: CliValues): Promise<{ readonly bus: NatsBus; readonly subjects: ReturnType<typeof subjects> }> {
  const nats = natsOf(values);
  try {
    const bus = await connectNats(nats, { clock: systemClock, log: silentLog }, CONNECT_TIMEOUT_MS);
    return { bus, subjects: subjects(values.prefix) };
  } catch (error) {
    throw nothingAt(nats.servers, error);
  }
}

/** @throws NothingThere when the broker is there and nobody behind it */
export async function anyHost(connection: Client): Promise<void> {
  await connection.status().catch((error: Error) => {
    throw new NothingThere(error.message);
  });
}

function nothingAt(servers: readonly string[], error: unknown): NothingThere {
  return new NothingThere(`${(error as Error).message}\nIs a nats-server running at ${servers.join(', ')}? Another address: --nats URL or NATS_URL`);
}
