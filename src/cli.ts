#!/usr/bin/env node
/** The `regrow` command: parse arguments, call, print, exit code. No logic. */
import { parseArgs } from 'node:util';
import { EXIT, UsageError, fail } from './cli/exit.js';
import { packageVersion } from './host/version.js';

const HELP = `regrow keeps inference answering while threads, processes, devices and hosts fail.

  regrow start [host.json] [--no-guardian]       run a host, and replace it when it dies or stands still; Ctrl-C drains it
  regrow check host.json                         parse only: exit 0, or 78 with every problem by its path
  regrow status [--json] [--watch]               the tree: hosts, actors, replicas, phase, reason, restarts
  regrow infer ACTOR --in name=FILE… [--json]    one request; prints the outputs, or the error with its code
  regrow events [--json]                         follow what happens

What a cluster is to serve; needs an operator's credentials (below) and JetStream
  regrow apply FILE [--prune] [--wait]           a file of nothing but actors, { "actors": [ … ] } or the list alone: they become
                                                 desired state, kept in NATS, and hosts follow. Actors that it does not name stay
                                                 as they are (--prune removes them); local models are sent ahead
  regrow get [ACTOR] · regrow diff FILE          what is wanted, with revisions · what apply would change: exit 0 nothing, 1 something
  regrow push MODEL…                             models into the object store; prints the sha256:… to name them by

Orders to a host; they need an operator's credentials (below). --host ID says which, unless there is only one
  regrow apply FILE                              a host file, one with other keys than actors (with --host ID any): serve its
                                                 actors from now on. Changed ones are rolled over replica by replica; exit 1 when
                                                 one did not prove and was left as it was
  regrow restart ACTOR · regrow eject REPLICA    replace all replicas of an actor · one replica, each with overlap
  regrow drain HOST                              answer what was accepted, then end; returns when it has
  regrow dead-letters [list|show|replay|clear] [ID]
                                                 requests that ended replicas; replay runs one again, alone, beside a replica
                                                 that serves on, and lifts its quarantine when it is answered

Options of start
  --no-guardian       only the host: systemd, Kubernetes or a supervisor of yours restarts it (as process 1 without asking).
                      SIGTERM and SIGINT drain. SIGHUP reads the host file again and applies it (a file with problems changes
                      nothing), unless a terminal sends it by going away: then it drains. Exits 0, 64, 69 and 78 are passed on,
                      any other is answered by a restart, the sixth within a minute by exit 70

Options of infer
  --in name=FILE      an input. A .json file holds {"datatype","shape","data"}; any other file is one BYTES element
  --in name=@TEXT     one BYTES element, the text itself
  --timeout-ms N      budget of the call (default 30000)
  --output NAME       only this output; may come several times
  --json              the whole answer as JSON

Options of apply, for a cluster
  --prune             removes the actors that the file does not name (diff knows it as well)
  --wait              returns when every actor of the file is served, exit 1 when not within --timeout-ms (default 120000)
  --revision N        at least this revision: for a store that lost writes, when status says which revision hosts keep

Common options
  --nats URL          default NATS_URL, else nats://127.0.0.1:4222
  --user NAME --pass-file FILE, or --creds FILE, and --inbox-prefix NAME
                      who asks; by default nobody in particular, which is enough for infer, status and events.
                      With this project's nats.conf orders need: --user operator --pass-file .regrow/nats-operator.pass
                      --inbox-prefix _INBOX_operator
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
  host: { type: 'string' },
  nats: { type: 'string' },
  prefix: { type: 'string' },
  user: { type: 'string' },
  'pass-file': { type: 'string' },
  creds: { type: 'string' },
  'inbox-prefix': { type: 'string' },
  'no-guardian': { type: 'boolean' },
  prune: { type: 'boolean' },
  wait: { type: 'boolean' },
  revision: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

/** Loaded when asked for, so that the guardian that `start` makes does not carry what only a host needs. */
const commands = {
  start: async () => (await import('./cli/start.js')).startCommand,
  check: async () => (await import('./cli/check.js')).checkCommand,
  status: async () => (await import('./cli/status.js')).statusCommand,
  infer: async () => (await import('./cli/infer.js')).inferCommand,
  events: async () => (await import('./cli/events.js')).eventsCommand,
  apply: async () => (await import('./cli/apply.js')).applyCommand,
  get: async () => (await import('./cli/desired.js')).getCommand,
  diff: async () => (await import('./cli/desired.js')).diffCommand,
  push: async () => (await import('./cli/push.js')).pushCommand,
  restart: async () => (await import('./cli/apply.js')).restartCommand,
  eject: async () => (await import('./cli/operate.js')).ejectCommand,
  drain: async () => (await import('./cli/operate.js')).drainCommand,
  'dead-letters': async () => (await import('./cli/dead-letters.js')).deadLettersCommand,
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
  const command = await commands[name as keyof typeof commands]();
  return command(operands, values);
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
