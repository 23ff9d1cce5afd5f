/** The host of `regrow start`: serves until a signal or its guardian asks it to stop, or its root supervisor gives up. */
import { connectGuardian, type GuardianLink } from '../adapters/process-guardian.js';
import { systemClock, systemRandom, wakefulClocksMs } from '../adapters/system-clock.js';
import { Host } from '../host/host.js';
import { packageVersion } from '../host/version.js';
import type { Log } from '../ports.js';
import type { HostSpec } from '../spec/host.js';
import { EXIT } from './exit.js';
import { readHostFile } from './host-file.js';
import { reloadHost } from './reload.js';
import { onSignals } from './signals.js';

/** Nothing but the end of the process stops a thread that hangs in native code. */
const ZOMBIES_MAX = 1;
/** Of a stop, beyond the drain and the replicas' own budgets: unsubscribing, telling, closing. */
const STOP_EXTRA_MS = 20_000;

/** @throws SpecError, DataDirLocked */
export async function serve(file: string, log: Log): Promise<number> {
  const guardian = connectGuardian();
  let started: Promise<Host> | undefined;
  let times: { readonly loopStallMs: number; readonly stopMs: number } | undefined;
  // Before there is a host, its file is about to be read anyway.
  const reload = (): void => void started?.then(async (host) => {
    const next = await reloadHost(host, file, log);
    // Other actors may take another time to stop; loopStallMs is a key of the host and stays what it was.
    if (next && times) guardian?.hello((times = { ...times, stopMs: stopMsOf(next) }));
  }, () => {});
  const stopAsked = whenAskedToStop(guardian, log, reload);
  try {
    const spec = readHostFile(file);
    times = { loopStallMs: spec.loopStallMs, stopMs: stopMsOf(spec) };
    guardian?.hello(times);
    started = Host.start(spec, { clock: systemClock, random: systemRandom, wakefulClocksMs, log, version: packageVersion(), zombiesMax: ZOMBIES_MAX });
    const host = await started;
    const code = await Promise.race([
      stopAsked.then(() => EXIT.ok), host.drainOrdered.then(() => EXIT.ok), host.conflict.then(() => EXIT.badSpec), host.ended.then(() => EXIT.gaveUp),
    ]);
    await host.stop();
    guardian?.stopped(code);
    if (host.zombies > 0) endDespiteZombies(host.zombies, log);
    return code;
  } finally {
    guardian?.close();
  }
}

/** A thread that never came back keeps a process from ending, and `process.exit` would wait for it as well. */
function endDespiteZombies(zombies: number, log: Log): void {
  log.log('error', 'zombies', { zombies, reason: 'everything is answered and stopped, but a thread does not end: ending the process by SIGKILL' });
  process.kill(process.pid, 'SIGKILL');
}

/** A second wish changes nothing: the drain has a deadline of its own, and whoever wants less has SIGKILL. */
function whenAskedToStop(guardian: GuardianLink | undefined, log: Log, reload: () => void): Promise<void> {
  return new Promise((resolve) => {
    const stop = (reason: string): void => {
      log.log('info', 'asked-to-stop', { reason });
      resolve();
    };
    onSignals({ stop, reload });
    guardian?.onMessage((message) => {
      if (message.type === 'drain') stop(message.reason);
      else if (message.type === 'reload') reload();
    });
    void guardian?.gone.then(() => stop('the guardian is gone'));
  });
}

/** The longest an orderly stop may take: others take over, the drain, then the pools one after the other, each within its budget. */
function stopMsOf({ drainMs, nats, actors }: HostSpec): number {
  return (nats ? 2 : 1) * drainMs + actors.reduce((sum, { shutdownMs }) => sum + shutdownMs, 0) + STOP_EXTRA_MS;
}
