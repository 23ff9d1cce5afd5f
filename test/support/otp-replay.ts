/**
 * Replays one recorded OTP scenario (format: the README beside the corpus) against regrow's supervisor and says where
 * they differ. The scripted processes live here; the supervisors are the real ones, on a SimClock.
 *
 * `latencyMs` 0: children answer within the same turn. 1: every start and every ordered stop takes a millisecond, so that
 * the supervisor is seen waiting. The recorded order has to come out of both.
 */
import { isDeepStrictEqual } from 'node:util';
import type { AnyActorLogic, AnyActorRef } from 'xstate';
import { createActor, fromCallback } from 'xstate';
import type { CallResult } from '../../src/policy/supervise.js';
import type { ChildInput, ChildOrder, ChildSpec, ExitReason, SupervisorReport, SupervisorRef } from '../../src/supervision/index.js';
import type { SupervisorCall } from '../../src/supervision/context.js';
import { supervisorMachine } from '../../src/supervision/index.js';
import { SimClock } from './sim-clock.js';

export interface OtpSpec {
  id: string; type: 'worker' | 'supervisor'; restart: ChildSpec['restart']; significant: boolean; shutdown: ChildSpec['shutdown'];
  startScript: ('ok' | 'fail' | 'ignore')[]; stopScript?: 'obey' | 'stall' | 'crash';
  strategy?: 'one_for_one' | 'one_for_all' | 'rest_for_one'; intensity?: number; periodMs?: number;
  autoShutdown?: 'never' | 'any_significant' | 'all_significant'; children?: OtpSpec[];
}
export interface OtpItem { do: string; sup?: string; child?: string; reason?: string; spec?: OtpSpec }
export interface OtpStep extends OtpItem { items?: OtpItem[]; during?: { child: string; items: OtpItem[] } }
export interface OtpExpect {
  events: string[][]; reply: string; failedPath?: string[]; replies?: object[];
  children: Record<string, string[][]>; counts: Record<string, object>; alive: Record<string, boolean>;
}
export interface OtpScenario { id: string; tree: OtpSpec; steps: OtpStep[]; expect: OtpExpect[] }

const exitReasons: Record<string, ExitReason> = {
  normal: 'normal', shutdown: 'shutdown', shutdown_tuple: 'shutdown', crash: 'crashed', kill: 'killed',
};

export interface ReplayResult {
  /** In words, of the first step that differs; empty when all match. */
  readonly differences: string[];
  /** What was still there after the tree had been stopped: processes, timers, machine children. */
  readonly leftovers: string[];
}

export function replay(scenario: OtpScenario, latencyMs: 0 | 1 = 0): ReplayResult {
  const world = new World(scenario.tree, latencyMs);
  const differences = compare(scenario, world);
  world.end();
  return { differences, leftovers: world.leftovers.map((leftover) => `${scenario.id}: ${leftover}`) };
}

function compare(scenario: OtpScenario, world: World): string[] {
  for (let index = 0; index < scenario.expect.length; index += 1) {
    const expected = scenario.expect[index]!;
    const got = index === 0 ? world.boot() : world.step(scenario.steps[index - 1]!);
    const differing = Object.keys({ ...expected, ...got }).filter(
      (field) => !isDeepStrictEqual(got[field as keyof OtpExpect], expected[field as keyof OtpExpect]));
    if (differing.length > 0) {
      return differing.map((field) =>
        `${scenario.id} step ${index} ${field}: got ${JSON.stringify(got[field as keyof OtpExpect])}, ` +
        `OTP ${JSON.stringify(expected[field as keyof OtpExpect])}`);
    }
  }
  return [];
}

interface Process { readonly end: (reason: string) => void }

class World {
  readonly #clock = new SimClock();
  readonly #attempts = new Map<string, number>();
  readonly #workers = new Map<string, Process>();
  readonly #alive = new Map<string, boolean>();
  readonly #root: SupervisorRef;
  readonly #rootId: string;
  readonly #latencyMs: number;
  #events: string[][] = [];
  #gate: { child: string; run: (parent: AnyActorRef) => void } | undefined;
  readonly leftovers: string[] = [];

  constructor(tree: OtpSpec, latencyMs: number) {
    this.#rootId = tree.id;
    this.#latencyMs = latencyMs;
    this.#root = createActor(supervisorMachine, {
      clock: this.#clock,
      input: {
        id: tree.id, incarnation: 1, options: this.#options(tree),
        environment: { clock: this.#clock, random: { next: () => 0.5 }, onReport: (report) => this.#noteReport(report) },
      },
    });
    // Without an observer xstate would rethrow a broken machine asynchronously; the replay sees it as `alive: false`.
    this.#root.subscribe({ error: (error) => this.leftovers.push(`machine broke: ${String(error)}`) });
  }

  boot(): OtpExpect {
    this.#root.start();
    this.#settle();
    const end = this.#root.getSnapshot().output;
    const failedPath = end?.failedPath;
    return this.#outcome(end ? `error:${end.detail}` : 'ok', { ...(failedPath?.length && { failedPath: [...failedPath] }) });
  }

  step(step: OtpStep): OtpExpect {
    this.#events = [];
    const replies: (object | undefined)[] = [];
    const perform = (items: OtpItem[], parent?: AnyActorRef, between?: () => void): void => {
      items.forEach((item, index) => {
        this.#perform(item, (reply) => { replies[index] = reply; }, parent);
        between?.();
      });
    };
    let own: { reply: string } | undefined;
    if (step.during) {
      const { child, items } = step.during;
      this.#gate = { child, run: (parent) => perform(items, parent) };
    }
    if (step.do === 'batch') own = this.#hold(step.sup!, () => perform(step.items!, undefined, () => this.#settle()));
    else this.#perform(step, (reply) => { own = reply as { reply: string }; });
    this.#settle();
    this.#gate = undefined;
    const { reply, ...more } = own ?? { reply: 'unanswered' };
    // A which_children or count_children step is answered with what the snapshot says anyway.
    const { children: _c, counts: _n, ...rest } = more as Record<string, unknown>;
    return this.#outcome(reply, { ...rest, ...(step.during || step.items ? { replies: replies as object[] } : {}) });
  }

  /** Ends what the scenario left running, and looks for what should not be left. */
  end(): void {
    this.#root.send({ type: 'stop', budgetMs: Infinity });
    this.#settle();
    if (this.#root.getSnapshot().status !== 'done') this.leftovers.push('root did not end');
    if (this.#workers.size > 0) this.leftovers.push(`workers left: ${[...this.#workers.keys()].join()}`);
    if (this.#clock.pending > 0) this.leftovers.push('timers left');
    const orphans = Object.keys(this.#root.getSnapshot().children);
    if (orphans.length > 0) this.leftovers.push(`children left: ${orphans.join()}`);
  }

  #settle(): void {
    while (this.#clock.stepSync());
  }

  #perform(item: OtpItem, answer: (reply: object) => void, parent?: AnyActorRef): void {
    switch (item.do) {
      case 'exit':
        return answer({ reply: this.#exit(item.child!, item.reason!) });
      case 'stop': {
        const running = this.#root.getSnapshot().status === 'active';
        this.#root.send({ type: 'stop', budgetMs: Infinity });
        return answer({ reply: running ? 'ok' : 'error:noproc' });
      }
      default: {
        const ref = parent ?? this.#find(item.sup!);
        if (!ref) return answer({ reply: 'error:noproc' });
        const reply = (result: CallResult): void => answer(inWords(result));
        const type = item.do.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
        const call = item.spec ? { type: 'startChild', spec: this.#childSpec(item.spec) } : { type, id: item.child };
        ref.send({ ...call, reply } as SupervisorCall);
      }
    }
  }

  #exit(id: string, reason: string): string {
    const worker = this.#workers.get(id);
    if (worker) {
      worker.end(reason);
      return 'ok';
    }
    const supervisor = this.#find(id);
    if (!supervisor) return 'error:not_running';
    supervisor.send({ type: 'kill', reason: 'killed', detail: 'killed from outside', graceMs: 1000 } satisfies ChildOrder);
    return 'ok';
  }

  /**
   * Keeps a supervisor busy while messages reach its inbox: with the start of a temporary child that declines in the end
   * and leaves no trace.
   */
  #hold(sup: string, whileHeld: () => void): { reply: string } {
    const ref = this.#find(sup);
    if (!ref) return { reply: 'error:noproc' };
    let release = (): void => undefined;
    const logic = fromCallback<{ type: string }, ChildInput>(({ input: { id, incarnation }, sendBack }) => {
      release = () => sendBack({ type: 'child.ignored', id, incarnation });
    });
    const spec: ChildSpec = { id: '(hold)', restart: 'temporary', significant: false, shutdown: 'infinity', type: 'worker', start: { logic } };
    ref.send({ type: 'startChild', spec, reply: () => undefined });
    whileHeld();
    release();
    return { reply: 'ok' };
  }

  #outcome(reply: string, more: object): OtpExpect {
    const children: OtpExpect['children'] = {};
    const counts: OtpExpect['counts'] = {};
    for (const [id, alive] of this.#alive) {
      const ref = alive ? this.#find(id) : undefined;
      if (!ref) continue;
      ref.send({ type: 'whichChildren', reply: (result: CallResult) => { children[id] = listOf(result); } });
      ref.send({ type: 'countChildren', reply: (result: CallResult) => { if (result.ok) counts[id] = result.counts!; } });
    }
    this.#settle();
    return { events: this.#events, reply, ...more, children, counts, alive: Object.fromEntries(this.#alive) };
  }

  /** The running supervisor of that name. */
  #find(id: string, below: SupervisorRef = this.#root): SupervisorRef | undefined {
    const snapshot = below.getSnapshot();
    if (snapshot.status !== 'active') return undefined;
    if (below === this.#root && id === this.#rootId) return below;
    for (const [childId, ref] of Object.entries(snapshot.context.refs) as [string, SupervisorRef][]) {
      if (!('machine' in ref.getSnapshot())) continue;
      if (childId === id) return ref;
      const found = this.#find(id, ref);
      if (found) return found;
    }
    return undefined;
  }

  #noteReport(report: SupervisorReport): void {
    const id = report.supervisor;
    if (report.type === 'started') {
      this.#alive.set(id, true);
      this.#events.push(['start', id, 'ok']);
    } else if (report.type === 'start-failed') {
      if (id === this.#rootId) this.#alive.set(id, false);
      // A list of specs that is refused at the root is no start attempt of the recorder's processes.
      this.#events.push(['start', id, 'fail']);
    } else if (report.type === 'shutdown' && this.#alive.get(id)) {
      this.#alive.set(id, false);
      this.#events.push(['sup_exit', id, report.reason]);
    }
  }

  #options(spec: OtpSpec): object {
    const { strategy, intensity, periodMs, autoShutdown } = spec;
    return { strategy, intensity, periodMs, autoShutdown, children: spec.children!.map((child) => this.#childSpec(child)) };
  }

  #childSpec(spec: OtpSpec): ChildSpec {
    const { id, restart, significant, shutdown, type } = spec;
    const world = this;
    let outcome: string;
    return {
      id, restart, significant, shutdown, type,
      start: {
        // Read once per start attempt, before `input` is called.
        get logic(): AnyActorLogic {
          outcome = world.#nextOutcome(spec);
          if (outcome !== 'ok') return world.#declining(outcome);
          return type === 'supervisor' ? supervisorMachine : world.#worker(spec);
        },
        input: ({ parent }) => {
          if (world.#gate?.child === id) {
            const { run } = world.#gate;
            world.#gate = undefined;
            run(parent);
          }
          return type === 'supervisor' ? { options: world.#options(spec) } : {};
        },
      },
    };
  }

  #nextOutcome({ id, startScript }: OtpSpec): string {
    const attempt = this.#attempts.get(id) ?? 0;
    this.#attempts.set(id, attempt + 1);
    return startScript[attempt] ?? 'ok';
  }

  #after(act: () => void): void {
    if (this.#latencyMs === 0) act();
    else this.#clock.setTimeout(act, this.#latencyMs);
  }

  #declining(outcome: string): AnyActorLogic {
    return fromCallback<{ type: string }, ChildInput>(({ input: { id, incarnation }, sendBack }) => {
      this.#after(() => {
        this.#events.push(['start', id, outcome]);
        if (outcome === 'ignore') sendBack({ type: 'child.ignored', id, incarnation });
        else sendBack({ type: 'child.startFailed', id, incarnation, reason: 'crashed', detail: 'scripted', path: [] });
      });
    });
  }

  #worker(spec: OtpSpec): AnyActorLogic {
    return fromCallback<ChildOrder, ChildInput>(({ input: { id, incarnation }, sendBack, receive }) => {
      let up = false;
      let ordered: ChildOrder | undefined;
      const gone = (event: string, shown: string, reason: ExitReason): void => {
        if (!up) return;
        up = false;
        this.#workers.delete(id);
        this.#events.push([event, id, shown]);
        sendBack({ type: 'child.exited', id, incarnation, reason, detail: shown });
      };
      const obey = (order: ChildOrder): void => {
        if (order.type === 'kill') this.#after(() => gone('stop', 'killed', 'killed'));
        else if (spec.stopScript === 'obey') this.#after(() => gone('stop', 'shutdown', 'shutdown'));
        else if (spec.stopScript === 'crash') this.#after(() => gone('stop', 'crash', 'crashed'));
      };
      this.#after(() => {
        up = true;
        this.#events.push(['start', id, 'ok']);
        this.#workers.set(id, { end: (reason) => gone('exit', reason === 'kill' ? 'killed' : reason, exitReasons[reason]!) });
        sendBack({ type: 'child.started', id, incarnation });
        if (ordered) obey(ordered);
      });
      receive((order) => {
        // Like a process in its init: an order that comes too early waits.
        if (up) obey(order);
        else ordered = order;
      });
    });
  }
}

function inWords(result: CallResult): object {
  if (!result.ok) return { reply: `error:${result.error}`, ...(result.failedPath && { failedPath: [...result.failedPath] }) };
  return {
    reply: result.ignored ? 'ok:ignored' : 'ok',
    ...(result.children && { children: listOf(result) }),
    ...(result.counts && { counts: result.counts }),
  };
}

function listOf(result: CallResult): string[][] {
  return result.ok ? (result.children ?? []).map(({ id, status, type }) => [id, status, type]) : [];
}
