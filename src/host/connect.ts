/** A client over NATS. */
import { createNatsBus, type NatsBus, type NatsOptions } from '../adapters/nats-bus.js';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock, systemRandom } from '../adapters/system-clock.js';
import { Client } from '../client/client.js';
import { ServeError } from '../errors.js';
import type { Log } from '../ports.js';
import { subjects } from '../protocol/subjects.js';

export interface ConnectOptions extends NatsOptions {
  /** First tokens of every subject. Default `regrow`. */
  readonly prefix?: string;
  /** How long the first connect may take, in ms. Later ones are retried for ever. Default 5000. */
  readonly connectTimeoutMs?: number;
  readonly log?: Log;
}

const CONNECT_TIMEOUT_MS = 5000;

/** Rejects with a ServeError UNAVAILABLE when no server answers in time. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { prefix, connectTimeoutMs = CONNECT_TIMEOUT_MS, log = silentLog, ...nats } = options;
  const bus = createNatsBus(nats, { clock: systemClock, log });
  await untilUp(bus, connectTimeoutMs);
  return new Client({ bus, subjects: subjects(prefix), clock: systemClock, random: systemRandom });
}

function untilUp(bus: NatsBus, timeoutMs: number): Promise<void> {
  if (bus.state === 'up') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const fail = (): void => {
      stop();
      systemClock.clearTimeout(timer);
      void bus.close();
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
