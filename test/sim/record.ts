/** The event log of one simulated run: what happened, when, in the order it happened. Invariants read nothing else. */
import type { ExitReason } from '../../src/errors.js';
import type { FaultKind } from './plan.js';

export type Event =
  | {
      readonly type: 'submitted'; readonly request: string; readonly actor: string; readonly content: string; readonly idempotent: boolean;
      readonly executionsMax: number; readonly budgetMs: number; readonly via: 'host' | 'bus' | 'nested';
    }
  /** `end`: ok, canceled, or an error's code. */
  | {
      readonly type: 'ended'; readonly request: string; readonly end: string; readonly unknown?: true; readonly right?: boolean; readonly servedBy?: string;
      readonly message?: string; readonly device?: string; readonly degraded?: string;
    }
  | { readonly type: 'laneOpened'; readonly lane: number; readonly replica: string; readonly actor: string; readonly device: string; readonly isolation: 'process' | 'thread' }
  | { readonly type: 'laneSpawned' | 'laneLoading' | 'laneZombie'; readonly lane: number }
  | { readonly type: 'laneLoaded'; readonly lane: number; readonly ok: boolean; readonly fatal?: true }
  /** `request` undefined: a proof. */
  | { readonly type: 'runPosted'; readonly lane: number; readonly run: number; readonly request: string | undefined; readonly content: string }
  | { readonly type: 'runStarted'; readonly lane: number; readonly run: number }
  | { readonly type: 'runAnswered'; readonly lane: number; readonly run: number; readonly ok: boolean; readonly right: boolean; readonly fatal?: true }
  | { readonly type: 'laneStop'; readonly lane: number }
  /** `unheardMs`: for so long the run that goes on is over, and the host's loop has not come to hear of it. */
  | { readonly type: 'laneKill'; readonly lane: number; readonly reason: ExitReason; readonly detail: string; readonly unheardMs: number }
  | { readonly type: 'laneFrozen' | 'laneThawed' | 'laneSlow' | 'laneSwift' | 'laneDead'; readonly lane: number }
  | { readonly type: 'laneExited'; readonly lane: number; readonly reason: ExitReason; readonly detail: string }
  | { readonly type: 'subscribed' | 'unsubscribed'; readonly actor: string }
  /** From now on its answers are wrong. */
  | { readonly type: 'laneTurned'; readonly lane: number; readonly how: 'wrong' | 'nan' }
  /** Another edition of one actor is to be served. `proves`: its replicas can. */
  | { readonly type: 'applyAsked'; readonly actor: string; readonly version: string; readonly replicas: number; readonly proves: boolean }
  | { readonly type: 'applyEnded'; readonly actor: string; readonly change: string; readonly reason: string }
  | { readonly type: 'busClosed' | 'busDown' | 'busUp' | 'stopAsked' | 'stopped' | 'calm' }
  /** The host asks a device whether it computes. `usable`: what the device answered. */
  | { readonly type: 'probeOpened' | 'probeEnded'; readonly probe: number; readonly device: string }
  | { readonly type: 'probeAnswered'; readonly probe: number; readonly device: string; readonly usable: boolean }
  /** What the host wrote into its log. */
  | { readonly type: 'told'; readonly event: string; readonly actor?: string; readonly replica?: string; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly type: 'stalled'; readonly ms: number }
  /** `bit`: it hit something. */
  | { readonly type: 'fault'; readonly kind: FaultKind; readonly target: string; readonly bit: boolean };

export type Entry = Event & { readonly atMs: number };

export class Recorder {
  readonly entries: Entry[] = [];
  constructor(private readonly nowMs: () => number) {}

  add(event: Event): void {
    this.entries.push({ atMs: this.nowMs(), ...event });
  }
}

export function lineOf({ atMs, type, ...rest }: Entry): string {
  return `${atMs.toFixed(3).padStart(10)} ${type} ${JSON.stringify(rest)}`;
}
