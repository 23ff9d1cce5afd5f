/** `regrow apply FILE` and `regrow restart ACTOR`: change what a running host serves, without a failed request. */
import type { CliValues } from '../cli.js';
import type { ApplyResult } from '../host/apply.js';
import { EXIT, UsageError } from './exit.js';
import { orderDocument } from './host-file.js';
import { openOrders } from './orders.js';

export async function applyCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [file] = operands;
  if (file === undefined) throw new UsageError('apply needs a host file');
  const spec = orderDocument(file);
  await using orders = await openOrders(values);
  const result = (await orders.give('apply', { spec })) as unknown as ApplyResult;
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : `${changesTable(result)}The host reads its own file again at its next start; make the same change there.\n`);
  return exitOf(result);
}

export async function restartCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [actor] = operands;
  if (actor === undefined) throw new UsageError('restart needs the name of an actor');
  await using orders = await openOrders(values);
  const result = (await orders.give('restart', { actor })) as unknown as ApplyResult;
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : changesTable(result));
  return exitOf(result);
}

function exitOf({ changes }: ApplyResult): number {
  return changes.some(({ change }) => change === 'refused') ? EXIT.requestFailed : EXIT.ok;
}

/** One line per actor, then the host keys that did not take effect. */
export function changesTable({ changes, needRestart }: ApplyResult): string {
  const width = Math.max(0, ...changes.map(({ actor }) => actor.length));
  const lines = changes.map(({ actor, change, reason }) => `${actor.padEnd(width)}  ${change.padEnd(9)}  ${reason}`);
  if (changes.length === 0) lines.push('no actors');
  if (needRestart.length > 0) lines.push(`not changed before the host is started again: ${needRestart.join(', ')}`);
  return `${lines.join('\n')}\n`;
}
