/**
 * A poison request is refused by every host: what one confirmed is written to the store (`quarantine.<fingerprint>`), as a
 * lost event would be a missed quarantine, and what the others wrote is taken over. The watch makes it quick, a full
 * reading every `resyncMs` and after each outage makes it true.
 *
 * The time left travels, not a time of day, and counts from when a host first heard of it; it outlives hosts, so a reader
 * that cannot tell an entry's age refuses for a while longer than it had to. An entry goes when the host that wrote it
 * lifts it, or when a host that has known it for its whole time finds it over.
 */
import type { Clock, Log, Store, StoreChange, TimerHandle } from '../ports.js';
import { parseRecord } from '../protocol/beat.js';

export interface SharedQuarantineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly resyncMs: number;
  /** From another host, for that long from now on. */
  readonly quarantine: (fingerprint: string, leftMs: number) => void;
  readonly release: (fingerprint: string) => void;
}

const PREFIX = 'quarantine';
const CALL_MS = 5000;
const LEFT_MAX_MS = 7 * 24 * 3_600_000;
const FINGERPRINT_MAX = 512;

export class SharedQuarantine {
  /** Until when each holds, by the own clock. */
  readonly #untilMs = new Map<string, number>();
  readonly #unwatch: () => void;
  readonly #unlisten: () => void;
  #timer: TimerHandle | undefined;
  #reading = false;
  #closed = false;
  /** Written here, not yet acknowledged. */
  readonly #owed = new Map<string, 'confirm' | 'lift'>();

  constructor(private readonly options: SharedQuarantineOptions) {
    const { store } = options;
    this.#unwatch = store.watch(PREFIX, (change) => this.#heard(change));
    this.#unlisten = store.onState((state) => {
      if (state === 'ready') void this.#resync();
    });
    void this.#resync();
  }

  /** This host confirmed it. */
  confirmed(fingerprint: string, quarantineMs: number): void {
    this.#untilMs.set(fingerprint, this.options.clock.now() + quarantineMs);
    this.#owed.set(fingerprint, 'confirm');
    void this.#pay();
  }

  /** An operator lifted it here. */
  lifted(fingerprint: string): void {
    this.#untilMs.delete(fingerprint);
    this.#owed.set(fingerprint, 'lift');
    void this.#pay();
  }

  close(): void {
    this.#closed = true;
    this.options.clock.clearTimeout(this.#timer);
    this.#unwatch();
    this.#unlisten();
  }

  async #pay(): Promise<void> {
    const { store, clock, log } = this.options;
    for (const [fingerprint, what] of [...this.#owed]) {
      const leftMs = (this.#untilMs.get(fingerprint) ?? 0) - clock.now();
      try {
        if (what === 'confirm' && leftMs > 0) await store.put(keyOf(fingerprint), encoder.encode(JSON.stringify({ fingerprint, leftMs: Math.ceil(leftMs) })), { timeoutMs: CALL_MS });
        if (what === 'lift') await store.delete(keyOf(fingerprint), { timeoutMs: CALL_MS });
        if (this.#owed.get(fingerprint) === what) this.#owed.delete(fingerprint);
      } catch (error) {
        log.log('debug', 'quarantine-not-shared', { fingerprint, error: String(error) }); // the next reading tries again
      }
    }
  }

  async #resync(): Promise<void> {
    const { store, clock, resyncMs } = this.options;
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    clock.clearTimeout(this.#timer);
    try {
      const { entries } = await store.list(PREFIX, { timeoutMs: CALL_MS });
      for (const entry of entries) this.#heard({ ...entry, deleted: false });
      this.#forget(new Set(entries.map(({ key }) => key)));
      await this.#pay();
    } catch {
      // The store is away: what is known holds, and the next reading comes.
    } finally {
      this.#reading = false;
      if (!this.#closed) this.#timer = clock.setTimeout(() => void this.#resync(), resyncMs);
    }
  }

  #heard(change: StoreChange): void {
    if (this.#closed) return;
    if (change.deleted) return this.#lifted(change.key);
    const entry = entryOf(change.value);
    if (!entry || keyOf(entry.fingerprint) !== change.key || this.#owed.has(entry.fingerprint) || this.#untilMs.has(entry.fingerprint)) return;
    this.#untilMs.set(entry.fingerprint, this.options.clock.now() + entry.leftMs);
    this.options.quarantine(entry.fingerprint, entry.leftMs);
  }

  #lifted(key: string): void {
    const fingerprint = [...this.#untilMs.keys()].find((known) => keyOf(known) === key);
    if (fingerprint === undefined || this.#owed.has(fingerprint)) return;
    this.#untilMs.delete(fingerprint);
    this.options.release(fingerprint);
  }

  /** Known here for its whole time, and over. */
  #forget(there: ReadonlySet<string>): void {
    const nowMs = this.options.clock.now();
    for (const [fingerprint, untilMs] of this.#untilMs) {
      if (untilMs > nowMs) continue;
      const key = keyOf(fingerprint);
      if (there.has(key)) this.options.store.forget(key, { timeoutMs: CALL_MS }).catch(() => {}); // the next host that knows it is over will
      else this.#untilMs.delete(fingerprint);
    }
  }
}

const encoder = new TextEncoder();

/** A fingerprint has names and versions in it, which may hold what no key may. */
function keyOf(fingerprint: string): string {
  let hex = '';
  for (const byte of encoder.encode(fingerprint)) hex += byte.toString(16).padStart(2, '0');
  return `${PREFIX}.${hex}`;
}

function entryOf(value: Uint8Array): { readonly fingerprint: string; readonly leftMs: number } | undefined {
  const { fingerprint, leftMs } = parseRecord(value) ?? {};
  if (typeof fingerprint !== 'string' || fingerprint.length > FINGERPRINT_MAX || typeof leftMs !== 'number' || !(leftMs > 0)) return undefined;
  return { fingerprint, leftMs: Math.min(leftMs, LEFT_MAX_MS) };
}
