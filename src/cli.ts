#!/usr/bin/env node
/** The `regrow` command: parse arguments, call, print, exit code. No logic. */
import { parseArgs } from 'node:util';
import { checkCommand } from './cli/check.js';
import { eventsCommand } from './cli/events.js';
import { EXIT, UsageError, fail } from './cli/exit.js';
import { inferCommand } from './cli/infer.js';
import { startCommand } from './cli/start.js';
import { statusCommand } from './cli/status.js';
import { packageVersion } from './host/version.js';

const HELP = `regrow keeps inference answering while threads, processes, devices and hosts fail.

  regrow start [host.json]                       run a host; Ctrl-C drains it
  regrow check host.json                         parse only: exit 0, or 78 with every problem by its path
  regrow status [--json] [--watch]               the tree: hosts, actors, replicas, phase, reason, restarts
  regrow infer ACTOR --in name=FILE… [--json]    one request; prints the outputs, or the error with its code
  regrow events [--json]                         follow what happens

Options of infer
  --in name=FILE      an input. A .json file holds {"datatype","shape","data"}; any other file is one BYTES element
  --in name=@TEXT     one BYTES element, the text itself
  --timeout-ms N      budget of the call (default 30000)
  --output NAME       only this output; may come several times
  --json              the whole answer as JSON

Common options
  --nats URL          default NATS_URL, else nats://127.0.0.1:4222
  --prefix NAME       first tokens of every subject (default regrow)
  --help, --version

Environment: NATS_URL, REGROW_DATA_DIR and LOG_LEVEL override the host file.
Exit codes: 0 ok, 1 request failed, 64 usage, 69 nothing to connect to, 70 the root supervisor gave up, 78 bad spec.

Example:  regrow infer ocr-page --in image=demo/pages/invoice.png
`;

const options = {
  json: { type: 'boolean' },
  watch: { type: 'boolean' },
  in: { type: 'string', multiple: true },
  output: { type: 'string', multiple: true },
  'timeout-ms': { type: 'string' },
  nats: { type: 'string' },
  prefix: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

const commands = {
  start: startCommand,
  check: checkCommand,
  status: statusCommand,
  infer: inferCommand,
  events: eventsCommand,
} as const;

async function main(): Promise<number> {
  const { values, positionals } = parse();
  if (values.version) {
    process.stdout.write(`${packageVersion()}\n`);
    return EXIT.ok;
  }
  const [name, ...operands] = positionals;
  if (values.help || name === undefined) {
    process.stdout.write(HELP);
    return values.help ? EXIT.ok : EXIT.usage;
  }
  if (!Object.hasOwn(commands, name)) throw new UsageError(`no command "${name}"; there are ${Object.keys(commands).join(', ')}`);
  return commands[name as keyof typeof commands](operands, values);
}

function parse() {
  try {
    return parseArgs({ args: process.argv.slice(2), options, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

export type CliValues = ReturnType<typeof parse>['values'];

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.exitCode = fail(error);
  },
);
