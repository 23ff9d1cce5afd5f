/** `regrow dead-letters [list|show|replay|clear] [ID]`: the requests that ended replicas. */
import type { CliValues } from '../cli.js';
import type { ReplayResult } from '../host/dead-letter-orders.js';
import type { DeadLetter } from '../host/dead-letters.js';
import { EXIT, UsageError } from './exit.js';
import { openOrders, type Orders } from './orders.js';

type Action = (orders: Orders, id: string | undefined, values: CliValues) => Promise<number>;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

const actions: Readonly<Record<string, Action>> = {
  async list(orders, _id, { json }) {
    const { letters } = (await orders.give('dead-letters', { action: 'list' })) as unknown as { letters: DeadLetter[] };
    if (json) print(JSON.stringify(letters));
    else print(letters.length === 0 ? `no dead letters on ${orders.host}` : letters.map(line).join('\n'));
    return EXIT.ok;
  },
  async show(orders, id, { json }) {
    const shown = (await orders.give('dead-letters', { action: 'show', id })) as unknown as { letter: DeadLetter; contentOmitted?: string };
    print(json ? JSON.stringify(shown) : details(shown.letter, shown.contentOmitted));
    return EXIT.ok;
  },
  async replay(orders, id, { json }) {
    const result = (await orders.give('dead-letters', { action: 'replay', id })) as unknown as ReplayResult;
    print(json ? JSON.stringify(result) : `${result.result}\nquarantine: ${result.quarantine}`);
    return result.ok ? EXIT.ok : EXIT.requestFailed;
  },
  async clear(orders, id) {
    const { cleared } = await orders.give('dead-letters', { action: 'clear', ...(id !== undefined && { id }) });
    print(`${String(cleared)} cleared on ${orders.host}`);
    return EXIT.ok;
  },
};

export async function deadLettersCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [name = 'list', id] = operands;
  if (!Object.hasOwn(actions, name)) throw new UsageError(`dead-letters cannot ${name}; it can ${Object.keys(actions).join(', ')}`);
  if (id === undefined && (name === 'show' || name === 'replay')) throw new UsageError(`dead-letters ${name} needs the id of a letter; regrow dead-letters lists them`);
  await using orders = await openOrders(values);
  return await actions[name]!(orders, id, values); // before the connection is closed
}

function line({ id, time, actor, times, exit, inputs, request }: DeadLetter): string {
  const shapes = inputs.map(({ name, datatype, shape }) => `${name} ${datatype}[${shape.join(',')}]`).join(' ');
  return `${id}  ${time}  ${actor}  ${times} death${times === 1 ? '' : 's'}  ${exit}  ${shapes}  ${request ? `${request.bytes} bytes` : 'shapes only'}`;
}

function details(letter: DeadLetter, contentOmitted: string | undefined): string {
  const { id, actor, version, time, times, requestId, exit, fingerprint, inputs, request, notKept, lastReplay } = letter;
  return [
    `${id}: request ${requestId} to ${actor}, version ${version}`,
    `  ended ${times} replica${times === 1 ? '' : 's'} in runs of its own, last at ${time} (${exit})`,
    ...inputs.map(({ name, datatype, shape, bytes }) => `  ${name}: ${datatype} [${shape.join(', ')}], ${bytes} bytes`),
    `  fingerprint ${fingerprint}`,
    request ? `  kept: ${request.bytes} bytes${request.file === undefined ? ' in memory' : ` in ${request.file}`}${request.jsonLength === undefined ? '' : `, Inference-Header-Content-Length: ${request.jsonLength}`}` : `  not kept: ${notKept ?? 'unknown'}`,
    ...(lastReplay ? [`  last replay ${lastReplay.time}: ${lastReplay.result}`] : []),
    contentOmitted === undefined ? '  --json prints the request as well (content, base64)' : `  ${contentOmitted}`,
  ].join('\n');
}
