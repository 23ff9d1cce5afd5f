/**
 * The invariants of a host (docs/semantics: "Invariants"), each a function from the event log to what breaks it. They
 * know the rules, not the code: none of them looks into a dispatcher or a supervisor.
 */
import { History, endedByItself, type LaneLife, type RequestLife, type RunLife } from './history.js';
import { deviceInvariants, hadNowhereToGo, wasTriedElsewhere } from './invariants-devices.js';
import { backoff, budget, endedSolo, noStartUnasked } from './invariants-restart.js';
import { known } from './known.js';
import type { SimRun } from './world.js';

export interface Violation {
  readonly invariant: string;
  readonly detail: string;
}

/** Yields what breaks it, in words. */
export type Invariant = (history: History) => Iterable<string>;

/** The bus client's grace, and a turn. */
const SLACK_MS = 60;
const MASS_DEATH_MS = 100;

const oneOutcome: Invariant = function* (history) {
  for (const [id, { submitted, ends }] of history.requests) {
    if (ends.length !== 1) yield `${id} ended ${ends.length} times`;
    const tookMs = (ends[0]?.atMs ?? submitted.atMs) - submitted.atMs;
    const boundMs = submitted.budgetMs + SLACK_MS + history.stalledMs(submitted.atMs, submitted.atMs + tookMs);
    if (tookMs > boundMs) yield `${id} ended after ${tookMs} ms with a budget of ${submitted.budgetMs}`;
  }
};

const boundedExecutions: Invariant = function* ({ requests }) {
  for (const [id, { submitted, runs }] of requests) {
    const started = runs.filter((run) => run.started).length;
    if (started > submitted.executionsMax) yield `${id} ran ${started} times of at most ${submitted.executionsMax}`;
    if (!submitted.idempotent && runs.length > 1) yield `${id} is not idempotent and was dispatched ${runs.length} times`;
  }
};

const rightAnswers: Invariant = function* ({ requests }) {
  for (const [id, { ends, runs }] of requests) {
    for (const end of ends.filter((candidate) => candidate.end === 'ok')) {
      // A replica that goes bad while it serves is found out by its next proof, not before; NaN is found out at once.
      const misled = end.right === false && runs.some((run) => run.answered && run.lane.turned?.how === 'wrong' && run.lane.turned.index < run.answered.index);
      if (end.right === false && !misled) yield `${id} got a wrong answer`;
      const replica = end.servedBy?.split('#')[0];
      if (!runs.some((run) => (misled ? run.answered?.ok : run.answered?.right) && (replica === undefined || run.lane.replica === replica))) yield `${id} was answered by ${end.servedBy}, which never did`;
    }
  }
};

const order: Invariant = function* (history) {
  for (const lane of history.lanes.values()) {
    const proof = history.actor(lane.actor).golden ? lane.proved : lane.loaded;
    for (const run of lane.runs) {
      if (run.request === undefined) continue;
      const { index, atMs } = run.posted;
      if (!proof || proof.index > index) yield `${run.request} reached ${lane.replica} at ${atMs} before its proof`;
      for (const [what, moment] of [['stop', lane.stopAsked], ['kill', lane.killed], ['exit', lane.exited]] as const) {
        if (moment && moment.index < index) yield `${run.request} reached ${lane.replica} at ${atMs} after its ${what} at ${moment.atMs}`;
      }
    }
  }
};

const innocent: Invariant = function* (history) {
  for (const [id, request] of history.requests) {
    const end = request.ends.find((candidate) => candidate.end === 'POISON');
    // A module may pass on what became of a call of its own.
    if (!end || (request.runs.at(-1)?.answered && !request.runs.at(-1)!.answered!.ok)) continue;
    const { quarantineMs } = history.actor(request.submitted.actor);
    const guilty = [...history.requests.values()].some((other) => isEqual(other, request) && other.runs.some((run) => {
      const exit = run.lane.exited;
      return exit !== undefined && exit.index < end.index && (other === request || exit.atMs + quarantineMs >= request.submitted.atMs) && provesGuilt(history, other, run);
    }));
    if (!guilty) yield `${id} (${request.submitted.content}) was refused as poison and never ended a replica in a solo run`;
  }
};

/** Alone on a lane that ended under it, after it had been on another that did. */
function provesGuilt(history: History, request: RequestLife, run: RunLife): boolean {
  const before = request.runs.slice(0, request.runs.indexOf(run));
  if (!history.casts(run) || !before.some((earlier) => history.casts(earlier))) return false;
  const crowd = endedByItself(run.lane) && history.deaths.some((other) => other !== run.lane && other.ready && (!isTrial(history, other) || isTrial(history, run.lane)) && within(run.lane.exited!.atMs - other.exited!.atMs, 0, MASS_DEATH_MS) && other.exited!.index < run.lane.exited!.index &&
    !history.pendingAt(other, other.exited!).some((pending) => pending.request === run.request)); // deaths that one request was part of are no crowd
  return !crowd && history.pendingAt(run.lane, run.lane.exited!).length === 1;
}

/** A suspect ran alone and crashed it: that explains itself, and absolves nobody else. */
const isTrial = (history: History, lane: LaneLife): boolean => lane.exited?.reason === 'crashed' && endedSolo(history, lane);

const within = (value: number, min: number, max: number): boolean => value >= min && value <= max;
const isEqual = (a: RequestLife, b: RequestLife): boolean => a === b || a.submitted.actor === b.submitted.actor && a.submitted.content === b.submitted.content && a.submitted.via !== 'nested';

/**
 * Who leaves by order while it serves (before the host stops, and not with its whole pool) leaves a proven successor: no
 * more of an actor's replicas are taken away than new ones have proven since.
 */
const exchange: Invariant = function* (history) {
  const stopAsked = history.sim.entries.findIndex(({ type }) => type === 'stopAsked');
  for (const { name, replicas } of history.actors) {
    let wanted = replicas;
    let credit = 0;
    const gaveUp = new Set<number>();
    for (const [index, entry] of history.sim.entries.slice(0, stopAsked).entries()) {
      if (entry.type === 'told' && entry.actor === name && entry.event === 'pool-gave-up') {
        const replica = String(entry.fields['reason']).split(' ')[0]!;
        gaveUp.add(history.lanesOf(name).find((lane) => lane.replica === replica)!.pool);
      }
      if (entry.type === 'told' && entry.actor === name && entry.event === 'pool-retry') gaveUp.clear();
      if (entry.type === 'applyAsked' && entry.actor === name) {
        const { ended } = history.rolls.find(({ asked }) => asked.index === index)!;
        if (ended && ended.change !== 'rolled') continue;
        credit += Math.max(0, wanted - entry.replicas);
        wanted = entry.replicas;
      }
      if (entry.type === 'told' && entry.actor === name && entry.event === 'replica-ready') {
        const lane = history.lanesOf(name).find(({ ready }) => ready?.index === index)!;
        const roll = history.rollAt(name, index);
        // Given back by an exchange that went wrong: its place was given away on credit.
        const isBack = history.hasDevices && history.lanesOf(name).filter(({ replica, opened }) => replica === lane.replica && opened.index < lane.opened.index).at(-1)?.stopAsked;
        if (lane.isFresh || isBack || (roll && lane.pool < history.rolls.filter(({ actor }) => actor === name).indexOf(roll) + 1)) credit++;
      }
      if (entry.type !== 'laneStop') continue;
      const lane = history.lanes.get(entry.lane)!;
      const isLeaving = lane.actor === name && lane.stopAsked!.index === index && lane.ready && lane.ready.index < index && !lane.exited && !lane.killed;
      const left = lane.actor === name && lane.stopAsked!.index === index && lane.ready !== undefined && lane.ready.index < index;
      if (!isLeaving && !left) continue;
      if (gaveUp.has(lane.pool)) continue;
      if (history.hasDevices && (hadNowhereToGo(history, name, index) || wasTriedElsewhere(history, lane))) continue;
      // An edition that is taken back: what it had proven goes, whether or not the old ones are all back.
      const taken = history.rolls.find(({ actor, asked, ended }) => actor === name && asked.index < lane.opened.index && (!ended || index < ended.index) && ended?.change !== 'rolled');
      if (taken && lane.pool === history.rolls.filter(({ actor }) => actor === name).indexOf(taken) + 1) continue;
      if (--credit < 0) yield `${lane.replica} was told to stop at ${entry.atMs}, and nobody had proven in its place`;
    }
  }
};

const quarantine: Invariant = function* (history) {
  for (const convict of history.requests.values()) {
    const end = convict.ends.find((candidate) => candidate.end === 'POISON');
    if (!end || convict.runs.length === 0) continue;
    const { quarantineMs } = history.actor(convict.submitted.actor);
    for (const [id, request] of history.requests) {
      const { submitted, runs } = request;
      const inside = submitted.index > end.index && submitted.atMs < end.atMs + quarantineMs;
      // What ended one edition may be harmless to the next, also to one that was taken back later.
      const isAnother = history.rolls.some(({ actor, asked, ended }) => actor === submitted.actor && asked.index < submitted.index && (!ended || ended.index > convict.submitted.index));
      if (inside && !isAnother && isEqual(convict, request) && runs.length > 0) yield `${id} (${submitted.content}) ran at ${runs[0]!.posted.atMs}, in quarantine since ${end.atMs}`;
    }
  }
};

/** A request whose run was under way when its lane ended by itself, with no other death near, runs alone the next time. */
const suspectsAlone: Invariant = function* (history) {
  for (const [id, request] of history.requests) {
    for (const [at, run] of request.runs.entries()) {
      const next = request.runs[at + 1];
      if (!next || !isCertainSuspect(history, request, run) || next.posted.index < run.lane.exited!.index) continue;
      const { lane } = next;
      if (history.pendingAt(lane, next.posted).length > 0) yield `${id} is suspect and was posted beside others on ${lane.replica} at ${next.posted.atMs}`;
      const endIndex = next.answered?.index ?? lane.exited?.index ?? Infinity;
      const beside = lane.runs.find((other) => other.request !== undefined && other.posted.index > next.posted.index && other.posted.index < endIndex);
      if (beside) yield `${beside.request} was posted beside the solo run of ${id} on ${lane.replica} at ${beside.posted.atMs}`;
      if (!isNewcomer(history, lane, next) && !othersServe(history, lane, next)) yield `${id} is suspect and was run on ${lane.replica} at ${next.posted.atMs}, the last one that served`;
    }
  }
};

function isCertainSuspect(history: History, { submitted, ends }: RequestLife, run: RunLife): boolean {
  const { lane } = run;
  if (!lane.died || !lane.exited || lane.killed || lane.stopAsked || !run.started || run.answered || !submitted.idempotent) return false;
  if (ends[0] && ends[0].index < lane.exited.index) return false;
  return !history.deaths.some((other) => other !== lane && Math.abs(other.exited!.atMs - lane.exited!.atMs) <= MASS_DEATH_MS + 1);
}

/** Has run nothing but suspects so far. */
function isNewcomer(history: History, lane: LaneLife, run: RunLife): boolean {
  return lane.runs.every((other) => other.request === undefined || other.posted.index >= run.posted.index ||
    history.requests.get(other.request)!.runs.some((earlier) => earlier.posted.index < other.posted.index && history.casts(earlier)));
}

function othersServe(history: History, lane: LaneLife, { posted }: RunLife): boolean {
  const gone = (moment: { index: number } | undefined): boolean => moment !== undefined && moment.index < posted.index;
  return history.lanesOf(lane.actor).some((other) => other !== lane && gone(other.ready) && !gone(other.exited) && !gone(other.stopAsked) && !gone(other.killed));
}

/** Not idempotent, out of executions, out of budget or out of time: else a request whose lane was lost runs again. */
const replayed: Invariant = function* (history) {
  // Every loss may have taken a replay, whether or not the run came to pass.
  const losses = [...history.requests.values()].flatMap(({ runs }) => runs.filter((run) => run.lane.exited && !run.answered).map((run) => run.lane.exited!.atMs));
  for (const [id, { submitted, ends, runs }] of history.requests) {
    const [end] = ends;
    const last = runs.at(-1);
    if (!end || !last?.lane.exited || last.answered || end.end !== 'UNAVAILABLE' || end.unknown || end.atMs !== last.lane.exited.atMs) continue;
    const recent = losses.filter((at) => within(end.atMs - at, 0, 10_000)).length;
    if (submitted.idempotent && runs.length < submitted.executionsMax && recent < 10 && end.message?.includes('while the request was on it')) {
      yield `${id} was not run again when ${last.lane.replica} ended at ${end.atMs}, after ${runs.length} of ${submitted.executionsMax} executions`;
    }
  }
};

/** When the host decided to run a request once more. */
function replayTimes(history: History): number[] {
  const found: number[] = [];
  for (const { runs } of history.requests.values()) {
    for (const [at, run] of runs.entries()) {
      const before = runs[at - 1];
      if (!before?.started) continue; // never ran there: put back, not replayed
      found.push(Math.min(run.posted.atMs, before.lane.exited?.atMs ?? Infinity, before.answered?.atMs ?? Infinity));
    }
  }
  return found.sort((a, b) => a - b);
}

/** 20 % of the last ten seconds' requests and 10 more. The host counts in whole seconds: one more or less is let pass. */
const replayBudget: Invariant = function* (history) {
  const replays = replayTimes(history);
  const requests = [...history.requests.values()].map(({ submitted }) => submitted.atMs);
  for (const [at, now] of replays.entries()) {
    const spent = replays.slice(0, at + 1).filter((then) => then > now - 9000).length;
    const allowed = requests.filter((then) => then <= now && then > now - 11_000).length * 0.2 + 11;
    if (spent > allowed) yield `${spent} replays in the 9 s before ${now}, ${allowed} are allowed`;
  }
};

/** No request waits while a lane of its actor stands idle. */
const noIdling: Invariant = function* (history) {
  for (const { name } of history.actors) {
    const lanes = history.lanesOf(name);
    for (const request of history.requests.values()) {
      if (request.submitted.actor !== name || request.submitted.via === 'bus') continue;
      for (const [fromMs, toMs, suspect] of waits(history, request)) {
        const idle = lanes.filter((lane) => isIdle(history, lane, fromMs + 1, toMs));
        if (idle.length > (suspect ? 1 : 0)) yield `${request.submitted.request} waited from ${fromMs} to ${toMs} while ${idle.map(({ replica }) => replica).join(', ')} had nothing to do`;
      }
    }
  }
};

/** Spans of 30 ms and more in which the request was on no lane. */
function* waits(history: History, { submitted, ends, runs }: RequestLife): Generator<[number, number, boolean]> {
  const endMs = ends[0]?.atMs ?? Infinity;
  let freeMs = submitted.atMs;
  let suspect = false;
  for (const run of runs) {
    if (run.posted.atMs - freeMs >= 30) yield [freeMs, run.posted.atMs, suspect];
    freeMs = Math.max(freeMs, run.answered?.atMs ?? run.lane.exited?.atMs ?? Infinity);
    // One whose answer was refused waits for another replica than that one.
    suspect ||= history.casts(run) || (run.answered !== undefined && !run.answered.right);
  }
  if (endMs - freeMs >= 30) yield [freeMs, endMs, suspect];
}

function isIdle(history: History, lane: LaneLife, fromMs: number, toMs: number): boolean {
  if (!lane.ready || lane.ready.atMs >= fromMs || history.stalledMs(fromMs, toMs) > 0) return false;
  const goneMs = Math.min(...[lane.stopAsked, lane.killed, lane.died, lane.exited, lane.closed].map((moment) => moment?.atMs ?? Infinity));
  if (goneMs < toMs) return false;
  // One that answered wrongly gets nothing while there is another one, and no suspect to prove itself on.
  if (lane.runs.some(({ answered }) => answered && !answered.right && answered.atMs < toMs)) return false;
  if (lane.frozen.some((span) => span.fromMs < toMs && span.toMs + 400 > fromMs)) return false;
  return !lane.runs.some((run) => run.posted.atMs <= toMs && (run.answered?.atMs ?? Infinity) >= fromMs);
}

/** Who is ended for silence was frozen, who is ended for a long run had one. */
const noFalseHang: Invariant = function* ({ lanes }) {
  for (const { replica, killed, frozen, runs } of lanes.values()) {
    if (!killed) continue;
    const { atMs, index, detail } = killed;
    if (detail.includes('pings')) {
      const frozenMs = frozen.reduce((sum, { fromMs, toMs }) => sum + Math.max(0, Math.min(toMs, atMs) - Math.max(fromMs, atMs - 2200)), 0);
      if (frozenMs < 1500) yield `${replica} was killed at ${atMs} for silence and was frozen for ${frozenMs} ms only`;
    }
    const hangMs = Number(/hangMs \((\d+)\)/.exec(detail)?.[1] ?? -1);
    const runningMs = runs.filter((run) => run.started && !(run.answered && run.answered.index < index)).map((run) => atMs - run.started!.atMs);
    if (killed.unheardMs > 60 && /pings|hangMs/.test(detail)) yield `${replica} was killed at ${atMs} (${detail}), but had answered: the host's own loop was late`;
    if (Math.max(0, ...runningMs) < hangMs - 0.001) yield `${replica} was killed at ${atMs} as hung and its longest run took ${Math.max(0, ...runningMs)} ms`;
  }
};

/**
 * Subscribed while a replica is ready, and for holdMs after the last one went while a restart is under way; not longer.
 * A pool that gave up while replicas are exchanged has its successor under way until the exchange is over, and an edition
 * that gives up on its way in says nothing about the one that serves.
 */
const availability: Invariant = function* (history) {
  const { entries, spec } = history.sim;
  for (const { name } of history.actors) {
    const lanes = history.lanesOf(name);
    let subscribed = false;
    let wasReady = false;
    let gaveUp = false;
    /** Nothing was on its way at some time since the last replica went. */
    let nowhere = false;
    let sureZeroMs = 0;
    let zeroMs = 0;
    let nowMs = 0;
    for (const [index, entry] of entries.entries()) {
      if (entry.type === 'stopAsked') break;
      if (entry.atMs > nowMs) {
        const there = lanes.filter((lane) => lane.ready && lane.ready.index < index && !(lane.exited && lane.exited.index < index) && !(lane.stopAsked && lane.stopAsked.index < index) && !(lane.closed && lane.closed.index < index));
        const sure = there.filter((lane) => !(lane.killed && lane.killed.index < index));
        if (there.length > 0) zeroMs = entry.atMs;
        if (sure.length > 0) {
          sureZeroMs = entry.atMs;
          wasReady = true;
          if (sure.some((lane) => !isNewEdition(history, name, lane.replica, index))) gaveUp = false;
          if (!subscribed) yield `${name} has a ready replica at ${nowMs} and is not subscribed`;
        }
        // The state held from nowMs until just before entry.atMs.
        const endMs = entry.atMs - 0.001;
        const isRolled = history.rollAt(name, index) !== undefined;
        nowhere = sure.length === 0 && (nowhere || (history.hasDevices ? hadNowhereToGo(history, name, index) : gaveUp && (!isRolled || isTakenBack(history, name, index))));
        const isOver = !history.hasDevices && nowhere && !isRolled && lanes.every((lane) => lane.opened.index >= index || (lane.exited && lane.exited.index < index));
        if (there.length === 0 && subscribed && (isOver || endMs > zeroMs + spec.holdMs + 5 + history.stalledMs(zeroMs, endMs))) yield `${name} has had no ready replica since ${zeroMs} and is still subscribed at ${endMs}`;
        if (sure.length === 0 && wasReady && !nowhere && !subscribed && nowMs < sureZeroMs + spec.holdMs - 5) yield `${name} was left at ${nowMs}, its last replica went at ${sureZeroMs} and holdMs is ${spec.holdMs}`;
        nowMs = entry.atMs;
      }
      if (entry.type === 'subscribed' && entry.actor === name) subscribed = true;
      if (entry.type === 'unsubscribed' && entry.actor === name) subscribed = false;
      if (entry.type === 'told' && entry.event === 'pool-gave-up' && entry.actor === name) gaveUp ||= !isNewEdition(history, name, String(entry.fields['reason']).split(' ')[0]!, index);
    }
  }
};

/** The edition that is being rolled in is on its way out again. */
function isTakenBack(history: History, name: string, index: number): boolean {
  return history.lanesOf(name).some((lane) => lane.stopAsked && lane.stopAsked.index < index && isNewEdition(history, name, lane.replica, index));
}

/** The replica is of a pool that is being rolled in. */
function isNewEdition(history: History, name: string, replica: string, index: number): boolean {
  const roll = history.rollAt(name, index);
  const pool = history.lanesOf(name).find((lane) => lane.replica === replica)!.pool;
  return roll !== undefined && pool === history.rolls.filter(({ actor }) => actor === name).indexOf(roll) + 1;
}

const liveness: Invariant = function* ({ sim, requests }) {
  if (sim.plan.stopMs !== undefined) return;
  const { healed, healBoundMs, before } = sim.remains;
  if (!healed) yield `not healed by ${healBoundMs}: ${before.actors.map(({ name, ready, wanted, reason }) => `${name} ${ready}/${wanted} (${reason})`).join(', ')}`;
  for (const { name } of sim.spec.actors) {
    const end = requests.get(`probe-${name}`)?.ends[0];
    if (healed && end?.end !== 'ok') yield `${name} has healed and answers ${end?.end}: ${end?.message}`;
  }
};

const noOrphans: Invariant = function* (history) {
  const { sim } = history;
  const { hasStopped, hostTimers, subscriptions, after } = sim.remains;
  const stopped = sim.entries.findIndex(({ type }) => type === 'stopped');
  const asked = sim.entries.find(({ type }) => type === 'stopAsked')!;
  // Where the loop stood still meanwhile, a killed child may have been given up before its exit could be heard.
  const late = history.stalledMs(asked.atMs, sim.entries[stopped]!.atMs) > 0;
  const lanesAlive = [...history.lanes.values()].filter(({ exited, killed }) => !(exited && exited.index < stopped) && !(late && killed)).length;
  if (!hasStopped) yield 'the host did not stop';
  const probes = new Map(sim.entries.slice(0, stopped).flatMap((entry) => (entry.type === 'probeOpened' || entry.type === 'probeEnded' ? [[entry.probe, entry.type]] : [])));
  const probing = [...probes.values()].filter((type) => type === 'probeOpened').length;
  if (probing > 0) yield `${probing} probes are alive after the stop`;
  if (hostTimers > 0) yield `${hostTimers} timers of the host are armed after its stop`;
  if (lanesAlive > 0) yield `${lanesAlive} lanes are alive after the stop`;
  if (subscriptions > 0) yield `${subscriptions} subscriptions are left after the stop`;
  for (const { name, queue } of after.actors) if (queue.count !== 0 || queue.bytes !== 0) yield `${name} counts ${queue.count} requests, ${queue.bytes} bytes in its queue after the stop`;
};

const stopOrder: Invariant = function* (history) {
  const { sim, actors, lanes } = history;
  const from = sim.entries.findIndex(({ type }) => type === 'stopAsked');
  const busClosed = sim.entries.findIndex(({ type }, index) => index > from && type === 'busClosed');
  const before = new Map<string, number | undefined>();
  // In order of their start: a pool that gave up and came back is the youngest.
  const made = new Map(actors.map(({ name }, index) => [name, index - actors.length]));
  for (const [index, entry] of sim.entries.entries()) {
    if (entry.type === 'told' && entry.event === 'pool-gave-up') made.delete(entry.actor!);
    if (entry.type === 'told' && entry.event === 'pool-retry') made.set(entry.actor!, index);
    // While an edition is rolled in its actor has two pools.
    const rolled = history.rolls.find(({ asked, ended }) => asked.index === index || (ended?.index === index && index < from));
    if (rolled?.asked.index === index) {
      before.set(rolled.actor, made.get(rolled.actor));
      made.delete(rolled.actor);
    } else if (rolled) {
      const place = rolled.ended!.change === 'rolled' ? rolled.asked.index : before.get(rolled.actor);
      if (place !== undefined) made.set(rolled.actor, place);
    }
    // When the pool of an actor that has moved was made cannot be told; the first ones are made as their devices turn up.
    if (index === from && history.hasDevices) {
      for (const { name } of actors) {
        const [first] = history.lanesOf(name);
        if (!first || history.lanesOf(name).some(({ pool, opened }) => pool > 0 && opened.index < from)) made.delete(name);
        else if (made.get(name)! < 0) made.set(name, first.opened.index);
      }
    }
    if (index <= from) continue;
    const names = [...made].sort((a, b) => a[1] - b[1]).map(([name]) => name);
    if (entry.type === 'unsubscribed' && index > busClosed) yield `${entry.actor} was left after the bus was closed`;
    if (entry.type !== 'laneStop') continue;
    const lane = lanes.get(entry.lane)!;
    if (lane.stopAsked!.index !== index || !names.includes(lane.actor)) continue; // stopped before, or by a pool that gave up
    if (history.stalledMs(sim.entries[from]!.atMs, entry.atMs) > 0) continue; // late timers take living children for zombies
    if (sim.entries.slice(0, index).some((told) => told.type === 'told' && told.event === 'replica-ejected' && told.replica === lane.replica)) continue; // it was leaving
    if (lane.isFresh && !lane.ready) continue; // on its way to take a place, and called off
    if (index < busClosed) yield `${lane.replica} was stopped at ${entry.atMs}, before the endpoints`;
    for (const later of names.slice(names.indexOf(lane.actor) + 1)) {
      const alive = history.lanesOf(later).find((other) => other.opened.index < index && !(other.exited && other.exited.index < index));
      if (alive) yield `${lane.replica} was stopped at ${entry.atMs} while ${alive.replica} was alive`;
    }
  }
};

/** What the host counted is what happened, each request once. */
const accounts: Invariant = function* ({ sim, requests }) {
  if (sim.plan.stopMs !== undefined) return;
  for (const { name, requests: outcomes } of sim.remains.before.actors) {
    const own = [...requests.values()].filter(({ submitted, ends }) => submitted.actor === name && !ends[0]?.message?.startsWith('nobody answers'));
    const nested = own.filter(({ submitted }) => submitted.via === 'nested').length;
    // On its way when the broker went: perhaps the host never heard of it.
    const lost = own.filter(({ submitted, ends }) => submitted.via === 'bus' && ends[0]?.message?.startsWith('the connection was lost')).length;
    const counted = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    if (counted > own.length || counted < own.length - nested - lost) yield `${name} counts ${counted} requests, there were ${own.length} (${nested} nested)`;
  }
};

export const invariants: Readonly<Record<string, Invariant>> = {
  exchange, 'one outcome': oneOutcome, 'bounded executions': boundedExecutions, 'right answers': rightAnswers, order, budget, backoff, 'no start unasked': noStartUnasked,
  innocent, quarantine, 'suspects alone': suspectsAlone, replayed, 'replay budget': replayBudget, 'no idling': noIdling, 'no false hang': noFalseHang,
  ...deviceInvariants, availability, liveness, 'no orphans': noOrphans, 'stop order': stopOrder, accounts,
};

export function check(sim: SimRun): Violation[] {
  const history = new History(sim);
  const found = Object.entries(invariants).flatMap(([invariant, find]) => [...find(history)].map((detail) => ({ invariant, detail })));
  return found.filter((violation) => !known.some((weakness) => weakness.invariant === violation.invariant && weakness.explains(violation, history)));
}
