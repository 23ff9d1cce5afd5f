/**
 * What all actors of one host share on the data path: bytes waiting, the replay budget, deaths that come in crowds,
 * and the quarantine.
 */
import { MASS_DEATH_MS } from '../policy/replay.js';
import { ReplayMeter } from '../policy/replay-meter.js';
import { confirmPoison, emptyQuarantine, isEmpty, isQuarantined, release, remaining, type Quarantine } from '../policy/quarantine.js';
import type { Clock } from '../ports.js';
import type { HashChunks } from '../tensor/digest.js';

export interface SharedServingOptions {
  readonly clock: Clock;
  readonly queueBytesMax: number;
  readonly holdMs: number;
  /** For fingerprints of poison: nobody may be able to forge an equal one for an innocent request. */
  readonly hash: HashChunks;
  /** Whether another host has a ready replica: then nobody is held here until one is back. */
  readonly readyElsewhere?: ((actor: string) => boolean) | undefined;
}

interface Death {
  readonly atMs: number;
  readonly runs: readonly object[];
  readonly onTrial: boolean;
}

const isRecent = ({ atMs }: Death, nowMs: number): boolean => nowMs - atMs <= MASS_DEATH_MS;

export class SharedServing {
  readonly clock: Clock;
  readonly queueBytesMax: number;
  readonly holdMs: number;
  readonly hash: HashChunks;
  readonly readyElsewhere: (actor: string) => boolean;
  /** Bytes of waiting requests over all actors. */
  queueBytes = 0;
  #runId = 0;
  readonly #replays: ReplayMeter;
  /** Of the last MASS_DEATH_MS. */
  #deaths: Death[] = [];
  readonly #absolve = new Set<() => void>();
  #quarantine: Quarantine = emptyQuarantine;

  constructor(options: SharedServingOptions) {
    this.clock = options.clock;
    this.queueBytesMax = options.queueBytesMax;
    this.holdMs = options.holdMs;
    this.hash = options.hash;
    this.readyElsewhere = options.readyElsewhere ?? (() => false);
    this.#replays = new ReplayMeter(options.clock.now());
  }

  /** Ascending over the whole host, so also on each lane. */
  nextRunId(): number {
    return ++this.#runId;
  }

  countRequest(nowMs: number): void {
    this.#replays.count(nowMs);
  }

  /** Takes one replay out of the host's budget, if there is one left. */
  takeReplay(nowMs: number): boolean {
    return this.#replays.take(nowMs);
  }

  /** Called back when lanes die in a crowd: what ran on them is no longer suspect. */
  onMassDeath(absolve: () => void): void {
    this.#absolve.add(absolve);
  }

  /** For an actor that is taken out. */
  offMassDeath(absolve: () => void): void {
    this.#absolve.delete(absolve);
  }

  /**
   * A lane died by itself. @returns true when another one did within the last 100 ms, so no request is to blame.
   * Deaths that one request was part of make no crowd: a poison's solo run may well end 80 ms after its first one did.
   * @param runs what was on the lane, by identity; @param onTrial a suspect ran alone, and its end explains itself: it
   * absolves nobody else
   */
  laneDied(nowMs: number, runs: readonly object[], onTrial: boolean): boolean {
    this.#deaths = this.#deaths.filter((death) => isRecent(death, nowMs));
    const others = this.#deaths.filter((death) => !death.runs.some((request) => runs.includes(request)));
    this.#deaths.push({ atMs: nowMs, runs, onTrial });
    if (onTrial) return others.length > 0;
    const crowd = others.some((death) => !death.onTrial);
    if (crowd) for (const absolve of this.#absolve) absolve();
    return crowd;
  }

  /** No lane died so recently that the end of one under this request would be one of a crowd. */
  isQuietFor(request: object, nowMs: number): boolean {
    return !this.#deaths.some((death) => isRecent(death, nowMs) && !death.runs.includes(request));
  }

  /** @param fingerprint computed only when something is quarantined at all */
  isQuarantined(fingerprint: () => string, nowMs: number): boolean {
    return !isEmpty(this.#quarantine, nowMs) && isQuarantined(this.#quarantine, fingerprint(), nowMs);
  }

  quarantine(fingerprint: string, nowMs: number, quarantineMs: number): void {
    this.#quarantine = confirmPoison(this.#quarantine, fingerprint, nowMs, quarantineMs);
  }

  /** @returns whether it was there */
  release(fingerprint: string): boolean {
    const before = this.#quarantine;
    this.#quarantine = release(before, fingerprint);
    return this.#quarantine !== before;
  }

  /** What outlives this process; `quarantine` of each entry puts it back. */
  quarantined(): { readonly fingerprint: string; readonly leftMs: number }[] {
    return remaining(this.#quarantine, this.clock.now());
  }
}
