/** `regrow eject REPLICA` and `regrow drain HOST` */
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import { EXIT, UsageError } from './exit.js';
import { openOrders } from './orders.js';

const LOOK_EVERY_MS = 250;

export async function ejectCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [replica] = operands;
  if (replica === undefined) throw new UsageError('eject needs the id of a replica; regrow status shows them');
  await using orders = await openOrders(values);
  await orders.give('eject', { replica });
  process.stdout.write(`${replica} was replaced on ${orders.host}\n`);
  return EXIT.ok;
}

/** Returns when the host has answered everything it accepted and is gone. Its own drainMs bounds that. */
export async function drainCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const host = operands[0] ?? values.host;
  if (host === undefined) throw new UsageError('drain needs the id of a host; regrow status shows it');
  await using orders = await openOrders(values, host);
  const before = await orders.status();
  await orders.give('drain');
  process.stderr.write(`${host} drains\n`);
  // Another incarnation under the same id has been started by whoever runs it; the one that was asked is gone.
  while ((await orders.status())?.incarnation === before?.incarnation && before !== undefined) await pause();
  process.stdout.write(`${host} has drained and stopped\n`);
  return EXIT.ok;
}

function pause(): Promise<void> {
  return new Promise((resolve) => void systemClock.setTimeout(resolve, LOOK_EVERY_MS));
}
