/**
 * The cluster as this host sees it: its own status, those of the others as they give them when asked, and for who does
 * not answer what it said last, with this host's judgement of it.
 */
import type { Bus } from '../ports.js';
import type { HostStatus, Liveness } from '../protocol/status.js';
import type { Subjects } from '../protocol/subjects.js';

export interface Known {
  readonly host: string;
  readonly incarnation: string;
  readonly liveness: Liveness;
  readonly reason: string;
}

/** For a host to answer; a reader of the status waits no longer for the slowest. */
const ANSWER_MS = 400;

export class RollCall {
  /** What each said last. */
  readonly #last = new Map<string, HostStatus>();

  constructor(private readonly bus: Bus, private readonly subjects: Subjects) {}

  /** Never rejects. Hosts in order of their ids. */
  async hosts(own: HostStatus, others: readonly Known[]): Promise<HostStatus[]> {
    for (const host of [...this.#last.keys()]) if (!others.some((known) => known.host === host)) this.#last.delete(host);
    const answers = await Promise.all(others.map((known) => this.#ask(known)));
    return [own, ...answers].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async #ask({ host, incarnation, liveness, reason }: Known): Promise<HostStatus> {
    const answer = liveness === 'dead' ? undefined : await this.#statusOf(host);
    if (answer) this.#last.set(host, answer);
    const last = answer ?? this.#last.get(host);
    const nobody: HostStatus = { id: host, incarnation, version: '', liveness, reason, uptimeMs: 0, devices: [], actors: [] };
    if (!last || last.incarnation !== incarnation) return nobody;
    // Of a host that is gone nothing is ready, whatever it said when it still was.
    if (liveness === 'dead') return { ...last, liveness, reason, actors: last.actors.map((actor) => ({ ...actor, ready: 0, state: 'down', reason: `host ${host} is dead`, replicas: [] })) };
    return { ...last, liveness, reason: liveness === 'alive' ? last.reason : reason };
  }

  async #statusOf(host: string): Promise<HostStatus | undefined> {
    try {
      const { data } = await this.bus.request(this.subjects.statusOf(host), new Uint8Array(), { timeoutMs: ANSWER_MS });
      return JSON.parse(new TextDecoder().decode(data)) as HostStatus;
    } catch {
      return undefined; // it is slow, gone, or says what nobody can read: the caller shows what it said last
    }
  }
}
