/**
 * What a singleton's owner wants its successor to know: `context.checkpoint` of modules, kept in the store under the
 * owner's epoch (semantics, 3.8).
 *
 * A save counts only if no later epoch exists after it was written, so whoever owns the actor next finds it. Whoever loads
 * copies what it found into its own epoch first: what an earlier owner writes late is read by nobody. It does not know
 * what the bytes mean, and keeps only the last ones.
 */
import { ServeError, isServeError } from '../errors.js';
import { checkKey, parseStoreKey } from '../policy/lease.js';
import { StoreError, type Store } from '../ports.js';
import { storeValueBytesMax } from '../protocol/store-keys.js';
import type { CheckpointCall, CheckpointReply } from '../protocol/task.js';

export interface CheckpointsOptions {
  /** Undefined: there is none. */
  readonly store: Store | undefined;
  /** Of the actor, while this host owns it. */
  readonly epochOf: (actor: string) => number | undefined;
}

/** Of one exchange with the store. */
const CALL_MS = 3000;
/** Of the same write, when nobody knows whether it arrived. */
const TRIES_MAX = 3;
/** Of one actor, waiting for the save before; each may hold 1 MB. */
const WAITING_MAX = 8;

export class Checkpoints {
  /** One call after the other per actor, so that the last save is the one that stays. */
  readonly #turns = new Map<string, { last: Promise<unknown>; waiting: number }>();

  constructor(private readonly options: CheckpointsOptions) {}

  /** For `LaneHost.checkpoint`. Never rejects. */
  async answer(actor: string, isSingleton: boolean, call: CheckpointCall): Promise<CheckpointReply> {
    try {
      if (!isSingleton) throw new ServeError('UNAVAILABLE', `checkpoints are kept of singletons only, ${actor} is none`);
      const epoch = this.options.epochOf(actor);
      if (this.options.store && epoch === undefined) throw new ServeError('UNAVAILABLE', `this host does not own ${actor}`);
      if (call.op === 'save') {
        await this.save(actor, epoch ?? 0, call.bytes);
        return { ok: true };
      }
      const bytes = await this.load(actor, epoch ?? 0);
      return { ok: true, ...(bytes && { bytes }) };
    } catch (error) {
      if (!isServeError(error)) return { ok: false, code: 'INTERNAL', message: String(error) };
      return { ok: false, code: error.code, message: error.message, ...(error.outcome && { outcome: error.outcome }) };
    }
  }

  /** What was saved last under this epoch or a lower one. Rejects with a ServeError UNAVAILABLE. */
  load(actor: string, epoch: number): Promise<Uint8Array | undefined> {
    return this.#inTurn(actor, async (store) => {
      const { entries } = await store.list(`check.${actor}`, { timeoutMs: CALL_MS });
      const found = entries.flatMap((entry) => {
        const key = parseStoreKey(entry.key);
        return key?.kind === 'check' && key.epoch <= epoch ? [{ epoch: key.epoch, entry }] : [];
      }).sort((a, b) => b.epoch - a.epoch);
      const [newest, ...older] = found;
      if (newest && newest.epoch < epoch) {
        await repeated(() => store.create(checkKey(actor, epoch), newest.entry.value, { timeoutMs: CALL_MS }));
        older.unshift(newest);
      }
      // Only to save room: what stays is passed over by the next one too.
      for (const { entry } of older) await store.forget(entry.key, { timeoutMs: CALL_MS }).catch(() => {});
      return newest?.entry.value;
    });
  }

  /**
   * Rejects with a ServeError: PAYLOAD_TOO_LARGE; UNAVAILABLE, when a later epoch exists (nothing of it counts) or the
   * store does not answer, then with `outcome: 'unknown'` if it may have been written.
   */
  save(actor: string, epoch: number, bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength > storeValueBytesMax) {
      return Promise.reject(new ServeError('PAYLOAD_TOO_LARGE', `the checkpoint of ${actor} has ${bytes.byteLength} bytes, at most ${storeValueBytesMax} are kept`));
    }
    return this.#inTurn(actor, async (store) => {
      await refuseLate(store, actor, epoch);
      await repeated(() => store.put(checkKey(actor, epoch), bytes, { timeoutMs: CALL_MS }));
      try {
        await refuseLate(store, actor, epoch);
      } catch (error) {
        throw error instanceof StoreError ? new StoreError('UNKNOWN', error.message, { cause: error }) : error;
      }
    });
  }

  async #inTurn<T>(actor: string, work: (store: Store) => Promise<T>): Promise<T> {
    const { store } = this.options;
    if (!store) throw new ServeError('UNAVAILABLE', 'checkpoints need a store, this host has none');
    const turn = this.#turns.get(actor) ?? { last: Promise.resolve(), waiting: 0 };
    if (turn.waiting >= WAITING_MAX) throw new ServeError('RESOURCE_EXHAUSTED', `${WAITING_MAX} checkpoint calls of ${actor} wait already`);
    this.#turns.set(actor, turn);
    turn.waiting++;
    const done = turn.last.then(() => work(store));
    turn.last = done.catch(() => {}).finally(() => {
      if (--turn.waiting === 0) this.#turns.delete(actor);
    });
    try {
      return await done;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      throw new ServeError('UNAVAILABLE', `the store: ${error.message}`, { cause: error, ...(error.code === 'UNKNOWN' && { outcome: 'unknown' as const }) });
    }
  }
}

async function refuseLate(store: Store, actor: string, epoch: number): Promise<void> {
  const { entries } = await store.list(`own.${actor}`, { timeoutMs: CALL_MS });
  for (const { key } of entries) {
    const found = parseStoreKey(key);
    if (found?.kind === 'own' && found.epoch > epoch) throw new ServeError('UNAVAILABLE', `${actor} has epoch ${found.epoch} by now, a checkpoint of epoch ${epoch} no longer counts`);
  }
}

/** The very same write again while nobody knows whether it happened. A create that is there was made by an earlier try. */
async function repeated(write: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return void (await write());
    } catch (error) {
      const { code } = error as StoreError;
      if (code === 'EXISTS') return;
      if (code !== 'UNKNOWN' || tries === TRIES_MAX) throw error;
    }
  }
}
