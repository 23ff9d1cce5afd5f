/**
 * Who of the cluster is alive, judged by the beats one host hears and by nothing but its own monotonic clock.
 *
 * A host that is silent for `suspectAfterMs` is suspect (no new requests; cheap to take back), for `deadAfterMs` dead
 * (replicated actors are placed elsewhere). Silence counts only while this observer was able to hear: time in which its
 * own loop or link stood still is taken off everybody's silence, because a late observer finds everybody late.
 *
 * An incarnation that lost what it owned is marked fenced and never comes back as itself. It does not decide what a
 * death leads to; brake.ts, cluster-placement.ts and lease.ts do.
 */
import { Members } from './members.js';

export interface DetectorLimits {
  readonly beatMs: number;
  readonly suspectAfterMs: number;
  readonly deadAfterMs: number;
  readonly forgetMs: number;
}

export type Liveness = 'alive' | 'suspect' | 'dead';

/** What a beat says; its host is known from elsewhere. */
export interface BeatFacts {
  readonly incarnation: string;
  readonly sequence: number;
  readonly load: number;
  readonly stateVersion: number;
  readonly storeSequence: number;
  readonly draining?: boolean;
}

export interface MemberView extends BeatFacts {
  readonly host: string;
  readonly liveness: Liveness;
  readonly reason: string;
  readonly heardMs: number;
  /** Of the silence since then, what does not count: this observer could not have heard anything. */
  readonly excusedMs: number;
  /** When it last left `alive`; undefined while it is. */
  readonly silentSinceMs?: number;
  /** Earlier incarnations, newest last: their late beats must not unseat this one. */
  readonly past: readonly string[];
}

export interface DetectorView {
  readonly members: ReadonlyMap<string, MemberView>;
  /** Incarnations that never come back (fenced, or gone by their own will), with the time of their last sign of life or of the mark. */
  readonly fenced: ReadonlyMap<string, number>;
}

export interface Change {
  readonly host: string;
  readonly incarnation: string;
  readonly from: Liveness | 'unknown';
  /** `gone`: no member any more, because it left or was silent for too long. */
  readonly to: Liveness | 'gone';
  readonly reason: string;
}

export interface Judged {
  readonly view: DetectorView;
  readonly changes: readonly Change[];
}

export const emptyView: DetectorView = { members: new Map(), fenced: new Map() };

const PAST_MAX = 8;
/** As long as the fence in the store lives. */
const FENCED_FOR_MS = 24 * 3_600_000;

const unchanged = (view: DetectorView): Judged => ({ view, changes: [] });
const withMember = (view: DetectorView, member: MemberView): DetectorView => ({ ...view, members: Members.of(view.members).with(member.host, member) });
const changeOf = (member: MemberView, to: Change['to'], reason: string): Change => ({ host: member.host, incarnation: member.incarnation, from: member.liveness, to, reason });

export function heard(view: DetectorView, host: string, beat: BeatFacts, nowMs: number): Judged {
  // Remembering a fence outlives the member itself: the process may thaw after everybody forgot it.
  if (view.fenced.has(beat.incarnation)) return unchanged({ ...view, fenced: new Map(view.fenced).set(beat.incarnation, nowMs) });
  const known = view.members.get(host);
  const { incarnation, sequence, load, stateVersion, storeSequence, draining } = beat;
  const facts = { host, incarnation, sequence, load, stateVersion, storeSequence, ...(draining && { draining }) };
  const fresh = { ...facts, liveness: 'alive', heardMs: nowMs, excusedMs: 0 } as const;
  if (known === undefined) {
    const reason = 'first beat';
    return { view: withMember(view, { ...fresh, reason, past: [] }), changes: [{ host, incarnation, from: 'unknown', to: 'alive', reason }] };
  }
  if (known.incarnation === incarnation) {
    if (sequence <= known.sequence) return unchanged(view);
    const back = known.liveness !== 'alive';
    const reason = back ? 'beats again' : known.reason;
    return { view: withMember(view, { ...fresh, reason, past: known.past }), changes: back ? [changeOf(known, 'alive', reason)] : [] };
  }
  if (!unseats(known, incarnation)) return unchanged(view);
  const reason = 'new incarnation';
  const past = [...known.past.filter((each) => each !== incarnation), known.incarnation].slice(-PAST_MAX);
  const gone = known.liveness === 'dead' ? [] : [changeOf(known, 'dead', `replaced by incarnation ${incarnation}`)];
  return { view: withMember(view, { ...fresh, reason, past }), changes: [...gone, { host, incarnation, from: 'unknown', to: 'alive', reason }] };
}

/**
 * Two incarnations of one host can be heard at once: the old process thaws, or a late beat arrives. While the known one
 * is alive, only a later ULID that was not seen before replaces it. Once it is silent anything does, so that a wall
 * clock which was set back (ULIDs contain it) delays a new process by `suspectAfterMs` and no more.
 */
const unseats = (known: MemberView, incarnation: string): boolean => known.liveness !== 'alive' || (incarnation > known.incarnation && !known.past.includes(incarnation));

/** Takes the time from `fromMs` to `nowMs` off everybody's silence: the own loop or link stood still. */
export function excuse(view: DetectorView, fromMs: number, nowMs: number): DetectorView {
  const members = new Map<string, MemberView>();
  for (const [host, member] of view.members) {
    const excusedMs = Math.max(0, nowMs - Math.max(fromMs, member.heardMs));
    members.set(host, { ...member, excusedMs: member.excusedMs + excusedMs });
  }
  return { ...view, members };
}

/**
 * Judges everybody. To be called about every beat; `dueMs` is when this call was due.
 *
 * Called late by more than half a beat it judges nobody and excuses the lag. One step at a time: even a long silence
 * makes a member suspect first and dead at the next call, so the brake sees mass suspicion before any death.
 */
export function tick(view: DetectorView, nowMs: number, dueMs: number, limits: DetectorLimits): Judged {
  if (nowMs - dueMs > limits.beatMs / 2) return unchanged(excuse(view, dueMs, nowMs));
  const changes: Change[] = [];
  const members = new Map(view.members);
  for (const [host, member] of view.members) {
    const silentMs = nowMs - member.heardMs - member.excusedMs;
    if (silentMs >= limits.forgetMs) {
      members.delete(host);
      changes.push(changeOf(member, 'gone', `silent for ${Math.round(silentMs)} ms`));
      continue;
    }
    const next = nextLiveness(member.liveness, silentMs, limits);
    if (next === member.liveness) continue;
    const reason = `no beat for ${Math.round(silentMs)} ms`;
    members.set(host, { ...member, liveness: next, reason, silentSinceMs: member.silentSinceMs ?? nowMs });
    changes.push(changeOf(member, next, reason));
  }
  const expired = [...view.fenced].filter(([, atMs]) => nowMs - atMs >= FENCED_FOR_MS);
  if (changes.length === 0 && expired.length === 0) return unchanged(view);
  const fenced = new Map(view.fenced);
  for (const [incarnation] of expired) fenced.delete(incarnation);
  return { view: { members, fenced }, changes };
}

function nextLiveness(liveness: Liveness, silentMs: number, limits: DetectorLimits): Liveness {
  if (liveness === 'alive' && silentMs >= limits.suspectAfterMs) return 'suspect';
  if (liveness === 'suspect' && silentMs >= limits.deadAfterMs) return 'dead';
  return liveness;
}

/** The server knows nobody on the suspect's own subject: its process or its connection is gone. Others are left alone. */
export function goneAtOnce(view: DetectorView, host: string): Judged {
  const member = view.members.get(host);
  if (member?.liveness !== 'suspect') return unchanged(view);
  const reason = 'no responders on its own subject';
  return { view: withMember(view, { ...member, liveness: 'dead', reason }), changes: [changeOf(member, 'dead', reason)] };
}

/** It said goodbye; nobody has to wait for its silence. A beat of it that is still on its way changes nothing. */
export function left(view: DetectorView, host: string, incarnation: string): Judged {
  const member = view.members.get(host);
  if (member?.incarnation !== incarnation) return unchanged(view);
  const members = new Map(view.members);
  members.delete(host);
  return { view: { members, fenced: new Map(view.fenced).set(incarnation, member.heardMs) }, changes: [changeOf(member, 'gone', 'left')] };
}

/** What this incarnation owned was taken over, or its fence was read in the store: it is dead whatever it sends. */
export function fence(view: DetectorView, host: string, incarnation: string, nowMs: number): Judged {
  const marked: DetectorView = { ...view, fenced: new Map(view.fenced).set(incarnation, nowMs) };
  const member = view.members.get(host);
  if (member?.incarnation !== incarnation || member.liveness === 'dead') return unchanged(marked);
  const reason = 'fenced';
  return { view: withMember(marked, { ...member, liveness: 'dead', reason, silentSinceMs: member.silentSinceMs ?? nowMs }), changes: [changeOf(member, 'dead', reason)] };
}
