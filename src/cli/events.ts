/** `regrow events [--json]` */
import type { CliValues } from '../cli.js';
import type { RegrowEvent } from '../protocol/events.js';
import { EXIT } from './exit.js';
import { connectedBus } from './remote.js';

export async function eventsCommand(_operands: readonly string[], values: CliValues): Promise<number> {
  const { bus, subjects } = await connectedBus(values);
  process.stderr.write(`bus up: ${bus.detail}\n`);
  bus.onState((state, detail) => process.stderr.write(`bus ${state}: ${detail}\n`));
  bus.subscribe(subjects.eventsOfAll, (message) => {
    const text = new TextDecoder().decode(message.data);
    process.stdout.write(values.json ? `${text}\n` : `${eventLine(JSON.parse(text) as RegrowEvent)}\n`);
  });
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  await bus.close();
  return EXIT.ok;
}

export function eventLine({ time, host, type, actor, replica, reason }: RegrowEvent): string {
  return [time, host, type, replica ?? actor, reason].filter(Boolean).join('  ');
}
