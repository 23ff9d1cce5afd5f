/**
 * Options of one supervisor and their defaults in one visible place: without configuration it is exact OTP (1 restart in
 * 5 s, no backoff, no other limit). Relations between the numbers (`budgetReachable`) are checked where specs are parsed.
 */
import type { Backoff } from '../policy/backoff.js';
import type { AutoShutdown, Strategy } from '../policy/restart.js';
import type { ChildSpec, SupervisionEnvironment } from './child.js';

export interface SupervisorOptions {
  /** Started in this order. */
  readonly children?: readonly ChildSpec[];
  /** Who is restarted along with a failed child. Default `one_for_one`. */
  readonly strategy?: Strategy;
  /** Restarts tolerated within `periodMs`; one more and the supervisor stops everything and ends. Default 1. */
  readonly intensity?: number;
  /** Default 5000. */
  readonly periodMs?: number;
  /** Whether the end of significant children ends the supervisor. Default `never`. */
  readonly autoShutdown?: AutoShutdown;
  /** `ready` (default): a start blocks until `child.started`. `spawned`: starts go side by side and nothing waits for them. */
  readonly startedWhen?: 'ready' | 'spawned';
  /** What a failing start at boot means: `fail` (default) the supervisor does not come up, `retry` it is a crash. */
  readonly initialStart?: 'fail' | 'retry';
  /** Waits between the failures of one child. Default: none. Argues with intensity and periodMs, see budgetReachable. */
  readonly backoff?: Backoff;
  /** Unbroken readiness that makes a child's failures forgotten. Default 60000. Matters with backoff or consecutiveMax only. */
  readonly resetAfterMs?: number;
  /** Failures in a row one child may have; one more and the supervisor gives up. Default: no limit. */
  readonly consecutiveMax?: number;
  /** Exits within this time after a counted one count with it. Default 0: each counts. */
  readonly exitsCoalesceMs?: number;
  /** A worker that has not started after this long is killed and its start has failed. Default: no limit. */
  readonly startTimeoutMs?: number;
  /** `parallel` is for equal children that do not depend on each other. Default `reverse`. */
  readonly stopOrder?: 'reverse' | 'parallel';
  /** How long a killed child may take to go before it is reported as a zombie and left behind. Default 1000. */
  readonly killGraceMs?: number;
  /**
   * Incarnations of earlier children, by id; kept up to date here. Share one map between supervisors whose children may
   * have each other's ids, and no incarnation number is given twice. Default: none, numbers begin at 1.
   */
  readonly incarnations?: Map<string, number>;
}

/** What may be changed while a supervisor runs (`reconfigure`). What is absent stays as it is. */
export type RestartLimits = Pick<SupervisorOptions, 'intensity' | 'periodMs' | 'backoff' | 'resetAfterMs' | 'consecutiveMax'>;

export const supervisorDefaults = {
  children: [],
  strategy: 'one_for_one',
  intensity: 1,
  periodMs: 5000,
  autoShutdown: 'never',
  startedWhen: 'ready',
  initialStart: 'fail',
  backoff: undefined,
  resetAfterMs: 60_000,
  consecutiveMax: Infinity,
  exitsCoalesceMs: 0,
  startTimeoutMs: Infinity,
  stopOrder: 'reverse',
  killGraceMs: 1000,
  incarnations: undefined,
} as const satisfies Omit<Required<SupervisorOptions>, Optional> & Readonly<Record<Optional, undefined>>;

type Optional = 'backoff' | 'incarnations';

export type SupervisorSettings = Readonly<Required<Omit<SupervisorOptions, Optional>>> & { readonly [Option in Optional]: SupervisorOptions[Option] | undefined };

const defaults: SupervisorSettings = supervisorDefaults;

/** @param before what holds where an option is absent */
export function settingsOf(options: SupervisorOptions, before: SupervisorSettings = defaults): SupervisorSettings {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...before, ...(Object.fromEntries(given) as SupervisorOptions) } as SupervisorSettings;
}

/** Input of the supervisor's machine; under another supervisor all but `options` comes from there. */
export interface SupervisorInput {
  readonly id: string;
  readonly incarnation: number;
  readonly environment: SupervisionEnvironment;
  readonly options: SupervisorOptions;
}
