/**
 * The desired state of a cluster as the command reads and writes it: the store, the objects beside it, and what their
 * failures mean for whoever typed the command.
 */
import { createNatsObjects } from '../adapters/nats-objects.js';
import { createNatsStore } from '../adapters/nats-store.js';
import { silentLog } from '../adapters/pino-log.js';
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { BusError, StoreError, type Bus, type Objects, type Store } from '../ports.js';
import { actorOfKey, decodeDesired, DESIRED_PREFIX, type DecodedDesired } from '../protocol/desired.js';
import { NothingThere, OrderRefused } from './exit.js';
import { OPERATOR_CURE } from './orders.js';
import { connectedBus } from './remote.js';

/** Of one exchange; a bucket between two leaders is silent for up to 8 s. */
export const STORE_CALL = { timeoutMs: 10_000 } as const;
const JETSTREAM_CURE = 'The cluster keeps its desired state and models in JetStream: jetstream { store_dir: … } in the server\'s configuration, and jetstream: enabled in the account, as in this project\'s nats.conf';

/** What lies under one key. */
export interface StoredActor {
  /** Of the key in the store, for compare-and-set. */
  readonly at: number;
  readonly found: DecodedDesired;
}

export interface DesiredStore extends AsyncDisposable {
  readonly store: Store;
  readonly objects: Objects;
  /** By name of the actor, removed ones included. */
  read(): Promise<Map<string, StoredActor>>;
}

/** @throws NothingThere, OrderRefused */
export async function openDesired(values: CliValues): Promise<DesiredStore> {
  const { bus } = await connectedBus(values);
  try {
    await assertJetStream(bus);
    const options = values.prefix === undefined ? {} : { prefix: values.prefix };
    const store = createNatsStore(bus, options, { clock: systemClock, log: silentLog });
    await untilReady(store);
    return {
      store,
      objects: createNatsObjects(bus, options, systemClock),
      read: async () => {
        const { entries } = await store.list(DESIRED_PREFIX, STORE_CALL).catch(refuse);
        return new Map(entries.flatMap(({ key, value, revision }) => {
          const name = actorOfKey(key);
          return name === undefined ? [] : [[name, { at: revision, found: decodeDesired(name, value) }] as const];
        }));
      },
      async [Symbol.asyncDispose]() {
        await store.close();
        await bus.close();
      },
    };
  } catch (error) {
    await bus.close();
    throw error;
  }
}

/** For `.catch`: what a failure of the store means. */
export function refuse(error: unknown): never {
  if (!(error instanceof StoreError)) throw error;
  if (error.cause instanceof BusError && error.cause.code === 'PERMISSION') throw notAllowed(error.cause);
  if (error.code === 'UNKNOWN') throw new NothingThere(`the store did not answer in time: ${error.message}\nSome of it may have happened; doing it again is harmless`);
  if (error.code === 'EXISTS' || error.code === 'CONFLICT') throw new OrderRefused(`somebody else is changing the same: ${error.message}`);
  throw new NothingThere(error.message);
}

const notAllowed = (error: Error): OrderRefused => new OrderRefused(`${error.message}: the desired state needs an operator's credentials.\n${OPERATOR_CURE}`);

/** Asked for by name, because a store that is merely `absent` does not say which cure helps. */
async function assertJetStream(bus: Bus): Promise<void> {
  const answer = await bus.request('$JS.API.INFO', new Uint8Array(), STORE_CALL).catch((error: Error) => {
    if (!(error instanceof BusError)) throw error;
    if (error.code === 'PERMISSION') throw notAllowed(error);
    throw new NothingThere(error.code === 'NO_RESPONDERS' ? `this NATS has no JetStream.\n${JETSTREAM_CURE}` : `JetStream does not answer: ${error.message}`);
  });
  const { error } = JSON.parse(new TextDecoder().decode(answer.data)) as { error?: { description: string } };
  if (error) throw new NothingThere(`no JetStream: ${error.description}.\n${JETSTREAM_CURE}`);
}

function untilReady(store: Store): Promise<void> {
  if (store.state === 'ready') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const over = (result: () => void): void => {
      stop();
      systemClock.clearTimeout(timer);
      result();
    };
    const timer = systemClock.setTimeout(() => over(() => reject(new NothingThere(`the store does not open: ${store.detail}`))), STORE_CALL.timeoutMs);
    const stop = store.onState((state, detail) => {
      if (state === 'ready') over(resolve);
      else if (state === 'absent' || state === 'closed') over(() => reject(new NothingThere(`no store: ${detail}`)));
    });
  });
}
