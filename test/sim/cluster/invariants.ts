/**
 * The invariants of a cluster (docs: "Invariants"), each a function from the event log to what breaks it. They know the
 * rules, not the code: none of them looks into a host, a client or a store.
 */
import type { Violation } from '../invariants.js';
import { ClusterHistory } from './history.js';
import { known } from './known.js';
import type { ClusterRun } from './world.js';

export type ClusterInvariant = (history: ClusterHistory) => Iterable<string>;

/** The bus client's grace, and a turn. */
const SLACK_MS = 70;
/** A call of this length is long enough for another host to be asked. */
const LONG_CALL_MS = 5000;
/** What a host says of itself has reached the others. */
const HEARD_MS = 200;
/** What a client may repeat is counted over ten seconds of its own. */
const BUDGET_MS = 10_000;

const oneOutcome: ClusterInvariant = function* ({ requests, run }) {
  for (const [id, { asked, ends }] of requests) {
    if (ends.length !== 1) yield `${id} ended ${ends.length} times`;
    const [end] = ends;
    if (end?.end === 'thrown') yield `${id} ended with something that is no ServeError: ${end.message}`;
    if (end?.end === 'left') yield `${id} was not answered when its host had stopped at ${end.atMs}`;
    const toMs = end?.atMs ?? run.entries.at(-1)!.atMs;
    const tookMs = (toMs - asked.atMs) * asked.rate;
    // A caller that did not run could not be told.
    const host = asked.via === 'host' ? id.split(':')[0]! : undefined;
    if (host !== undefined && stoodStill(run, host, asked.atMs, toMs)) continue;
    if (tookMs > asked.budgetMs + SLACK_MS) yield `${id} ended after ${tookMs} ms of its caller's with a budget of ${asked.budgetMs}`;
  }
};

function stoodStill(run: ClusterRun, host: string, fromMs: number, toMs: number): boolean {
  return run.entries.some((entry) => entry.type === 'hostFreezes' && entry.host === host && entry.atMs <= toMs && entry.atMs + 30_000 >= fromMs);
}

const boundedExecutions: ClusterInvariant = function* ({ requests }) {
  for (const [id, { asked, runs, ends }] of requests) {
    const started = runs.filter((run) => run.started).length;
    if (started > asked.executionsMax) yield `${id} ran ${started} times of at most ${asked.executionsMax}, on ${runs.map(({ host }) => host).join(', ')}`;
    if (!asked.idempotent && runs.length > 1) yield `${id} is not idempotent and was dispatched ${runs.length} times, on ${runs.map(({ host }) => host).join(', ')}`;
    const attempts = ends[0]?.end === 'ok' ? ends[0].attempts : undefined;
    if (attempts !== undefined && attempts < 1) yield `${id} was answered after ${attempts} attempts`;
  }
};

/** What no lane has computed is no answer, and the one that is named has computed it. */
const rightAnswers: ClusterInvariant = function* ({ requests }) {
  for (const [id, { ends, runs }] of requests) {
    for (const end of ends) {
      if (end.end !== 'ok') continue;
      if (end.right === false) yield `${id} got a wrong answer`;
      const [host, replica] = (end.servedBy ?? '').split('#')[0]!.split('/');
      if (!runs.some((run) => run.answered?.right && run.answered.index < end.index && run.host === host && run.lane.replica === replica)) yield `${id} was answered by ${end.servedBy}, which never did`;
    }
  }
};

const order: ClusterInvariant = function* ({ lanes }) {
  for (const lane of lanes.values()) {
    for (const run of lane.runs) {
      if (run.request === undefined) continue;
      if (!lane.proved || lane.proved.index > run.index) yield `${run.request} reached ${lane.host}/${lane.replica} at ${run.atMs} before its proof`;
      if (lane.stopAsked && lane.stopAsked.index < run.index) yield `${run.request} reached ${lane.host}/${lane.replica} at ${run.atMs} after its stop`;
    }
  }
};

/** What ends nothing is never refused as poison. */
const innocent: ClusterInvariant = function* ({ requests }) {
  for (const [id, { asked, ends }] of requests) if (ends[0]?.end === 'POISON' && asked.content.startsWith('echo')) yield `${id} was refused as poison`;
};

/**
 * A client with time enough gets its answer while one host that has the actor is well all along. It has three executions,
 * and a silent host costs it two: so one host may swallow it, and not a second one.
 */
const answered: ClusterInvariant = function* ({ requests, run }) {
  const repeats = [...requests.values()].filter(({ asked }) => asked.via === 'client').flatMap(({ ways }) => ways.slice(1).map(({ atMs }) => atMs));
  for (const [id, life] of requests) {
    const { asked, ends: [end], runs, ways } = life;
    // A singleton may rightly be nobody's for a while: until a lease has run out, a brake is released, a store answers.
    if (run.specs[0]!.actors.find(({ name }) => name === asked.actor)!.singleton) continue;
    if (!end || end.end === 'ok' || asked.via !== 'client' || !asked.idempotent || !asked.content.startsWith('echo') || asked.budgetMs < LONG_CALL_MS || end.callerHit || end.well.length === 0) continue;
    if (ways.filter(({ host, well }) => !well || !end.well.includes(host)).length >= 2) continue;
    // Suspected of ending replicas: nobody takes it elsewhere.
    if (end.end === 'UNAVAILABLE' && runs.some((each) => each.started && !each.answered && each.lane.exited && each.lane.exited.index < end.index)) continue;
    // Its budget for repeating is spent: ten, and some of what it asks.
    if (repeats.filter((atMs) => atMs > asked.atMs - BUDGET_MS && atMs <= end.atMs).length >= 10) continue;
    yield `${id} ended ${end.end} (${end.message}) at ${end.atMs} while ${end.well.join(', ')} was well since ${asked.atMs}; it had run on ${runs.map(({ host }) => host).join(', ') || 'nobody'}`;
  }
};

/** What operators do costs nobody an answer, whoever asks: drains and rolling restarts lose nothing. */
const plannedMoves: ClusterInvariant = function* ({ run, requests }) {
  if (!run.plan.quiet) return;
  for (const [id, { asked, ends: [end] }] of requests) {
    if (end && end.end !== 'ok' && end.end !== 'gone' && end.end !== 'left' && asked.budgetMs >= 1000) yield `${id} (${asked.via}) ended ${end.end} at ${end.atMs}, and nothing but planned moves took place: ${end.message}`;
  }
};

/** One answer of an epoch and all others of it come from one process; who has heard a later one takes none of an earlier one. */
const singleOwner: ClusterInvariant = function* ({ requests, run }) {
  const owners = new Map<string, string>();
  const incarnations = new Map<string, number>();
  const starts = run.entries.map((entry) => {
    if (entry.type === 'hostStarts') incarnations.set(entry.host, (incarnations.get(entry.host) ?? 0) + 1);
    return new Map(incarnations);
  });
  const marks = new Map<string, { readonly epoch: number; readonly request: string }>();
  const answers = [...requests].flatMap(([id, { asked, ends, runs }]) => (ends[0]?.end === 'ok' ? [{ id, asked, end: ends[0], runs }] : [])).sort((a, b) => a.end.index - b.end.index);
  for (const { id, asked, end, runs } of answers) {
    const { singleton } = run.specs[0]!.actors.find(({ name }) => name === asked.actor)!;
    if (!singleton) {
      if (end.epoch !== undefined) yield `${id} was answered in epoch ${end.epoch}, and ${asked.actor} is no singleton`;
      continue;
    }
    if (end.epoch === undefined) {
      yield `${id} was answered by ${end.servedBy} without an epoch`;
      continue;
    }
    const host = end.servedBy!.split('/')[0]!;
    const ran = runs.findLast((each) => each.host === host && each.answered?.right && each.answered.index < end.index);
    const owner = `${host} #${ran ? starts[ran.index]!.get(host) : '?'}`;
    const key = `${asked.actor} ${end.epoch}`;
    const known = owners.get(key);
    if (known !== undefined && known !== owner) yield `${asked.actor} was answered for by ${known} and by ${owner} in epoch ${end.epoch} (${id} at ${end.atMs})`;
    owners.set(key, owner);
    if (asked.via !== 'client') continue;
    const mark = marks.get(asked.actor);
    if (mark && end.epoch < mark.epoch) yield `${id} took an answer of epoch ${end.epoch} at ${end.atMs}, after ${mark.request} had one of ${mark.epoch}`;
    if (!mark || end.epoch > mark.epoch) marks.set(asked.actor, { epoch: end.epoch, request: id });
  }
};

/** Who has not renewed for `renewDeadlineMs` of its own clock takes no request for a singleton, and answers none. */
const selfFence: ClusterInvariant = function* ({ requests, renewals, run }) {
  for (const [id, { asked, runs, ways }] of requests) {
    const spec = run.specs[0]!;
    if (!spec.actors.find(({ name }) => name === asked.actor)!.singleton) continue;
    for (const each of runs) {
      const { rate } = run.plan.hosts.find(({ id: host }) => host === each.host)!;
      const renewed = renewals.get(each.host)?.filter(({ index }) => index < each.index).at(-1);
      const fencedMs = renewed === undefined ? -Infinity : renewed.sentMs + spec.renewDeadlineMs / rate;
      // What was accepted before and waited is let run; its answer is not let out.
      const arrived = asked.via === 'host' ? asked.atMs : (ways.filter(({ host, atMs }) => host === each.host && atMs <= each.atMs).at(-1)?.atMs ?? asked.atMs);
      if (arrived > fencedMs + SLACK_MS && each.atMs > fencedMs + SLACK_MS) yield `${id} was run on ${each.host} at ${each.atMs}, whose last renewal was sent at ${renewed?.sentMs}`;
    }
  }
};

/** At any time at most one process runs what it was asked for after the other had begun to. */
const oneRunner: ClusterInvariant = function* ({ requests, run }) {
  for (const { name, singleton } of run.specs[0]!.actors) {
    if (!singleton) continue;
    const runs = [...requests.values()].filter(({ asked }) => asked.actor === name).flatMap(({ asked, runs: own, ways }) => own.map((each) => ({
      ...each, arrivedMs: asked.via === 'host' ? asked.atMs : (ways.filter(({ host, atMs }) => host === each.host && atMs <= each.atMs).at(-1)?.atMs ?? asked.atMs),
    }))).sort((a, b) => a.index - b.index);
    for (const [at, each] of runs.entries()) {
      const other = runs.slice(0, at).findLast(({ host }) => host !== each.host);
      const before = other && runs.slice(0, at).find(({ host, index }) => host === each.host && index < other.index);
      // Back after somebody else: only by a later epoch, which takes a write to the store in between.
      if (!other || !before || each.arrivedMs <= other.atMs) continue;
      const taken = run.entries.slice(other.index, each.index).some((entry) => entry.type === 'written' && entry.key.startsWith(`own.${name}.`));
      const takenBefore = run.entries.slice(before.index, other.index).filter((entry) => entry.type === 'written' && entry.key.startsWith(`own.${name}.`)).length;
      if (!taken && takenBefore < 2) yield `${each.request} was run on ${each.host} at ${each.atMs}, after ${other.request} was on ${other.host} at ${other.atMs}, and nobody had taken ${name} in between`;
    }
  }
};

/** Nobody takes what another process owned before that one was fenced, or said that it has ended. */
const fencedFirst: ClusterInvariant = function* ({ run, struck }) {
  // A store that is rolled back forgets fences as well.
  if (struck.some(({ kind, bit }) => kind === 'roll-back' && bit)) return;
  const owners = new Map<string, { readonly epoch: number; readonly host: string | undefined; readonly incarnation: string | undefined }>();
  const over = new Set<string>();
  for (const entry of run.entries) {
    if (entry.type !== 'written') continue;
    const [kind, name, last] = entry.key.split('.') as [string, string, string];
    if (kind !== 'own') {
      over.add(`${name}.${last}`);
      continue;
    }
    const { host, incarnation } = JSON.parse(entry.value) as { host?: string; incarnation?: string };
    const before = owners.get(name);
    const isTaken = before?.incarnation !== undefined && before.incarnation !== incarnation && before.host !== entry.host;
    // Numbers left out: it did not know the one before, and gives it back at once.
    if (isTaken && Number(last) === before.epoch + 1 && !over.has(`${before.host}.${before.incarnation}`)) yield `${entry.host} took ${entry.key} at ${entry.atMs} from ${before.host}, which was not fenced and had not ended`;
    if (Number(last) > (before?.epoch ?? 0)) owners.set(name, { epoch: Number(last), host, incarnation });
  }
};

/** When too many hosts fall silent at once, nobody takes over what they own or begins to run what they run. */
const brake: ClusterInvariant = function* ({ struck, run, lanes }) {
  for (const { kind, bit, target, atMs, index } of struck) {
    const frozen = target.split('+');
    if (kind !== 'mass-freeze' || !bit || frozen.length < Math.max(3, Math.ceil(0.55 * run.plan.hosts.length))) continue;
    const wakes = run.entries.findIndex((entry, at) => at > index && entry.type === 'hostWakes' && frozen.includes(entry.host));
    const toMs = Math.min(run.entries[wakes]?.atMs ?? Infinity, atMs + 50_000);
    const during = run.entries.slice(index, wakes < 0 ? undefined : wakes).filter((entry) => entry.atMs <= toMs);
    // What else happens then may rightly end what was there.
    if (during.some((entry) => (entry.type === 'struck' && entry.bit && entry.atMs > atMs) || entry.type === 'hostSettled' || entry.type === 'hostStarts')) continue;
    if (struck.some((other) => other.bit && other.kind !== 'replica' && other.index < index && other.atMs > atMs - 45_000)) continue;
    for (const entry of during) {
      if (entry.type === 'written' && entry.key.startsWith('own.')) yield `${entry.host} took ${entry.key} at ${entry.atMs}, while ${target} stood still since ${atMs}`;
      if (entry.type !== 'laneOpened' || entry.atMs < atMs + 1000) continue;
      const had = [...lanes.values()].some((lane) => lane.host === entry.host && lane.actor === entry.actor && lane.number < entry.lane);
      if (!had) yield `${entry.host} began to run ${entry.actor} at ${entry.atMs}, while ${target} stood still since ${atMs}`;
    }
  }
};

/** An actor that can run nowhere is tried on no further host once its pools have given up on `hostsMax` of them. */
const noStorm: ClusterInvariant = function* ({ lanes, run }) {
  const { broken } = run.plan;
  if (broken === undefined) return;
  const { hostsMax } = run.specs[0]!;
  const gaveUp = new Map<string, number>();
  const tried = new Set<string>();
  for (const entry of run.entries) {
    if (entry.type === 'hostStopAsked') break;
    if (entry.type === 'told' && entry.event === 'pool-gave-up' && entry.actor === broken && !gaveUp.has(entry.host)) gaveUp.set(entry.host, entry.atMs);
    if (entry.type !== 'laneOpened' || entry.actor !== broken || tried.has(entry.host)) continue;
    tried.add(entry.host);
    const known = [...gaveUp].filter(([, atMs]) => atMs < entry.atMs - HEARD_MS).map(([host]) => host);
    if (known.length >= hostsMax) yield `${broken} can run nowhere, its pools gave up on ${known.join(', ')}, and ${entry.host} began to try at ${entry.atMs}`;
  }
  if (tried.size === 0) yield `${broken} was tried nowhere`;
  if ([...lanes.values()].some((lane) => lane.actor === broken && lane.runs.some(({ request }) => request !== undefined))) yield `${broken} never proved, and was asked`;
};

const liveness: ClusterInvariant = function* ({ run, requests }) {
  if (!run.converged) {
    yield `not converged by ${run.convergeBoundMs}: ${run.remains.map(({ host, before }) => `${host}: ${before.actors.map(({ name, ready, wanted, reason }) => `${name} ${ready}/${wanted} (${reason})`).join(', ')}`).join('; ')}`;
    return;
  }
  for (const [id, { ends: [end] }] of requests) {
    if (id.includes('probe-') && end?.end !== 'ok') yield `everything has healed, and ${id} ended ${end?.end}: ${end?.message}`;
  }
};

/** Every host knows all hosts to be alive and every actor to be ready, in their present incarnations. */
const oneView: ClusterInvariant = function* ({ run }) {
  if (!run.converged) return;
  if (run.documents.length === 0) yield 'nobody says what the cluster is';
  for (const { hosts } of run.documents) {
    const missing = run.living.filter((id) => !hosts.some((host) => host.id === id));
    if (missing.length > 0) yield `${missing.join(', ')} is not known to a host that knows ${hosts.map(({ id }) => id).join(', ')}`;
    for (const { id, liveness: judged, reason, actors } of hosts) {
      if (!run.living.includes(id)) {
        if (judged === 'alive') yield `${id} is alive to somebody, and has been lost for long`;
        continue;
      }
      if (judged !== 'alive') yield `${id} is ${judged} (${reason}) to somebody, and has been well for seconds`;
      for (const { name, ready, wanted } of actors) if (ready !== wanted && name !== run.plan.broken) yield `${name} on ${id} shows ${ready} of ${wanted} ready`;
    }
  }
};

/** After the half minute that surplus is given, the cluster has what is wanted and no replica more. */
const noSurplus: ClusterInvariant = function* ({ run }) {
  if (!run.converged || !run.plan.waitsForSurplus) return;
  for (const { name, replicas, singleton } of run.specs[0]!.actors) {
    // Of a singleton a second host may keep one warm; who answers is another question.
    if (singleton || name === run.plan.broken) continue;
    const ready = run.remains.map(({ host, before }) => ({ host, count: before.actors.find((actor) => actor.name === name)?.ready ?? 0 })).filter(({ count }) => count > 0);
    const sum = ready.reduce((total, { count }) => total + count, 0);
    if (sum !== replicas) yield `${sum} replicas of ${name} are ready, ${replicas} are wanted: ${ready.map(({ host, count }) => `${host} ${count}`).join(', ')}`;
  }
};

const noOrphans: ClusterInvariant = function* ({ run }) {
  for (const { host, hasStopped, timers, subscriptions, lanesAlive, before } of run.remains) {
    if (!hasStopped) yield `${host} did not stop`;
    if (timers > 0) yield `${timers} timers of ${host} are armed after its stop`;
    if (subscriptions > 0) yield `${subscriptions} subscriptions of ${host} are left after its stop`;
    if (lanesAlive > 0) yield `${lanesAlive} lanes of ${host} are alive after its stop`;
    for (const { name, queue } of before.actors) if (run.converged && (queue.count !== 0 || queue.bytes !== 0)) yield `${host} counts ${queue.count} requests, ${queue.bytes} bytes in the queue of ${name} when nobody asks`;
  }
};

export const clusterInvariants: Readonly<Record<string, ClusterInvariant>> = {
  'one outcome': oneOutcome, 'bounded executions': boundedExecutions, 'right answers': rightAnswers, order, innocent, answered, 'planned moves': plannedMoves,
  'single owner': singleOwner, 'self-fencing': selfFence, 'one runner': oneRunner, 'fenced first': fencedFirst, brake, 'no storm': noStorm, liveness, 'one view': oneView, 'no surplus': noSurplus, 'no orphans': noOrphans,
};

export function checkCluster(run: ClusterRun): Violation[] {
  const history = new ClusterHistory(run);
  const found = Object.entries(clusterInvariants).flatMap(([invariant, find]) => [...find(history)].map((detail) => ({ invariant, detail })));
  return found.filter((violation) => !known.some((weakness) => weakness.invariant === violation.invariant && weakness.explains(violation, history)));
}
