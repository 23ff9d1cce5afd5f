/** A client over NATS. */
import { createNatsBus, type NatsBus, type NatsOptions } from '../adapters/nats-bus.js';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock, systemRandom } from '../adapters/system-clock.js';
import { Client, type ClientOptions } from '../client/client.js';
import { ServeError } from '../errors.js';
import type { Log } from '../ports.js';
import { subjects } from '../protocol/subjects.js';

export interface ConnectOptions extends NatsOptions, ClientOptions {
  /** One server or several, as a list or joined by commas; the client finds the others of their cluster by itself. */
  readonly servers: string | readonly string[];
  /** First tokens of every subject. Default `regrow`. */
  readonly prefix?: string;
  /** How long the first connect may take, in ms. Later ones are retried for ever. Default 5000. */
  readonly connectTimeoutMs?: number;
  readonly log?: Log;
}

const CONNECT_TIMEOUT_MS = 5000;

/**
 * From then on the client reconnects for ever.
 * Rejects with a ServeError UNAVAILABLE when no server answers in time, INVALID_ARGUMENT for an option that cannot be.
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { prefix, connectTimeoutMs = CONNECT_TIMEOUT_MS, log = silentLog, attemptsMax, servers, ...nats } = options;
  const names = subjects(prefix);
  const list = typeof servers === 'string' ? servers.split(',').map((server) => server.trim()) : servers;
  const bus = createNatsBus({ ...nats, servers: list }, { clock: systemClock, log });
  try {
    const client = new Client({ bus, subjects: names, clock: systemClock, random: systemRandom }, attemptsMax === undefined ? {} : { attemptsMax });
    await untilUp(bus, connectTimeoutMs);
    return client;
  } catch (error) {
    await bus.close();
    throw error;
  }
}

function untilUp(bus: NatsBus, timeoutMs: number): Promise<void> {
  if (bus.state === 'up') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const fail = (): void => {
      stop();
      systemClock.clearTimeout(timer);
      reject(new ServeError('UNAVAILABLE', `could not connect to NATS within ${timeoutMs} ms: ${bus.detail}`));
    };
    const timer = systemClock.setTimeout(fail, timeoutMs);
    const stop = bus.onState((state) => {
      if (state === 'closed') return fail();
      if (state !== 'up') return;
      stop();
      systemClock.clearTimeout(timer);
      resolve();
    });
  });
}
