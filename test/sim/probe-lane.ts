/**
 * The lane of a probe: a cell that loads the probe's model on a device and answers its question right, or is told by the
 * device that it is gone, or dies of it. It is no replica, so it is recorded apart from the lanes of actors; nothing
 * freezes it.
 */
import type { ExitReason } from '../../src/errors.js';
import { probeOutputs } from '../../src/host/probe-model.js';
import type { Clock, Lane, LaneExit, LaneOrder, LoadReply, RunReply } from '../../src/ports.js';
import type { Chance } from './chance.js';
import type { Recorder } from './record.js';

export interface ProbeWorld {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly recorder: Recorder;
  deviceFails(device: string): boolean;
}

export class ProbeLane implements Lane {
  readonly pid = 1;
  readonly threadId = 1;
  readonly memoryBytes = 0;
  readonly spawned = Promise.resolve();
  #exit: LaneExit | undefined;
  #listeners: ((exit: LaneExit) => void)[] = [];
  #load: ((reply: LoadReply) => void) | undefined;
  #run: ((reply: RunReply | undefined) => void) | undefined;

  constructor(readonly number: number, private readonly order: LaneOrder, private readonly world: ProbeWorld) {
    world.recorder.add({ type: 'probeOpened', probe: number, device: this.device });
  }

  get device(): string { return this.order.load.device; }
  get alive(): boolean { return this.#exit === undefined; }

  load(): Promise<LoadReply> {
    return new Promise((resolve) => {
      this.#load = resolve;
      this.#after(this.world.chance.real(20, 200), () => {
        this.#load = undefined;
        if (!this.world.deviceFails(this.device)) return resolve({ ok: true, runtime: 'sim', loadMs: 1 });
        this.#answered(false);
        // A driver that is gone takes some of those who ask along.
        if (this.world.chance.flip(0.3)) {
          this.#load = resolve;
          return this.#end('crashed', 'SIGSEGV');
        }
        resolve({ ok: false, message: `${this.device} is gone`, permanent: false, deviceFatal: true });
      });
    });
  }

  run(): Promise<RunReply | undefined> {
    return new Promise((resolve) => {
      this.#run = resolve;
      this.#after(this.world.chance.real(1, 5), () => {
        this.#run = undefined;
        const fails = this.world.deviceFails(this.device);
        this.#answered(!fails);
        resolve(fails ? { ok: false, code: 'INTERNAL', message: `${this.device} failed`, deviceFatal: true } : { ok: true, outputs: probeOutputs, runMs: 1 });
      });
    });
  }

  cancel(): void {}
  ping(): Promise<boolean> { return Promise.resolve(this.alive); }
  stop(): void { this.#after(2, () => this.#end('shutdown', 'stopped')); }
  kill(reason: ExitReason, detail: string): void { this.#after(3, () => this.#end(reason, detail)); }

  onExit(listener: (exit: LaneExit) => void): void {
    const exit = this.#exit;
    if (exit) queueMicrotask(() => listener(exit));
    else this.#listeners.push(listener);
  }

  #after(ms: number, then: () => void): void {
    this.world.clock.setTimeout(() => {
      if (this.alive) then();
    }, ms);
  }

  #answered(usable: boolean): void {
    this.world.recorder.add({ type: 'probeAnswered', probe: this.number, device: this.device, usable });
  }

  #end(reason: ExitReason, detail: string): void {
    if (this.#exit) return;
    this.#exit = { reason, detail };
    this.world.recorder.add({ type: 'probeEnded', probe: this.number, device: this.device });
    this.#load?.({ ok: false, message: `the lane ended before the load was answered: ${detail}`, permanent: false, deviceFatal: false });
    this.#run?.(undefined);
    for (const listener of this.#listeners) listener(this.#exit);
  }
}
