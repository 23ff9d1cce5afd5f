/**
 * The invariants of restarts, read from the story the host tells: budget, backoff, and that nothing starts unasked.
 *
 * Whether a death in the solo run of a suspect was charged cannot be seen from outside, so such deaths are taken both
 * ways: the budget must hold without them, and giving up must be justified with them.
 */
import { delayCapMs } from '../../src/policy/backoff.js';
import type { ActorSpec } from '../../src/spec/actor.js';
import type { History, LaneLife, Moment } from './history.js';
import type { Invariant } from './invariants.js';

/** As in host/pools.ts. */
const EXITS_COALESCE_MS = 100;

/** One restart the host allowed, or the end of the pool instead. */
interface Verdict extends Moment {
  readonly replica: string;
  readonly gaveUp: boolean;
  readonly attempt: number;
  readonly delayMs: number;
  /** Undefined: no limit, the pool is a last resort. */
  readonly intensity: number | undefined;
  readonly startFailed: boolean;
  readonly lane: LaneLife;
  readonly perhapsFree: boolean;
}

/** Verdicts of one pool's life after the other. */
function* poolLives(history: History, { name }: ActorSpec): Generator<Verdict[]> {
  const lives = new Map<number, Verdict[]>();
  let exited: { replica: string; startFailed: boolean } | undefined;
  for (const [index, entry] of history.sim.entries.entries()) {
    if (entry.type !== 'told' || entry.actor !== name) continue;
    if (entry.event === 'replica-exit') exited = { replica: entry.replica!, startFailed: entry.fields['context'] === 'start_error' };
    const gaveUp = entry.event === 'pool-gave-up';
    if (entry.event !== 'replica-restart' && !gaveUp) continue;
    const replica = gaveUp ? String(entry.fields['reason']).split(' ')[0]! : entry.replica!;
    const lane = history.lanesOf(name).filter((candidate) => candidate.replica === replica && candidate.exited && candidate.exited.index < index).at(-1)!;
    const numbers = /(\d+) restarts in the window, (\d+) failures in a row/.exec(String(entry.fields['reason']));
    const verdicts = lives.get(lane.pool) ?? [];
    lives.set(lane.pool, verdicts);
    verdicts.push({
      atMs: entry.atMs, index, replica, gaveUp, lane,
      attempt: gaveUp ? Number(numbers?.[2]) : Number(entry.fields['attempt']),
      delayMs: gaveUp ? 0 : Number(entry.fields['delayMs']),
      intensity: gaveUp ? undefined : (entry.fields['intensity'] as number | undefined),
      startFailed: exited?.replica === replica && exited.startFailed,
      perhapsFree: endedSolo(history, lane),
    });
    if (!gaveUp) continue;
    yield verdicts;
    lives.delete(lane.pool);
  }
  yield* lives.values();
}

/** Under one request only, which had lost a lane before. */
export function endedSolo(history: History, lane: LaneLife): boolean {
  const pending = history.pendingAt(lane, lane.exited!);
  if (pending.length !== 1) return false;
  const { runs } = history.requests.get(pending[0]!.request!)!;
  return runs.slice(0, runs.indexOf(pending[0]!)).some((earlier) => history.casts(earlier));
}

export const budget: Invariant = function* (history) {
  for (const actor of history.actors) {
    const { intensity, periodMs, consecutiveMax } = actor.restart;
    for (const verdicts of poolLives(history, actor)) {
      const charged: number[] = [];
      const perhaps: number[] = [];
      for (const verdict of verdicts) {
        if (!verdict.gaveUp && verdict.intensity === undefined) continue;
        const { atMs } = verdict;
        if (!verdict.perhapsFree && (verdict.startFailed || !covered(charged, atMs))) charged.push(atMs);
        if (verdict.startFailed || !covered(perhaps, atMs) || verdict.perhapsFree) perhaps.push(atMs);
        const least = charged.filter((at) => at >= atMs - periodMs).length;
        const most = perhaps.filter((at) => at >= atMs - periodMs).length;
        if (!verdict.gaveUp && least > intensity) yield `${actor.name}: restart ${least} within ${periodMs} ms authorised at ${atMs}, intensity is ${intensity}`;
        if (verdict.gaveUp && most <= intensity && verdict.attempt <= consecutiveMax) yield `${actor.name} gave up at ${atMs} after ${most} restarts in the window (${intensity}) and ${verdict.attempt} in a row (${consecutiveMax})`;
      }
    }
  }
};

const covered = (counted: readonly number[], atMs: number): boolean => counted.length > 0 && atMs - counted.at(-1)! <= EXITS_COALESCE_MS;

export const backoff: Invariant = function* (history) {
  for (const actor of history.actors) {
    const { resetAfterMs, consecutiveMax, backoff: limits } = actor.restart;
    for (const verdicts of poolLives(history, actor)) {
      const failures = new Map<string, number>();
      const judged = new Set<LaneLife>();
      const dueMs = new Map<string, number>();
      for (const { replica, lane, attempt, atMs, delayMs, gaveUp, intensity, perhapsFree } of verdicts) {
        // Killed, it is ready no longer or until its exit, whoever killed it.
        const readyMs = lane.ready ? lane.exited!.atMs - lane.ready.atMs : 0;
        const readyLeastMs = lane.ready ? Math.min(lane.exited!.atMs, lane.killed?.atMs ?? Infinity) - lane.ready.atMs : 0;
        // Taken out and given back by an exchange, it starts from nothing.
        const own = history.lanesOf(actor.name).filter((other) => other.replica === replica);
        const before = own[own.indexOf(lane) - 1];
        // Taken out while it waited, too: then it came back before it was due, or perhaps after (a stop under way makes it late as well).
        const lateMs = lane.opened.atMs - (dueMs.get(replica) ?? lane.opened.atMs);
        dueMs.set(replica, atMs + delayMs);
        const counted = (before && judged.has(before) && lateMs > -0.001 && failures.get(replica)) || 0;
        const known = isFilledUp(history, lane) ? Math.min(counted, consecutiveMax - 1) : counted;
        judged.add(lane);
        // Within a few milliseconds of resetAfterMs either is right.
        const bases = [...(readyLeastMs < resetAfterMs + 5 ? [known] : []), ...((lane.ready && readyMs > resetAfterMs - 5) || lateMs > 5 ? [0] : [])];
        const expected = bases.flatMap((base) => (perhapsFree ? [base, base + 1] : [base + 1]));
        if (!expected.includes(attempt)) yield `${replica} at ${atMs}: attempt ${attempt}, expected ${expected.join(' or ')} (ready for ${readyMs} ms of ${resetAfterMs})`;
        failures.set(replica, attempt);
        if (gaveUp) continue;
        // Without a limit it is a last resort, which always waits longest, or was asked for so.
        const mostMs = delayCapMs(intensity === undefined ? { ...limits, minMs: limits.maxMs } : limits, attempt);
        const leastMs = delayCapMs(intensity === undefined && actor.restart.intensity !== Infinity ? { ...limits, minMs: limits.maxMs } : limits, attempt) * (1 - limits.jitter);
        if (delayMs > mostMs + 1e-6 || delayMs < leastMs - 1e-6) yield `${replica} at ${atMs}: delay ${delayMs} for attempt ${attempt}, expected ${leastMs} to ${mostMs}`;
      }
    }
  }
};

/**
 * The replica that ended a last resort by being proven: from then on its pool is one like any other. What it failed
 * before stays counted, below consecutiveMax.
 */
function isFilledUp(history: History, lane: LaneLife): boolean {
  if (!lane.ready) return false;
  const before = history.sim.entries.slice(0, lane.ready.index);
  const retryAt = before.findLastIndex((entry) => entry.type === 'told' && entry.event === 'pool-retry' && entry.actor === lane.actor);
  return retryAt >= 0 && !before.slice(retryAt).some((entry) => entry.type === 'told' && entry.event === 'replica-ready' && entry.actor === lane.actor);
}

/**
 * Every lane was opened for a reason: its boot, a restart after its delay, a retry of the pool, an edition that is rolled
 * in or taken back, or an answer that cost a replica its trust.
 */
export const noStartUnasked: Invariant = function* (history) {
  if (history.hasDevices) return yield* noStartUnaskedOnDevices(history);
  for (const actor of history.actors) {
    let ids = Array.from({ length: actor.replicas }, (_, index) => `${actor.name}-${actor.devices[0]!.replace(':', '')}-${index}`);
    const due = new Map<string, number>(ids.map((id) => [id, 0]));
    let lastResort = false;
    const unborn = new Set<string>();
    const lanes = history.lanesOf(actor.name);
    const poolOf = (replica: string): number | undefined => lanes.find((lane) => lane.replica === replica)?.pool;
    for (const [index, entry] of history.sim.entries.entries()) {
      if (entry.type === 'applyEnded' && entry.actor === actor.name && entry.change === 'rolled') {
        const { asked } = history.rolls.find(({ ended }) => ended?.index === index)!;
        ids = lanes.filter(({ isFresh, opened }) => isFresh && opened.index > asked.index && opened.index < index).map(({ replica }) => replica);
      }
      if (entry.type === 'told' && entry.actor === actor.name) {
        // Started by a call and not even born: unknown to its supervisor, so whoever called asks again, at the pool's backoff.
        if (entry.event === 'replica-exit' && entry.fields['context'] === 'start_error') unborn.add(entry.replica!);
        if (entry.event === 'replica-restart') due.set(entry.replica!, entry.atMs + Number(entry.fields['delayMs']));
        if (entry.event === 'pool-gave-up') {
          const pool = poolOf(String(entry.fields['reason']).split(' ')[0]!);
          for (const id of [...due.keys()]) if (poolOf(id) === pool) due.delete(id);
        }
        if (entry.event === 'replica-ejected' && entry.fields['replacement'] !== undefined) ids = [...ids.filter((id) => id !== entry.replica), String(entry.fields['replacement'])];
        if (entry.event === 'pool-retry') {
          lastResort = true;
          due.set(ids[0]!, entry.atMs);
        }
        if (entry.event === 'replica-ready' && lastResort) {
          lastResort = false;
          for (const id of ids.slice(1)) due.set(id, entry.atMs);
        }
      }
      if (entry.type !== 'laneOpened' || entry.actor !== actor.name) continue;
      const dueMs = due.get(entry.replica);
      due.delete(entry.replica);
      const lane = history.lanes.get(entry.lane)!;
      if (dueMs === undefined && history.rollAt(actor.name, index)) continue;
      if (unborn.delete(entry.replica) && dueMs === undefined) continue;
      if (lane.isFresh && dueMs === undefined && lanes.some(({ runs }) => runs.some(({ answered }) => answered && !answered.right && answered.index < index && entry.atMs - answered.atMs < 1))) continue;
      if (dueMs === undefined) yield `${entry.replica} was started at ${entry.atMs} and nobody had asked for it`;
      else if (entry.atMs < dueMs - 0.001) yield `${entry.replica} was started at ${entry.atMs}, its delay ends at ${dueMs}`;
      // Taken out by an exchange before it was due, and given back by it.
      else if (history.rolls.some(({ actor: rolled, asked, ended }) => rolled === actor.name && asked.atMs <= entry.atMs && (!ended || ended.atMs >= dueMs))) continue;
      else if (entry.atMs > dueMs + 5 + history.stalledMs(dueMs, entry.atMs)) yield `${entry.replica} was started at ${entry.atMs}, late by ${entry.atMs - dueMs} ms`;
    }
  }
};

/**
 * The same where actors have several devices: a new pool is placement's business (see invariants-devices.ts); whatever
 * else starts in one is due, follows a newcomer that was proven, comes back from an exchange, or fills a last resort up.
 */
function* noStartUnaskedOnDevices(history: History): Generator<string> {
  for (const { name } of history.actors) {
    const lanes = history.lanesOf(name);
    const due = new Map<string, number>();
    const unborn = new Set<string>();
    let toldMs = -Infinity;
    for (const [index, entry] of history.sim.entries.entries()) {
      if (entry.type === 'told' && entry.actor === name) {
        if (entry.event === 'replica-exit' && entry.fields['context'] === 'start_error') unborn.add(entry.replica!);
        if (entry.event === 'replica-restart') due.set(entry.replica!, entry.atMs + Number(entry.fields['delayMs']));
        if (entry.event === 'pool-gave-up') due.clear();
        if (entry.event === 'replica-ready' || entry.event === 'pool-retry') toldMs = entry.atMs;
      }
      // The next one of an exchange comes when the last one is proven and the one it replaces is gone.
      if (entry.type === 'laneExited') {
        const gone = history.lanes.get(entry.lane)!;
        if (gone.actor === name && gone.stopAsked) toldMs = entry.atMs;
      }
      if (entry.type !== 'laneOpened' || entry.actor !== name) continue;
      const lane = history.lanes.get(entry.lane)!;
      const dueMs = due.get(entry.replica);
      due.delete(entry.replica);
      const before = lanes.filter(({ replica, opened }) => replica === lane.replica && opened.index < index).at(-1);
      const isFirstOfPool = !lanes.some(({ pool, opened }) => pool === lane.pool && opened.atMs < entry.atMs);
      const isUnborn = unborn.delete(entry.replica);
      if (dueMs !== undefined && entry.atMs < dueMs - 0.001) yield `${entry.replica} was started at ${entry.atMs}, its delay ends at ${dueMs}`;
      if (dueMs !== undefined || isFirstOfPool || isUnborn || before?.stopAsked || entry.atMs - toldMs < 1) continue;
      const isDistrusted = lanes.some(({ runs }) => runs.some(({ answered }) => answered && !answered.right && answered.index < index && entry.atMs - answered.atMs < 1));
      if (!before && isDistrusted) continue;
      yield `${entry.replica} was started at ${entry.atMs} and nobody had asked for it`;
    }
  }
}
