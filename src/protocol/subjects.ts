/**
 * Every subject regrow uses on NATS (contract, section 4), built from one prefix. No other file spells a subject.
 *
 * Names become tokens of a subject, so they are checked here once: a dot, a blank or a wildcard inside a name would
 * silently address something else. It does not know what travels on a subject.
 */

/** Queue group of everything that one host out of many shall answer. */
export const QUEUE_GROUP = 'regrow';

/** Actor names, host ids, event types, verbs: the same rule as `token` in spec/fields. */
export const TOKEN_LENGTH_MAX = 64;
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const PREFIX = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

/** True for 1 to 64 of A-Z a-z 0-9 _ - . */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** True for tokens joined by single dots: `regrow`, `acme.prod.regrow`. */
export function isPrefix(text: string): boolean {
  return PREFIX.test(text);
}

function token(text: string, what: string): string {
  if (isToken(text)) return text;
  throw new TypeError(`${what} ${JSON.stringify(text)} cannot be part of a subject: wanted 1 to ${TOKEN_LENGTH_MAX} of A-Z a-z 0-9 _ -`);
}

export interface Subjects {
  readonly prefix: string;
  readonly queueGroup: string;
  /** Request: any host that can answer. */
  infer(actor: string): string;
  /** Request: this host alone; never forwarded again. */
  hostInfer(host: string, actor: string): string;
  /** Request: the cluster as any one host sees it. */
  readonly status: string;
  /** Request to that host, and what it publishes on change. */
  statusOf(host: string): string;
  readonly statusOfAll: string;
  events(host: string, type: string): string;
  readonly eventsOfAll: string;
  beat(host: string): string;
  readonly beatOfAll: string;
  /** Request: its state, from the host itself. Nobody else listens there, so "no responders" means that it is gone. */
  hostState(host: string): string;
  /** Published on change: what other hosts need to know of this one. */
  state(host: string): string;
  readonly stateOfAll: string;
  control(host: string, verb: string): string;
  /** What a host subscribes to, to hear every verb. */
  controlOf(host: string): string;
}

/** Throws a TypeError for a prefix, and its methods for a name, that cannot be part of a subject. */
export function subjects(prefix = 'regrow'): Subjects {
  if (!isPrefix(prefix)) throw new TypeError(`prefix ${JSON.stringify(prefix)} cannot start a subject: wanted tokens of A-Z a-z 0-9 _ - joined by dots`);
  // Checked and joined once per actor: `infer` is on the path of every forwarded request.
  const inferOf = new Map<string, string>();
  return {
    prefix,
    queueGroup: QUEUE_GROUP,
    infer(actor) {
      let subject = inferOf.get(actor);
      if (subject === undefined) {
        subject = `${prefix}.infer.${token(actor, 'actor')}`;
        // A caller may ask for any name; the cache must not grow with their imagination.
        if (inferOf.size < 1024) inferOf.set(actor, subject);
      }
      return subject;
    },
    hostInfer: (host, actor) => `${prefix}.host.${token(host, 'host')}.infer.${token(actor, 'actor')}`,
    hostState: (host) => `${prefix}.host.${token(host, 'host')}.state`,
    status: `${prefix}.status`,
    statusOf: (host) => `${prefix}.status.${token(host, 'host')}`,
    statusOfAll: `${prefix}.status.*`,
    events: (host, type) => `${prefix}.events.${token(host, 'host')}.${token(type, 'event type')}`,
    eventsOfAll: `${prefix}.events.>`,
    beat: (host) => `${prefix}.beat.${token(host, 'host')}`,
    beatOfAll: `${prefix}.beat.*`,
    state: (host) => `${prefix}.state.${token(host, 'host')}`,
    stateOfAll: `${prefix}.state.*`,
    control: (host, verb) => `${prefix}.control.${token(host, 'host')}.${token(verb, 'verb')}`,
    controlOf: (host) => `${prefix}.control.${token(host, 'host')}.*`,
  };
}

/** The last token of a subject: the actor of an inference, the verb of a control message, the host of a beat. */
export function lastToken(subject: string): string {
  return subject.slice(subject.lastIndexOf('.') + 1);
}
