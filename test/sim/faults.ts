/**
 * Brings the planned faults about. A fault hits what is there when its time has come; those that need a lane in a
 * passing state (loading, proving, ...) strike down a ready lane and wait for its successor to get there.
 */
import type { LaneStep, SimLane } from './lane.js';
import type { FaultPlan } from './plan.js';
import type { Recorder } from './record.js';
import type { SimTime } from './sim-time.js';

/** What strikes the host as a whole. */
export interface HostFaults {
  /** @returns whether it was asked for: one roll-out at a time */
  rollOut(fault: FaultPlan): boolean;
  busDown(): boolean;
  busUp(): void;
}

interface Trap {
  readonly fault: FaultPlan;
  readonly step: LaneStep;
  left: number;
}

const trapSteps: Partial<Record<FaultPlan['kind'], LaneStep>> = {
  'die-spawning': 'spawning', 'die-loading': 'loading', 'die-proving': 'proving', 'load-failure': 'loading', 'prove-failure': 'spawning',
  'load-fatal': 'loading',
};

const STALLS_APART_MS = 1000;

export class Faults {
  #traps: Trap[] = [];
  #over = false;
  #stalledUntilMs = -Infinity;
  /** Devices that are gone for a while, and whether anybody has noticed yet. */
  readonly #lost = new Map<string, { untilMs: number; noticed: boolean }>();
  /** Faults that last end then. */
  lastMs = 0;

  constructor(
    private readonly time: SimTime,
    private readonly recorder: Recorder,
    private readonly lanes: readonly SimLane[],
    private readonly host: HostFaults,
  ) {}

  strike(fault: FaultPlan): void {
    if (this.#over) return;
    const step = trapSteps[fault.kind];
    if (step) {
      this.#traps.push({ fault, step, left: fault.kind === 'load-failure' || fault.kind === 'prove-failure' ? fault.count : 1 });
      this.#one(fault, () => true)?.die('crashed', 'exit code 1'); // so that there is a successor
      return;
    }
    switch (fault.kind) {
      case 'die-running':
      case 'die-idle': {
        const lane = this.#one(fault, (candidate) => candidate.running === (fault.kind === 'die-running')) ?? this.#one(fault, () => true);
        this.#note(fault, lane);
        lane?.die(fault.chance < 0.5 && lane.isolation === 'process' ? 'killed' : 'crashed', 'simulated');
        break;
      }
      case 'mass-death': {
        const there = this.#there(fault.actor, false);
        const doomed = [...there.filter((lane) => lane.running), ...there.filter((lane) => !lane.running)].slice(0, fault.count + 1);
        this.recorder.add({ type: 'fault', kind: fault.kind, target: `${doomed.length}`, bit: doomed.length > 1 });
        doomed.forEach((lane, index) => this.#until((index * 90 * fault.chance) / fault.count, () => lane.die('crashed', 'simulated')));
        break;
      }
      case 'freeze': {
        const lane = this.#one(fault, (candidate) => candidate.isolation === 'process' && !candidate.frozen);
        this.#note(fault, lane);
        if (!lane) break;
        lane.freeze();
        this.#until(fault.durationMs, () => lane.thaw());
        break;
      }
      case 'hang': {
        const lane = this.#one(fault, (candidate) => candidate.running);
        this.#note(fault, lane);
        lane?.stick();
        break;
      }
      case 'slow': {
        const lane = this.#one(fault, (candidate) => candidate.slowness === 1);
        this.#note(fault, lane);
        if (!lane) break;
        lane.slowness = fault.factor;
        this.recorder.add({ type: 'laneSlow', lane: lane.number });
        this.#until(fault.durationMs, () => {
          lane.slowness = 1;
          this.recorder.add({ type: 'laneSwift', lane: lane.number });
        });
        break;
      }
      case 'turn-wrong':
      case 'turn-nan': {
        // Without a golden nobody could find out, and NaN would go on for ever.
        const lane = this.#one(fault, (candidate) => candidate.actor.hasGolden && candidate.proved && !candidate.lie);
        this.#note(fault, lane);
        lane?.turn(fault.kind === 'turn-nan' ? 'nan' : 'wrong');
        break;
      }
      case 'roll-out':
      case 'bad-roll-out': {
        this.recorder.add({ type: 'fault', kind: fault.kind, target: fault.actor, bit: this.host.rollOut(fault) });
        break;
      }
      case 'hang-re-proof': {
        // It notes itself when such a proof comes.
        this.#one(fault, (candidate) => candidate.proved && candidate.idle)?.stickProof();
        break;
      }
      case 'context-poisoned': {
        const lane = this.#one(fault, (candidate) => candidate.device !== 'cpu' && !candidate.poisoned);
        this.#note(fault, lane);
        if (lane) lane.poisoned = true;
        break;
      }
      case 'device-lost': {
        const untilMs = this.time.now() + fault.durationMs;
        this.#lost.set(fault.device!, { untilMs: Math.max(untilMs, this.#lost.get(fault.device!)?.untilMs ?? 0), noticed: false });
        this.lastMs = Math.max(this.lastMs, untilMs);
        break;
      }
      case 'bus-outage': {
        const bit = this.host.busDown();
        this.recorder.add({ type: 'fault', kind: fault.kind, target: 'bus', bit });
        if (bit) this.#until(fault.durationMs, () => this.host.busUp());
        break;
      }
      case 'stall': {
        // What waited for the loop is heard before it stands still again, or nothing could be told from anything.
        const bit = this.time.now() - this.#stalledUntilMs > STALLS_APART_MS;
        this.recorder.add({ type: 'fault', kind: fault.kind, target: 'host', bit });
        if (!bit) break;
        this.recorder.add({ type: 'stalled', ms: fault.durationMs });
        this.time.stall(fault.durationMs);
        this.#stalledUntilMs = this.time.now();
        break;
      }
    }
    this.lastMs = Math.max(this.lastMs, this.time.now());
  }

  /** A lane got to a step: perhaps somebody waits for it there. */
  reached(lane: SimLane, step: LaneStep): void {
    const trap = this.#traps.find((candidate) => candidate.step === step && candidate.fault.actor === lane.actor.name);
    // Without a golden nobody could tell a liar, so there it would prove nothing.
    if (!trap || (trap.fault.kind === 'prove-failure' && !lane.actor.hasGolden) || (trap.fault.kind === 'load-fatal' && lane.device === 'cpu')) return;
    if (--trap.left <= 0) this.#traps.splice(this.#traps.indexOf(trap), 1);
    const { fault } = trap;
    this.#note(fault, lane);
    if (fault.kind === 'load-failure') lane.unloadable = fault.chance < 0.3 ? 'permanent' : 'passing';
    else if (fault.kind === 'load-fatal') lane.unloadable = 'fatal';
    else if (fault.kind === 'prove-failure') lane.lie = 'wrong';
    else this.#until(lane.actor[step === 'loading' ? 'loadMs' : step === 'proving' ? 'serviceMs' : 'spawnMs'] * 0.3, () => lane.die('crashed', `simulated while ${step}`));
    this.lastMs = Math.max(this.lastMs, this.time.now());
  }

  /** Whether whatever computes on the device fails now, because it is gone. */
  deviceFails(device: string): boolean {
    const loss = this.#lost.get(device);
    if (!loss || this.time.now() >= loss.untilMs) return false;
    if (!loss.noticed) this.recorder.add({ type: 'fault', kind: 'device-lost', target: device, bit: true });
    loss.noticed = true;
    return true;
  }

  /** No fault strikes any more. */
  end(): void {
    this.#over = true;
    this.#traps = [];
    for (const lane of this.lanes) lane.unstick();
  }

  #until(durationMs: number, undo: () => void): void {
    this.lastMs = Math.max(this.lastMs, this.time.now() + durationMs);
    this.time.setTimeout(undo, durationMs);
  }

  #there(actor: string, only: boolean): SimLane[] {
    const alive = this.lanes.filter((lane) => lane.hittable && lane.step !== 'spawning');
    const own = alive.filter((lane) => lane.actor.name === actor);
    return only ? own : [...own, ...alive.filter((lane) => lane.actor.name !== actor)];
  }

  /** Of the actor if it has such a lane, else of any. */
  #one(fault: FaultPlan, fits: (lane: SimLane) => boolean): SimLane | undefined {
    const own = this.#there(fault.actor, true).filter(fits);
    const fitting = own.length > 0 ? own : this.#there(fault.actor, false).filter(fits);
    return fitting[Math.floor(fault.chance * fitting.length)];
  }

  #note(fault: FaultPlan, lane: SimLane | undefined): void {
    this.recorder.add({ type: 'fault', kind: fault.kind, target: lane?.replica ?? 'nothing', bit: lane !== undefined });
  }
}
