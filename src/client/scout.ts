/**
 * Looks around for a client: which hosts have an actor and of what kind it is (status), and which hosts live (a ping of
 * NATS micro, which costs no execution). One question at a time each, shared by all calls that want to know.
 *
 * A silence counts against a host only while this process's own loop was on time.
 */
import { LATE_MS } from '../policy/deadline.js';
import type { HostsSeen } from '../policy/hosts-seen.js';
import type { Bus, BusErrorCode, Clock, Random } from '../ports.js';
import { microSubjects } from '../protocol/micro.js';
import type { StatusDocument } from '../protocol/status.js';
import { isToken, type Subjects } from '../protocol/subjects.js';

export interface ClientOutside {
  readonly bus: Bus;
  readonly subjects: Subjects;
  readonly clock: Clock;
  readonly random: Random;
}

const PING_MS = 500;
/** A frozen host is in the status group as well: the second question reaches another one. */
const STATUS_MS = 500;
const STATUS_TRIES = 2;
/** Status is asked for on behalf of a new actor at most this often. */
const STATUS_EVERY_MS = 5000;
const KINDS_MAX = 1024;

type Pong = 'here' | 'gone' | 'silent' | 'unknowable';
type Kind = 'model' | 'module';

const nothing = new Uint8Array();

export class Scout {
  readonly #kinds = new Map<string, Kind>();
  readonly #pings = new Map<string, Promise<Pong>>();
  #status: Promise<StatusDocument | undefined> | undefined;
  #statusMs = -Infinity;

  constructor(
    private readonly outside: ClientOutside,
    private readonly seen: HostsSeen,
  ) {}

  kindOf(actor: string): Kind | undefined {
    return this.#kinds.get(actor);
  }

  /** Somebody calls this actor: learn in the background what will matter when something fails. */
  introduce(actor: string): void {
    if (this.#kinds.has(actor) || this.outside.clock.now() - this.#statusMs < STATUS_EVERY_MS) return;
    void this.status();
  }

  /** The cluster as one of its hosts sees it; undefined when nobody says. Never rejects. */
  status(): Promise<StatusDocument | undefined> {
    this.#statusMs = this.outside.clock.now();
    return (this.#status ??= this.#ask().finally(() => { this.#status = undefined; }));
  }

  async #ask(): Promise<StatusDocument | undefined> {
    const { bus, subjects } = this.outside;
    for (let tries = 0; tries < STATUS_TRIES; tries++) {
      try {
        const { data } = await bus.request(subjects.status, nothing, { timeoutMs: STATUS_MS });
        const document = JSON.parse(new TextDecoder().decode(data)) as StatusDocument;
        this.#learn(document);
        return document;
      } catch (error) {
        if (codeOf(error) !== 'TIMEOUT') return undefined;
      }
    }
    return undefined;
  }

  #learn({ hosts }: StatusDocument): void {
    for (const { id, liveness, actors } of hosts) {
      for (const { name, kind, ready } of actors) {
        if (this.#kinds.size < KINDS_MAX || this.#kinds.has(name)) this.#kinds.set(name, kind);
        // A suspect may be in the queue group still; a ping will tell.
        if (ready > 0 && liveness !== 'dead' && isToken(id)) this.seen.serves(id, name);
      }
    }
  }

  /**
   * A host other than `avoided` that answers a ping now, the first that does; where pings are not allowed, the next best
   * guess. Undefined when there is none. All pongs and silences are noted.
   */
  async liveHost(actor: string, avoided: ReadonlySet<string>): Promise<string | undefined> {
    const { seen } = this;
    const known = seen.hostsOf(actor);
    const pongs = known.map((host) => this.#pinged(host));
    void Promise.all(pongs).then((all) => {
      // The silent ones are known by name now, or nobody was.
      if (all.length > 0 && !all.includes('unknowable')) seen.trustGroup(actor);
    });
    const found = await this.#firstHere(known, pongs, avoided);
    if (found !== undefined) return found;
    if ((await Promise.all(pongs)).includes('unknowable')) return seen.another(actor, avoided, this.outside.random.next());
    await this.status();
    const fresh = seen.hostsOf(actor).filter((host) => !known.includes(host));
    return this.#firstHere(fresh, fresh.map((host) => this.#pinged(host)), avoided);
  }

  /** In the background: what became of suspects whose time is over. */
  review(actor: string): void {
    for (const host of this.seen.dueForPing(actor, this.outside.clock.now())) void this.#pinged(host);
  }

  #firstHere(hosts: readonly string[], pongs: readonly Promise<Pong>[], avoided: ReadonlySet<string>): Promise<string | undefined> {
    return new Promise((resolve) => {
      const each = hosts.map(async (host, index) => {
        if ((await pongs[index]) === 'here' && !avoided.has(host)) resolve(host);
      });
      void Promise.all(each).then(() => resolve(undefined));
    });
  }

  #pinged(host: string): Promise<Pong> {
    let ping = this.#pings.get(host);
    if (!ping) {
      ping = this.#ping(host).then((pong) => {
        this.#pings.delete(host);
        this.#note(host, pong, this.outside.clock.now());
        return pong;
      });
      this.#pings.set(host, ping);
    }
    return ping;
  }

  #note(host: string, pong: Pong, nowMs: number): void {
    if (pong === 'here') this.seen.heard(host, nowMs);
    else if (pong === 'gone') this.seen.dead(host);
    else if (pong === 'silent') this.seen.silent(host, nowMs);
    else this.seen.lapse(host, nowMs);
  }

  async #ping(host: string): Promise<Pong> {
    const { bus, clock } = this.outside;
    const askedMs = clock.now();
    try {
      await bus.request(pingSubject(host), nothing, { timeoutMs: PING_MS });
      return 'here';
    } catch (error) {
      const code = codeOf(error);
      if (code === 'NO_RESPONDERS') return 'gone';
      return code === 'TIMEOUT' && clock.now() - askedMs <= PING_MS + LATE_MS ? 'silent' : 'unknowable';
    }
  }
}

const pingSubject = (host: string): string => microSubjects('PING', host).at(-1)!;

const codeOf = (error: unknown): BusErrorCode | undefined => (error as { code?: BusErrorCode }).code;
