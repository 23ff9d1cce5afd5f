/**
 * `regrow start [host.json]`: as the guardian of a host, which is this command again with --no-guardian, or as that host.
 * What only a host needs is loaded only there.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createPinoLog } from '../adapters/pino-log.js';
import { startHostProcess } from '../adapters/process-group.js';
import { systemClock, systemRandom } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { guardianWanted, startGuardian } from '../guardian.js';
import type { Log } from '../ports.js';
import { UsageError } from './exit.js';
import { onSignals } from './signals.js';

const DEFAULT_FILE = 'host.json';
const COMMAND = fileURLToPath(new URL('../cli.js', import.meta.url));

export async function startCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const file = operands[0] ?? DEFAULT_FILE;
  if (operands[0] === undefined && !existsSync(file)) throw new UsageError(`start needs a host file: there is no ${DEFAULT_FILE} in this folder`);
  const log = createPinoLog();
  const guardian = guardianWanted({ pid: process.pid, declined: values['no-guardian'] === true, key: guardianKeyOf(file) });
  if (guardian.wanted) return guard(log);
  if (guardian.reason !== undefined) log.log('info', 'no-guardian', { reason: guardian.reason });
  const { serve } = await import('./serve.js');
  return serve(file, log);
}

function guard(log: Log): Promise<number> {
  const guardian = startGuardian({
    clock: systemClock,
    random: systemRandom,
    log,
    startHost: () => startHostProcess([COMMAND, '--no-guardian', ...process.argv.slice(2)]),
  });
  onSignals({ stop: (signal) => guardian.stop(signal), reload: () => guardian.reload() });
  return guardian.ended;
}

/** Unchecked, and undefined where the file cannot be read: the host reads it again and says what is wrong with it. */
function guardianKeyOf(file: string): unknown {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { guardian?: unknown } | null)?.guardian;
  } catch {
    return undefined;
  }
}
