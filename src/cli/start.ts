/** `regrow start [host.json]` */
import { existsSync } from 'node:fs';
import { createPinoLog } from '../adapters/pino-log.js';
import { systemClock, systemRandom } from '../adapters/system-clock.js';
import { Host } from '../host/host.js';
import { packageVersion } from '../host/version.js';
import { EXIT, UsageError } from './exit.js';
import { readHostFile } from './host-file.js';

const DEFAULT_FILE = 'host.json';

export async function startCommand(operands: readonly string[]): Promise<number> {
  const file = operands[0] ?? DEFAULT_FILE;
  if (operands[0] === undefined && !existsSync(file)) throw new UsageError(`start needs a host file: there is no ${DEFAULT_FILE} in this folder`);
  const spec = readHostFile(file);
  const log = createPinoLog();
  const host = await Host.start(spec, { clock: systemClock, random: systemRandom, log, version: packageVersion() });
  return serveUntilSignal(host, (event, fields) => log.log('info', event, fields));
}

/**
 * Drains on SIGINT or SIGTERM and gives 0; gives 70 when the root supervisor gave up. A second signal changes nothing: the
 * drain has a deadline of its own, and whoever wants less has SIGKILL.
 */
export async function serveUntilSignal(host: Host, say: (event: string, fields: Record<string, unknown>) => void): Promise<number> {
  let signaled = false;
  const stopped = new Promise<void>((resolve, reject) => {
    const stop = (signal: NodeJS.Signals): void => {
      say('signal', { signal, reason: signaled ? 'already draining' : 'draining' });
      if (signaled) return;
      signaled = true;
      host.stop().then(resolve, reject);
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
  const gaveUp = await Promise.race([stopped.then(() => false), host.ended.then(() => !signaled)]);
  if (!gaveUp) await stopped;
  return gaveUp ? EXIT.gaveUp : EXIT.ok;
}
