/**
 * What this host knows of its devices: each but the CPU is probed at the start, fenced when it breaks under a replica,
 * and probed again after a while, for ever. Placement asks and is told of every change; this file moves nothing.
 */
import { afterFailure, type DeviceState, type Pause } from '../policy/devices.js';
import type { Clock, LaneFactory, TimerHandle } from '../ports.js';
import type { EventType } from '../protocol/events.js';
import { probeDevice, type Probe } from './probe.js';

export interface DevicesOptions {
  readonly ids: readonly string[];
  readonly clock: Clock;
  /** Where probes run: cells, so that a driver that crashes takes nobody along. */
  readonly lanes: () => LaneFactory;
  readonly changed: (device: string, state: DeviceState) => void;
  readonly tell: (type: EventType, reason: string, device: string) => void;
}

interface Device {
  state: DeviceState;
  pause: Pause | undefined;
  probe: Probe | undefined;
  timer: TimerHandle | undefined;
}

export class Devices {
  readonly #devices = new Map<string, Device>();
  #stopped = false;

  constructor(private readonly options: DevicesOptions) {
    for (const id of options.ids) this.#devices.set(id, { state: initial(id), pause: undefined, probe: undefined, timer: undefined });
  }

  get states(): ReadonlyMap<string, DeviceState> {
    return new Map([...this.#devices].map(([id, { state }]) => [id, state]));
  }

  start(): void {
    for (const [id, { state }] of this.#devices) if (state.state === 'probing') this.#probe(id);
  }

  /** It broke under a replica: nobody uses it until a probe says otherwise. */
  fence(id: string, reason: string): void {
    const device = this.#devices.get(id);
    // The CPU is where everything else falls back to: what breaks there is a replica.
    if (!device || id === 'cpu' || device.state.state !== 'usable' || this.#stopped) return;
    this.#failed(id, device, 'fenced', reason);
  }

  /** Probes under way end; resolves when their cells are gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const probes = [...this.#devices.values()].map(({ probe, timer }) => {
      this.options.clock.clearTimeout(timer);
      probe?.cancel();
      return probe?.ended;
    });
    await Promise.all(probes);
  }

  #probe(id: string): void {
    const device = this.#devices.get(id)!;
    if (this.#stopped) return;
    const probe = probeDevice(id, this.options.lanes(), this.options.clock);
    device.probe = probe;
    void probe.ended.then(() => {
      if (device.probe === probe) device.probe = undefined;
    });
    void probe.result.then(({ usable, reason }) => {
      if (this.#stopped) return;
      if (!usable) return this.#failed(id, device, device.state.state === 'fenced' ? 'fenced' : 'unusable', reason);
      device.state = { state: 'usable', reason };
      this.options.tell('device-usable', reason, id);
      this.options.changed(id, device.state);
    });
  }

  #failed(id: string, device: Device, state: 'fenced' | 'unusable', reason: string): void {
    const { clock, tell, changed } = this.options;
    const news = device.state.state !== state;
    device.pause = afterFailure(device.pause, reason, clock.now());
    const waitMs = device.pause.untilMs - clock.now();
    device.state = { state, reason };
    clock.clearTimeout(device.timer);
    device.timer = clock.setTimeout(() => this.#probe(id), waitMs);
    if (news) tell(state === 'fenced' ? 'device-fenced' : 'device-unusable', `${reason}; probed again in ${Math.round(waitMs / 1000)} s`, id);
    changed(id, device.state);
  }
}

function initial(id: string): DeviceState {
  return id === 'cpu' ? { state: 'usable', reason: 'always there' } : { state: 'probing', reason: 'being probed' };
}
