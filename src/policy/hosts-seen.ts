/**
 * What one client knows of the hosts that serve an actor, and where its next attempt goes.
 *
 * The queue group is the first choice: NATS spreads the load and knows who subscribes. But a frozen host stays in its
 * group, and every n-th request would wait for it; so while somebody is under suspicion, requests go directly to hosts
 * that were heard since. A suspicion lasts 5 s, doubling to 30 s, and ends with any sign of life; when it runs out a ping
 * decides, not a caller's request. Changed in place, because this is on the path of every request.
 * Deliberately not a membership: who is never asked is never judged.
 */

const SUSPECT_MIN_MS = 5000;
const SUSPECT_MAX_MS = 30_000;
/** More hosts than this for one actor, or names of actors, are somebody's mistake; the oldest gives way. */
const ENTRIES_MAX = 256;

interface Seen {
  heardMs: number;
  /** Silences in a row; 0 = trusted. */
  strikes: number;
  untilMs: number;
}

interface Doubt {
  strikes: number;
  sinceMs: number;
  untilMs: number;
}

export class HostsSeen {
  readonly #hosts = new Map<string, Seen>();
  readonly #actors = new Map<string, Set<string>>();
  /** Actors whose queue group swallowed a request. */
  readonly #doubts = new Map<string, Doubt>();

  /** An answer, an error or a pong: the host lives. */
  heard(host: string, nowMs: number): void {
    const seen = this.#hosts.get(host);
    if (!seen) return bounded(this.#hosts, host, { heardMs: nowMs, strikes: 0, untilMs: 0 });
    seen.heardMs = nowMs;
    seen.strikes = 0;
  }

  /** The host has replicas of the actor: an answer or a status said so. Says nothing of its health. */
  serves(host: string, actor: string): void {
    let hosts = this.#actors.get(actor);
    if (!hosts) bounded(this.#actors, actor, (hosts = new Set()));
    if (hosts.has(host)) return;
    if (hosts.size >= ENTRIES_MAX) hosts.delete(hosts.values().next().value!);
    hosts.add(host);
    if (!this.#hosts.has(host)) bounded(this.#hosts, host, { heardMs: -Infinity, strikes: 0, untilMs: 0 });
  }

  /** It let a request or a ping wait in vain. Many requests wait for the same silence; that is one strike. */
  silent(host: string, nowMs: number): void {
    const seen = this.#hosts.get(host);
    if (!seen || (seen.strikes > 0 && nowMs < seen.untilMs)) return;
    seen.strikes++;
    seen.untilMs = nowMs + suspicionMs(seen.strikes);
  }

  /** Its time as a suspect is over and nobody can say more. */
  lapse(host: string, nowMs: number): void {
    const seen = this.#hosts.get(host);
    if (seen && nowMs >= seen.untilMs) seen.strikes = 0;
  }

  /** Nobody subscribes to its subject: it is gone, or has nothing ready. */
  gone(host: string, actor: string): void {
    this.#actors.get(actor)?.delete(host);
  }

  /** Nobody at all answers under its name. */
  dead(host: string): void {
    this.#hosts.delete(host);
    for (const hosts of this.#actors.values()) hosts.delete(host);
  }

  /** A request to the queue group was silent, and nobody knows which member has it. */
  doubtGroup(actor: string, nowMs: number): void {
    const doubt = this.#doubts.get(actor);
    if (doubt && nowMs < doubt.untilMs) return;
    const strikes = (doubt?.strikes ?? 0) + 1;
    bounded(this.#doubts, actor, { strikes, sinceMs: nowMs, untilMs: nowMs + suspicionMs(strikes) });
  }

  /** All members were heard after all, or the silent one was found. */
  trustGroup(actor: string): void {
    this.#doubts.delete(actor);
  }

  hostsOf(actor: string): readonly string[] {
    return [...(this.#actors.get(actor) ?? [])];
  }

  isSuspect(host: string): boolean {
    return (this.#hosts.get(host)?.strikes ?? 0) > 0;
  }

  /** Suspects whose time is over: a ping shall say what they are now. */
  dueForPing(actor: string, nowMs: number): readonly string[] {
    return this.hostsOf(actor).filter((host) => this.isSuspect(host) && nowMs >= this.#hosts.get(host)!.untilMs);
  }

  /** No member of the actor's queue group is known to swallow requests. */
  groupIsGood(actor: string, nowMs: number): boolean {
    const doubt = this.#doubts.get(actor);
    if (doubt && nowMs < doubt.untilMs) return false;
    for (const host of this.#actors.get(actor) ?? []) if (this.isSuspect(host)) return false;
    return true;
  }

  /**
   * Where a first attempt goes: undefined = the queue group.
   * @param chance uniform in [0, 1)
   */
  first(actor: string, nowMs: number, chance: number): string | undefined {
    return this.groupIsGood(actor, nowMs) ? undefined : this.another(actor, [], chance);
  }

  /** A known host that is not suspect, none of `avoided`; those heard since the actor's group became doubtful come first. */
  another(actor: string, avoided: Iterable<string>, chance: number): string | undefined {
    const not = new Set(avoided);
    const good = this.hostsOf(actor).filter((host) => !not.has(host) && !this.isSuspect(host));
    const sinceMs = this.#doubts.get(actor)?.sinceMs ?? -Infinity;
    const heard = good.filter((host) => (this.#hosts.get(host)?.heardMs ?? -Infinity) >= sinceMs);
    const best = heard.length > 0 ? heard : good;
    return best[Math.floor(chance * best.length)];
  }
}

const suspicionMs = (strikes: number): number => Math.min(SUSPECT_MAX_MS, SUSPECT_MIN_MS * 2 ** (strikes - 1));

function bounded<K, V>(map: Map<K, V>, key: K, value: V): void {
  if (!map.has(key) && map.size >= ENTRIES_MAX) map.delete(map.keys().next().value!);
  map.set(key, value);
}
