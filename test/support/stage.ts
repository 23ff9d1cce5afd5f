/**
 * A stage for supervisor tests: one root supervisor on a SimClock whose children do what the test says. By default a
 * child starts at once and obeys a stop at once; everything it is told, and everything reported, is written down.
 */
import type { AnyActorLogic, Snapshot } from 'xstate';
import { createActor, fromCallback } from 'xstate';
import type { CallResult } from '../../src/policy/supervise.js';
import type {
  Call, ChildEvent, ChildInput, ChildOrder, ChildSpec, ChildView, ExitReason, StartGate, SupervisorOptions, SupervisorRef, SupervisorReport,
  SupervisorView,
} from '../../src/supervision/index.js';
import { subtree, supervisorMachine } from '../../src/supervision/index.js';
import { SimClock } from './sim-clock.js';

export interface Manners {
  /** Default `started`. `silent`: no outcome until the test says one. `crash`: started, and gone at once. */
  readonly start?: 'started' | 'silent' | 'fail' | 'ignore' | 'crash' | 'ready';
  /** Default `obey`. `stall`: heeds only a kill. `undead`: not even that. */
  readonly stop?: 'obey' | 'stall' | 'undead';
}

/** One living incarnation, seen from inside. */
export interface Actor {
  readonly incarnation: number;
  readonly orders: ChildOrder[];
  tell(type: 'child.started' | 'child.ignored' | 'child.ready' | 'child.unready'): void;
  fail(detail?: string): void;
  exit(reason?: ExitReason, more?: { charge?: boolean; facts?: Record<string, unknown> }): void;
}

type RootOptions = SupervisorOptions & { readonly startGate?: StartGate; readonly chance?: number };

export class Stage {
  readonly clock = new SimClock();
  readonly reports: SupervisorReport[] = [];
  /** `start a#1`, `stop a#1`, `kill a#1`, `exit a#1 crashed`, in the order they happened. */
  readonly log: string[] = [];
  readonly actors = new Map<string, Actor>();
  /** May be changed during a test: read at each start. */
  readonly manners = new Map<string, Manners>();
  root!: SupervisorRef;

  boot(options: RootOptions): this {
    const { startGate, chance = 0, ...own } = options;
    this.root = createActor(supervisorMachine, {
      clock: this.clock,
      input: {
        id: 'root', incarnation: 1, options: own,
        environment: {
          clock: this.clock, random: { next: () => chance }, startGate,
          onReport: (report) => { this.reports.push(report); },
        },
      },
    });
    this.root.subscribe({ error: (error) => { throw error; } });
    this.root.start();
    return this;
  }

  child(id: string, fields: Partial<Omit<ChildSpec, 'id' | 'start'>> & Manners = {}): ChildSpec {
    const { start, stop, restart = 'permanent', significant = false, shutdown = 1000, type = 'worker' } = fields;
    if (!this.manners.has(id)) this.manners.set(id, { ...(start && { start }), ...(stop && { stop }) });
    return { id, restart, significant, shutdown, type, start: { logic: this.#logic(id) } };
  }

  subtree(id: string, options: SupervisorOptions, fields: Partial<Pick<ChildSpec, 'restart' | 'shutdown' | 'significant'>> = {}): ChildSpec {
    return subtree({ id, options, ...fields });
  }

  actor(id: string): Actor {
    const actor = this.actors.get(id);
    if (!actor) throw new Error(`${id} is not there`);
    return actor;
  }

  call(call: Call<ChildSpec>, ref: SupervisorRef = this.root): { result?: CallResult } {
    const answer: { result?: CallResult } = {};
    ref.send({ ...call, reply: (result: CallResult) => { answer.result = result; } });
    return answer;
  }

  get view(): SupervisorView {
    let view: SupervisorView | undefined;
    this.root.send({ type: 'inspect', reply: (answer) => { view = answer; } });
    if (!view) throw new Error('inspect was not answered');
    return view;
  }

  see(id: string): ChildView {
    const child = this.view.children.find((other) => other.id === id);
    if (!child) throw new Error(`no child ${id}`);
    return child;
  }

  /** `a:running#1`, in start order. */
  get phases(): string[] {
    return this.view.children.map(({ id, phase, incarnation }) => `${id}:${phase}#${incarnation}`);
  }

  get done(): boolean { return this.root.getSnapshot().status === 'done'; }

  stop(): void { this.root.send({ type: 'stop', budgetMs: Infinity }); }

  of<Type extends SupervisorReport['type']>(type: Type): Extract<SupervisorReport, { type: Type }>[] {
    return this.reports.filter((report) => report.type === type) as Extract<SupervisorReport, { type: Type }>[];
  }

  /** The log since the last call. */
  news(): string[] {
    return this.log.splice(0);
  }

  #logic(id: string): AnyActorLogic {
    return fromCallback<ChildOrder, ChildInput>(({ input: { incarnation }, sendBack, receive }) => {
      const name = `${id}#${incarnation}`;
      const manners = this.manners.get(id) ?? {};
      const say = (event: ChildEvent): void => sendBack(event);
      const actor: Actor = {
        incarnation,
        orders: [],
        tell: (type) => say({ type, id, incarnation }),
        fail: (detail = 'scripted') => {
          this.log.push(`fail ${name}`);
          this.actors.delete(id);
          say({ type: 'child.startFailed', id, incarnation, reason: 'load-failed', detail });
        },
        exit: (reason = 'crashed', more = {}) => {
          this.log.push(`exit ${name} ${reason}`);
          this.actors.delete(id);
          say({ type: 'child.exited', id, incarnation, reason, detail: 'scripted', ...more });
        },
      };
      this.actors.set(id, actor);
      this.log.push(`start ${name}`);
      receive((order) => {
        actor.orders.push(order);
        this.log.push(`${order.type} ${name}`);
        const stop = this.manners.get(id)?.stop ?? 'obey';
        if (order.type === 'kill' && stop !== 'undead') actor.exit('killed');
        if (order.type === 'stop' && stop === 'obey') actor.exit('shutdown');
      });
      switch (manners.start ?? 'started') {
        case 'silent': break;
        case 'fail': actor.fail(); break;
        case 'ignore': this.actors.delete(id); actor.tell('child.ignored'); break;
        case 'started': actor.tell('child.started'); break;
        case 'ready': actor.tell('child.started'); actor.tell('child.ready'); break;
        case 'crash': actor.tell('child.started'); actor.exit(); break;
      }
    });
  }
}

/** Machine children of a supervisor that xstate still knows, by name. */
export function machineChildren(ref: SupervisorRef): string[] {
  return Object.keys((ref.getSnapshot() as Snapshot<unknown> & { children: object }).children);
}
