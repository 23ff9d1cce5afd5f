/** `regrow infer ACTOR --in name=FILE` */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { CliValues } from '../cli.js';
import type { InferResult } from '../client/client.js';
import { isServeError } from '../errors.js';
import type { TensorLike, TypedTensor } from '../tensor/typed.js';
import { EXIT, UsageError } from './exit.js';
import { anyHost, client } from './remote.js';

const TIMEOUT_MS = 30_000;
/** Elements of a tensor printed for people; `--json` prints all. */
const SHOWN_MAX = 10;

export async function inferCommand(operands: readonly string[], values: CliValues): Promise<number> {
  const [actor] = operands;
  if (actor === undefined) throw new UsageError('infer needs the name of an actor');
  const inputs = Object.fromEntries((values.in ?? []).map(inputOf));
  const timeoutMs = Number(values['timeout-ms'] ?? TIMEOUT_MS);
  if (!(timeoutMs > 0)) throw new UsageError(`--timeout-ms ${values['timeout-ms']} is no number of milliseconds`);
  await using connection = await client(values);
  const result = await connection.infer(actor, inputs, { timeoutMs, ...(values.output && { outputs: values.output }) }).catch(async (error: unknown) => {
    if (isServeError(error) && error.code === 'UNAVAILABLE') await anyHost(connection);
    throw error;
  });
  process.stdout.write(values.json ? `${JSON.stringify(asJson(result))}\n` : forPeople(result));
  return EXIT.ok;
}

function inputOf(argument: string): [string, TensorLike] {
  const at = argument.indexOf('=');
  if (at <= 0) throw new UsageError(`--in ${argument}: expected name=FILE`);
  const [name, source] = [argument.slice(0, at), argument.slice(at + 1)];
  if (source.startsWith('@')) return [name, { datatype: 'BYTES', shape: [1], data: [source.slice(1)] }];
  let content: Buffer;
  try {
    content = readFileSync(source);
  } catch (error) {
    throw new UsageError(`--in ${name}: cannot read ${source}: ${(error as Error).message}`);
  }
  if (!source.endsWith('.json')) return [name, { datatype: 'BYTES', shape: [1], data: [content] }];
  try {
    return [name, JSON.parse(content.toString('utf8')) as TensorLike];
  } catch (error) {
    throw new UsageError(`--in ${name}: ${basename(source)} is no JSON: ${(error as Error).message}`);
  }
}

function elements(tensor: TypedTensor): (string | number | boolean)[] {
  if (tensor.datatype === 'BYTES') return tensor.data.map((element) => new TextDecoder().decode(element));
  return Array.from(tensor.data as ArrayLike<number | bigint>, (value) => (typeof value === 'bigint' ? value.toString() : value));
}

function asJson({ outputs, ...facts }: InferResult): unknown {
  const tensors = Object.entries(outputs).map(([name, tensor]) => [name, { datatype: tensor.datatype, shape: tensor.shape, data: elements(tensor) }]);
  return { ...facts, outputs: Object.fromEntries(tensors) as unknown };
}

function forPeople({ outputs, servedBy, attempts, modelVersion }: InferResult): string {
  const lines = Object.entries(outputs).flatMap(([name, tensor]) => {
    const head = `${name}: ${tensor.datatype} [${tensor.shape.join(', ')}]`;
    const values = elements(tensor);
    if (tensor.datatype === 'BYTES') return [head, ...values.map((value) => `  ${String(value)}`)];
    const shown = values.slice(0, SHOWN_MAX).map((value) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value)).join(' ');
    return [head, `  ${shown}${values.length > SHOWN_MAX ? ` … (${values.length} in all, --json prints them)` : ''}`];
  });
  return `${lines.join('\n')}\nserved by ${servedBy} (version ${modelVersion}, ${attempts} execution${attempts === 1 ? '' : 's'})\n`;
}
