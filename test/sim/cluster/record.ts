/** The event log of one simulated cluster: what happened where, in the order it happened. Invariants read nothing else. */
import { Recorder, type Event } from '../record.js';
import type { ClusterFaultKind } from './plan.js';

export type Via = 'client' | 'bus' | 'host';

export type ClusterEvent =
  | {
      readonly type: 'asked'; readonly request: string; readonly actor: string; readonly content: string; readonly via: Via; readonly idempotent: boolean; readonly budgetMs: number;
      /** Of the caller's clock. */
      readonly rate: number;
      readonly executionsMax: number;
      /** Hosts that could answer it then, as far as the world knows. */
      readonly well: readonly string[];
    }
  | {
      readonly type: 'answered'; readonly request: string; readonly end: string; readonly unknown?: true; readonly right?: boolean; readonly servedBy?: string;
      readonly message?: string; readonly attempts?: number;
      /** Of a singleton, and by which process. */
      readonly epoch?: number; readonly incarnation?: string;
      /** Of `well` those that nothing happened to meanwhile. */
      readonly well: readonly string[];
      /** The caller's own link or clock stood still meanwhile, or the broker did. */
      readonly callerHit: boolean;
    }
  /** An inference is on its way to a host; `well`: it can get there. */
  | { readonly type: 'carried'; readonly request: string; readonly host: string; readonly well: boolean }
  | { readonly type: 'hostStarts' | 'hostSettled' | 'hostCrashes' | 'hostFreezes' | 'hostWakes' | 'hostStopAsked' | 'hostStopped' | 'hostIll' | 'hostWell'; readonly host: string }
  /** A renewal of the process's lease that it sent then was acknowledged. `sentMs` by the true clock. */
  | { readonly type: 'renewed'; readonly host: string; readonly sentMs: number }
  /** The store took a write. */
  | { readonly type: 'written'; readonly host: string; readonly what: string; readonly key: string; readonly value: string }
  | { readonly type: 'world'; readonly kind: 'brokerDown' | 'brokerUp' | 'calm' | 'converged' }
  | { readonly type: 'struck'; readonly kind: ClusterFaultKind; readonly target: string; readonly bit: boolean };

export type HostEvent = Event & { readonly host: string };
export type ClusterEntry = (ClusterEvent | HostEvent) & { readonly atMs: number };

export class Log {
  readonly entries: ClusterEntry[] = [];
  constructor(private readonly nowMs: () => number) {}

  add(event: ClusterEvent | HostEvent): void {
    this.entries.push({ atMs: this.nowMs(), ...event });
  }

  /** For the parts of one host, which know nothing of the others. */
  of(host: string): Recorder {
    return new HostRecorder(host, this, this.nowMs);
  }
}

class HostRecorder extends Recorder {
  constructor(private readonly host: string, private readonly log: Log, nowMs: () => number) {
    super(nowMs);
  }

  override add(event: Event): void {
    this.log.add({ ...event, host: this.host });
  }
}

export function lineOf({ atMs, type, ...rest }: ClusterEntry): string {
  return `${atMs.toFixed(3).padStart(10)} ${type} ${JSON.stringify(rest)}`;
}
