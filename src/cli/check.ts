/** `regrow check host.json` */
import { EXIT, UsageError } from './exit.js';
import { readHostFile } from './host-file.js';

export async function checkCommand(operands: readonly string[]): Promise<number> {
  const [file] = operands;
  if (file === undefined) throw new UsageError('check needs a host file');
  const spec = readHostFile(file);
  const actors = spec.actors.map(({ name, replicas }) => `${name} x${replicas}`).join(', ');
  process.stdout.write(`${file} is valid: ${spec.actors.length} actor${spec.actors.length === 1 ? '' : 's'}${actors && ` (${actors})`}\n`);
  return EXIT.ok;
}
