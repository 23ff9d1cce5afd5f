/**
 * One replica under a supervisor of its own, on a clock that can stand still: what it shows, what it does to the routes,
 * and what its supervisor reports are written down. Lanes are simulated unless the test brings others.
 */
import type { Lane, LaneFactory, LaneOrder } from '../../src/ports.js';
import { createSupervisor } from '../../src/supervision/index.js';
import type { Supervisor, SupervisorReport } from '../../src/supervision/index.js';
import { replicaMachine, type ReplicaEffects, type ReplicaInput, type ReplicaLimits, type ReplicaView } from '../../src/supervision/replica.js';
import { settle, SimClock } from './sim-clock.js';
import { SimLane } from './sim-lane.js';

/** A clock whose owner can stand still: what is due meanwhile comes late, and before anything that was said meanwhile. */
export class StallingClock extends SimClock {
  #stalledMs = 0;
  override now(): number { return super.now() + this.#stalledMs; }
  stall(ms: number): void { this.#stalledMs += ms; }
}

export interface ReplicaStageOptions {
  readonly limits?: Partial<ReplicaLimits>;
  readonly lanes?: LaneFactory;
  readonly order?: LaneOrder;
  /** Runs of one proof; 1. */
  readonly proofRuns?: number;
}

export class ReplicaStage {
  readonly clock = new StallingClock();
  readonly reports: SupervisorReport[] = [];
  /** `ready`, `suspect: why`, in order. */
  readonly shown: string[] = [];
  /** `routed`, `unrouted`, `kill hung`, in order. */
  readonly deeds: string[] = [];
  readonly proofs: boolean[] = [];
  readonly lanes: Lane[] = [];
  /** As the data path sees it. */
  vitals = { lastAnswerMs: 0, busy: false };
  /** Set before a run of a proof is to have another name. */
  question = 'golden';
  readonly supervisor: Supervisor;

  constructor({ limits, lanes = { zombies: 0, open: () => new SimLane() }, order, proofRuns = 1 }: ReplicaStageOptions = {}) {
    let runs = 0;
    const effects: ReplicaEffects = {
      clock: this.clock,
      lanes: { zombies: 0, open: (wanted) => this.#opened(lanes.open(wanted)) },
      order: () => order ?? ({} as LaneOrder),
      prove: async (lane) => {
        for (let run = 0; run < proofRuns; run++) {
          const reply = await lane.run({ id: ++runs, requestId: this.question, inputs: [], budgetMs: 1000, path: [] });
          if (!reply?.ok) return { ok: false, detail: 'no answer' };
        }
        return { ok: true, proof: 'golden' };
      },
      startTurn: () => Promise.resolve(() => {}),
      routed: () => this.deeds.push('routed'),
      unrouted: () => this.deeds.push('unrouted'),
      suspected: () => {},
      provedAgain: (_id, result) => this.proofs.push(result.ok),
      proveAfterMs: () => Infinity,
      vitals: () => this.vitals,
      charged: () => true,
      deviceFailed: () => {},
      changed: ({ phase, reason }: ReplicaView) => this.shown.push(phase === 'suspect' ? `suspect: ${reason}` : phase),
    };
    const input: Pick<ReplicaInput, 'effects' | 'limits'> = {
      effects,
      limits: { startTimeoutMs: 60_000, pingMs: 0, silentSuspectMs: 500, silentKillMs: 2000, freshMs: 1000, hangMs: 10_000, ...limits },
    };
    this.supervisor = createSupervisor({
      id: 'pool', clock: this.clock, random: { next: () => 0 }, onReport: (report) => this.reports.push(report), intensity: 5, periodMs: 60_000, startedWhen: 'spawned',
      children: [{ id: 'r', restart: 'permanent', significant: false, shutdown: 1000, type: 'worker', start: { logic: replicaMachine, input: () => input } }],
    });
  }

  /** Up to its first proof, which is answered. */
  async ready(): Promise<this> {
    void this.supervisor.start();
    await settle(4);
    await this.answer();
    return this;
  }

  get lane(): SimLane { return this.lanes.at(-1) as SimLane; }

  /** The oldest run on the lane is answered. */
  async answer(): Promise<void> {
    this.lane.answer();
    await settle();
  }

  /** From the data path. */
  async tell(event: { readonly type: 'doubt' | 'slow' | 'recovered'; readonly detail?: string }): Promise<void> {
    this.supervisor.ref.getSnapshot().context.refs['r']!.send(event);
    await settle();
  }

  /** How its incarnations ended. */
  get exits(): string[] {
    return this.reports.flatMap((report) => (report.type === 'child-exit' ? [`${report.reason}: ${report.detail}`] : []));
  }

  /** Restarts the supervisor's budget was charged with. */
  get charged(): number[] {
    return this.reports.flatMap((report) => (report.type === 'restart-authorised' ? [report.inWindow] : []));
  }

  #opened(lane: Lane): Lane {
    const kill = lane.kill.bind(lane);
    lane.kill = (reason, detail) => {
      this.deeds.push(`kill ${reason}`);
      kill(reason, detail);
    };
    this.lanes.push(lane);
    return lane;
  }
}
