/**
 * The guardian: the host's own parent, a supervisor with one child that is a process.
 *
 * The host is a transient, significant child: an exit that is final ends the supervisor and with it this process, any
 * other is answered by a restart within the budget. Assumes that the host greets and beats (adapters/process-guardian).
 * It loads no spec, no bus, no model: what can break a host must not be able to break the one who restarts it.
 */
import type { HostProcess } from './adapters/process-group.js';
import { exitCodeOf, isFinal, type HostEnd } from './guardian/exit-code.js';
import { HostLife } from './guardian/host-life.js';
import type { Clock, Log, Random } from './ports.js';
import { createSupervisor, worker, type SupervisorReport } from './supervision/index.js';

/**
 * Six crashes within a minute and the guardian gives up, about 8 s after a host began to crash at every start. Slower
 * crashes are answered for ever: a host that serves half of the time is worth more than none.
 */
export const INTENSITY = 5;
export const PERIOD_MS = 60_000;
export const BACKOFF = { minMs: 250, maxMs: 5000, factor: 2, jitter: 0.2 } as const;
export const RESET_AFTER_MS = 60_000;

export interface GuardianOutside {
  readonly clock: Clock;
  readonly random: Pick<Random, 'next'>;
  readonly log: Log;
  readonly startHost: () => HostProcess;
}

export interface Guardian {
  /** Resolves with the exit code for this process, when no host is left. */
  readonly ended: Promise<number>;
  /** The host drains and ends, and nothing is restarted. A second call changes nothing. */
  stop(reason: string): void;
  /** Passed on to the host. */
  reload(): void;
}

/** Starts the first host at once. */
export function startGuardian({ clock, random, log, startHost }: GuardianOutside): Guardian {
  let running: HostProcess | undefined;
  let last: HostEnd | undefined;
  let stopReason: string | undefined;

  const host = worker(async ({ signal, incarnation, ready }) => {
    const process = startHost();
    const { pid } = process;
    log.log('info', 'guardian-host-started', { hostPid: pid, start: incarnation });
    const life = new HostLife(process, clock, ready);
    // Aborted before the first line of this function only if it was stopped in the turn it was started in.
    const stop = (): void => life.stop(stopReason ?? 'its guardian ends');
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    running = process;
    last = await life.ended;
    running = undefined;
    const { reason, detail, code } = last;
    const ok = isFinal(last);
    log.log(ok ? 'info' : 'error', 'guardian-host-ended', { hostPid: pid, reason, detail });
    if (!ok) throw new Error(`${reason}: ${detail}`);
    if (code !== 0 && !signal.aborted) log.log('info', 'guardian-passes-exit', { code, reason: 'another start would end the same way' });
  });

  const supervisor = createSupervisor({
    id: 'guardian',
    clock,
    random,
    intensity: INTENSITY,
    periodMs: PERIOD_MS,
    backoff: BACKOFF,
    resetAfterMs: RESET_AFTER_MS,
    initialStart: 'retry',
    autoShutdown: 'any_significant',
    onReport: (report) => tellRestart(log, report, last),
    // Its own deadline, which the host told, ends a drain; one given here could not know it.
    children: [{ id: 'host', type: 'worker', restart: 'transient', significant: true, shutdown: 'infinity', start: { logic: host } }],
  });
  void supervisor.start();

  return {
    ended: supervisor.ended.then(({ detail }) => exitCodeOf(detail, last)),
    stop(reason) {
      log.log('info', 'guardian-stops-host', { reason: stopReason === undefined ? reason : `${reason}; already stopping` });
      if (stopReason !== undefined) return;
      stopReason = reason;
      last = undefined;
      void supervisor.stop();
    },
    reload: () => running?.send({ type: 'reload' }),
  };
}

function tellRestart(log: Log, report: SupervisorReport, last: HostEnd | undefined): void {
  const why = last && { reason: last.reason, detail: last.detail };
  if (report.type === 'restart-authorised') {
    const { delayMs, inWindow, intensity } = report;
    log.log('warn', 'guardian-restarts-host', { ...why, delayMs: Math.round(delayMs), restarts: inWindow, restartsMax: intensity, periodMs: PERIOD_MS });
  } else if (report.type === 'gave-up') {
    log.log('error', 'guardian-gave-up', { ...why, restarts: report.inWindow - 1, restartsMax: report.intensity, periodMs: PERIOD_MS });
  }
}

export interface StartWish {
  readonly pid: number;
  /** `--no-guardian`. */
  readonly declined: boolean;
  /** The key `guardian` of the host file, unchecked. */
  readonly key: unknown;
}

/** `reason` is worth a line in the log where the operator did not choose it. */
export function guardianWanted({ pid, declined, key }: StartWish): { readonly wanted: true } | { readonly wanted: false; readonly reason?: string } {
  if (declined || key === false) return { wanted: false };
  if (pid === 1) return { wanted: false, reason: 'this is process 1: whoever runs the container restarts it, and a guardian here would have to reap what it did not start' };
  return { wanted: true };
}
