/**
 * `regrow apply FILE` and `regrow restart ACTOR`: change what a running host serves, without a failed request. A file of
 * nothing but actors is for the cluster, unless a host is named: it becomes desired state (desired.ts).
 */
import { resolve } from 'node:path';
import type { CliValues } from '../cli.js';
import type { ApplyResult } from '../host/apply.js';
import { EXIT, UsageError } from './exit.js';
import { isActorFile } from '../spec/desired.js';
import { applyDesired } from './desired.js';
import { orderDocument, parseDocument } from './host-file.js';
import { openOrders } from './orders.js';

export async function applyCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [file] = operands;
  if (file === undefined) throw new UsageError('apply needs a file of actors, or a host file');
  if (values.host === undefined && isActorFile(parseDocument(resolve(file)))) {
    process.stderr.write(`${file} has nothing but actors: desired state of the whole cluster (--host ID gives it to one host)\n`);
    return applyDesired(file, values);
  }
  const [meant] = (['prune', 'wait', 'revision'] as const).filter((option) => values[option] !== undefined);
  if (meant) throw new UsageError(`--${meant} is for the desired state of a cluster; ${values.host === undefined ? `${file} is a host file` : '--host means one host'}`);
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
