/**
 * The invariants of devices: a device that broke is fenced, what broke gets no more requests, nothing is placed there until
 * a probe succeeded, actors leave it and come back, and answers say where they are second best.
 *
 * A healthy replica may go on serving on a fenced device until its successor is proven: that is the overlap.
 */
import { RETRY_MIN_MS } from '../../src/policy/devices.js';
import type { History, LaneLife, RunLife } from './history.js';
import type { Invariant } from './invariants.js';

/** To leave a fenced device: well before it may be probed again, and longer than any exchange that is in the way. */
const LEAVE_MS = 25_000;

/** Neither a device to be on nor one to go to: each of the actor's devices is out of use, or an earlier pool failed there. */
export function hadNowhereToGo(history: History, name: string, index: number): boolean {
  return history.actor(name).devices.every((device) => !history.isUsable(device, index) || history.lanesOf(name).some((lane) => lane.device === device && hasFailed(history, lane, index)));
}

/** Its device is out of use, and whatever else there is was tried in vain. */
export function wasTriedElsewhere(history: History, lane: LaneLife): boolean {
  const { index } = lane.stopAsked!;
  if (history.isUsable(lane.device, index)) return lane.pool > 0 && history.lanesOf(lane.actor).some((other) => other.pool === lane.pool && hasFailed(history, other, index));
  return history.actor(lane.actor).devices.every((device) => !history.isUsable(device, index) || history.lanesOf(lane.actor).some((other) => other.device === device && hasFailed(history, other, index)));
}

/** It ended, or was ended, by no order of placement's. */
function hasFailed(history: History, { exited, stopAsked, killed }: LaneLife, index: number): boolean {
  return (exited !== undefined && exited.index < index && !(stopAsked && stopAsked.index < exited.index)) || (killed !== undefined && killed.index < index);
}

const stopIndex = (history: History): number => history.sim.entries.findIndex(({ type }) => type === 'stopAsked');

/** Whoever says that the device cannot be used is heard at once. */
const fence: Invariant = function* (history) {
  const end = stopIndex(history);
  for (const { broke, device, replica } of history.lanes.values()) {
    if (!broke || broke.index > end || device === 'cpu' || !history.isUsable(device, broke.index)) continue;
    const isHeard = history.news.some((news) => news.device === device && !news.usable && news.index > broke.index && news.atMs - broke.atMs < 1);
    if (!isHeard) yield `${replica} said at ${broke.atMs} that ${device} cannot be used, and it was not fenced`;
  }
};

const noWorkOnBroken: Invariant = function* ({ lanes }) {
  for (const { closed, runs, replica, device } of lanes.values()) {
    const late = closed && runs.find(({ request, posted }) => request !== undefined && posted.index > closed.index);
    if (late) yield `${late.request} reached ${replica} at ${late.posted.atMs}; ${device} broke there at ${closed!.atMs}`;
  }
};

/** What ran on a device that broke and may run again does, within its executions and the replay budget. */
const lostWithDevice: Invariant = function* ({ requests }) {
  const losses = [...requests.values()].flatMap(({ runs }) => runs.filter(isLoss).map((run) => (run.answered ?? run.lane.exited!).atMs));
  for (const [id, { submitted, ends, runs }] of requests) {
    const [end] = ends;
    const last = runs.at(-1);
    if (!end || !last?.answered?.fatal || last.lane.device === 'cpu' || end.atMs !== last.answered.atMs || end.end === 'ok' || end.end === 'canceled') continue;
    const recent = losses.filter((at) => at <= end.atMs && at > end.atMs - 10_000).length;
    if (submitted.idempotent && runs.length < submitted.executionsMax && recent < 10 && end.message?.includes('used up')) yield `${id} was not run again when ${last.lane.device} broke at ${end.atMs}, after ${runs.length} of ${submitted.executionsMax} executions`;
    if (!submitted.idempotent && !end.unknown) yield `${id} is not idempotent and ended ${end.end} when ${last.lane.device} broke; nobody knows its outcome`;
  }
};

const isLoss = ({ answered, lane }: RunLife): boolean => (answered ? !answered.right : lane.exited !== undefined);

/** Pools begin on devices that may be used; who can leave one that may not be used does. */
const placement: Invariant = function* (history) {
  if (!history.hasDevices) return;
  const end = stopIndex(history);
  const begun = new Set<string>();
  for (const lane of history.lanes.values()) {
    const pool = `${lane.actor}/${lane.pool}`;
    if (!begun.has(pool) && !history.isUsable(lane.device, lane.opened.index)) yield `${lane.replica} was started at ${lane.opened.atMs} on ${lane.device}, which may not be used`;
    begun.add(pool);
  }
  const endMs = history.sim.entries[end]!.atMs;
  for (const { device, atMs, index } of history.news.filter((news) => !news.usable && news.index < end)) {
    const untilMs = history.news.find((later) => later.device === device && later.usable && later.index > index)?.atMs ?? Infinity;
    if (Math.min(endMs, untilMs) < atMs + LEAVE_MS) continue;
    for (const { name, devices } of history.actors) {
      const mayGo = devices.some((other) => history.isUsable(other, index) && !history.news.some((news) => news.device === other && news.index > index && news.atMs < atMs + LEAVE_MS));
      const stays = history.lanesOf(name).find((lane) => lane.device === device && lane.opened.index < index && !(lane.stopAsked && lane.stopAsked.atMs < atMs + LEAVE_MS) && !(lane.exited && lane.exited.atMs < atMs + LEAVE_MS));
      if (mayGo && stays) yield `${stays.replica} is still on ${device} at ${atMs + LEAVE_MS}, which may not be used since ${atMs}`;
    }
  }
};

/** `Degraded` on what a second choice answered, and on nothing else. */
const marked: Invariant = function* (history) {
  for (const [id, { submitted, ends, runs }] of history.requests) {
    const [end] = ends;
    if (end?.end !== 'ok' || submitted.via === 'nested') continue;
    const first = history.actor(submitted.actor).devices[0]!;
    const replica = end.servedBy?.split('#')[0];
    const lane = runs.find((run) => run.lane.replica === replica)?.lane;
    if (lane && end.device !== lane.device) yield `${id} says that ${end.device} answered it, it was ${lane.device}`;
    if (end.device !== first && end.degraded === undefined) yield `${id} was answered on ${end.device} instead of ${first} and does not say so`;
    if (end.device === first && end.degraded !== undefined) yield `${id} was answered on ${first}, its first choice, and says "${end.degraded}"`;
  }
};

/** One at a time, never of a device in use, at the start and then not before its pause is over; believed when it is right. */
const probes: Invariant = function* (history) {
  const { entries } = history.sim;
  const open = new Map<string, number>();
  const end = stopIndex(history);
  for (const [index, entry] of entries.entries()) {
    if (entry.type === 'probeEnded') open.delete(entry.device);
    if (entry.type !== 'probeOpened') {
      if (entry.type !== 'probeAnswered' || !entry.usable || index > end) continue;
      if (!history.news.some(({ device, usable, index: at, atMs }) => device === entry.device && usable && at > index && atMs - entry.atMs < 1)) yield `${entry.device} answered its probe at ${entry.atMs} and is not used`;
      continue;
    }
    const { device, atMs } = entry;
    if (open.has(device)) yield `${device} is probed twice at once at ${atMs}`;
    open.set(device, atMs);
    if (history.isUsable(device, index)) yield `${device} was probed at ${atMs} while it was in use`;
    const news = history.news.findLast((candidate) => candidate.device === device && candidate.index < index);
    if (news && atMs - news.atMs < RETRY_MIN_MS - 1) yield `${device} was probed at ${atMs}, ${atMs - news.atMs} ms after it was fenced`;
  }
  for (const { device, usable, atMs, index } of history.news) {
    if (usable && !entries.some((entry, at) => at < index && entry.type === 'probeAnswered' && entry.device === device && entry.usable && atMs - entry.atMs < 1)) yield `${device} is used again at ${atMs}, and no probe had succeeded`;
  }
};

export const deviceInvariants: Readonly<Record<string, Invariant>> = {
  fence, 'no work on broken': noWorkOnBroken, 'lost with its device': lostWithDevice, placement, marked, probes,
};
