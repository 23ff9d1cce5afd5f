/** When a host's boot has settled: every actor was proven once, failed with a reason, or runs on other hosts. */
import type { SupervisorReport } from '../supervision/reports.js';

export class Boot {
  readonly settled: Promise<void>;
  readonly #open: Set<string>;
  readonly #failed = new Map<string, string>();
  #elsewhere = 0;
  readonly #total: number;
  #resolve!: () => void;

  constructor(actors: readonly string[]) {
    this.#open = new Set(actors);
    this.#total = actors.length;
    this.settled = new Promise((resolve) => (this.#resolve = resolve));
    if (actors.length === 0) this.#resolve();
  }

  poolReported(actor: string, report: SupervisorReport): void {
    if (!this.#open.has(actor)) return;
    if (report.type === 'child-exit') this.actorFailed(actor, `${report.reason}: ${report.detail}`);
    else if (report.type === 'child-ready') this.#close(actor);
  }

  /** It has nothing to run on, or what it ran on failed. */
  actorFailed(actor: string, why: string): void {
    if (!this.#open.has(actor)) return;
    this.#failed.set(actor, why);
    this.#close(actor);
  }

  /** Other hosts run it. */
  elsewhere(actor: string): void {
    if (!this.#open.has(actor)) return;
    this.#elsewhere++;
    this.#close(actor);
  }

  #close(actor: string): void {
    this.#open.delete(actor);
    if (this.#open.size === 0) this.#resolve();
  }

  /** For people. */
  summary(): string {
    const proven = this.#total - this.#failed.size - this.#elsewhere;
    const elsewhere = this.#elsewhere > 0 ? `, ${this.#elsewhere} on other hosts` : '';
    if (this.#failed.size === 0) return `${proven} actor${proven === 1 ? '' : 's'} proven${elsewhere}`;
    return `${proven} of ${this.#total} actors proven${elsewhere}; ${[...this.#failed].map(([actor, why]) => `${actor} failed (${why})`).join(', ')}`;
  }
}
