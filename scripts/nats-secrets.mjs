/**
 * The passwords of nats.conf: made once, kept in `<dataDir>/nats-secrets.json`, readable by their owner alone. The file is
 * JSON for programs and, because nats-server reads JSON as well, what nats.conf includes. Beside it `nats-host.pass`,
 * `nats-operator.pass` and `nats-system.pass` hold one password each, for `passFile` of a host file (`nats` and
 * `nats.system`) and `--pass-file` of the command.
 *
 *   node scripts/nats-secrets.mjs [dataDir [SERVER…]]
 *
 * With names of servers also `nats-cluster.json`, which docs/nats-cluster.conf includes: how each of them reaches the
 * others, a password in between. Never replaces secrets that are there. Run again or run twice at once, and everybody gets
 * the same passwords.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const VARIABLES = { host: 'REGROW_HOST_PASSWORD', operator: 'REGROW_OPERATOR_PASSWORD', system: 'REGROW_SYSTEM_PASSWORD' };
/** Where servers of a cluster listen for each other, unless a name brings its port. */
const ROUTE_PORT = 6222;

/**
 * Makes the file if there is none. Returns its path and, for each role, what a `nats` key of a host file needs:
 * `{ file, host, operator, system }`, each role `{ user, pass, inboxPrefix }`.
 */
export function ensureNatsSecrets(dataDir = join(ROOT, '.regrow')) {
  const file = join(resolve(dataDir), 'nats-secrets.json');
  if (!existsSync(file)) writeOnce(file, Object.fromEntries(Object.values(VARIABLES).map((name) => [name, newPassword()])));
  chmodSync(file, 0o600);
  const passwords = JSON.parse(readFileSync(file, 'utf8'));
  const role = (user) => {
    const pass = passwords[VARIABLES[user]];
    if (typeof pass !== 'string' || pass === '') throw new Error(`${file} has no ${VARIABLES[user]}; delete the file and run this again`);
    return { user, pass, inboxPrefix: `_INBOX_${user}` };
  };
  const roles = { host: role('host'), operator: role('operator'), system: role('system') };
  for (const user of Object.keys(roles)) keepFile(join(dirname(file), `nats-${user}.pass`), `${roles[user].pass}\n`);
  return { file, ...roles };
}

/** What the servers of a cluster know of each other: the routes change with their names, the password stays. Returns the path. */
export function ensureClusterSecrets(servers, dataDir = join(ROOT, '.regrow')) {
  const file = join(resolve(dataDir), 'nats-cluster.json');
  if (!existsSync(file)) writeOnce(file, { REGROW_ROUTES_PASSWORD: newPassword() });
  const { REGROW_ROUTES_PASSWORD: pass } = JSON.parse(readFileSync(file, 'utf8'));
  const routes = servers.map((name) => `nats://routes:${pass}@${name.includes(':') ? name : `${name}:${ROUTE_PORT}`}`);
  keepFile(file, json({ REGROW_ROUTES_PASSWORD: pass, REGROW_ROUTES: routes }));
  return file;
}

/** Replaced as a whole where it says something else, so that nobody ever reads half a password. */
function keepFile(file, content) {
  if (existsSync(file) && readFileSync(file, 'utf8') === content) return chmodSync(file, 0o600);
  const draft = draftOf(file);
  writeFileSync(draft, content, { mode: 0o600 });
  renameSync(draft, file);
}

const newPassword = () => randomBytes(24).toString('base64url');

const draftOf = (file) => `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;

/** `link` fails where the file exists by now, so of two writers one wins whole. */
function writeOnce(file, secrets) {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const draft = draftOf(file);
  writeFileSync(draft, json(secrets), { mode: 0o600 });
  try {
    linkSync(draft, file);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft);
  }
}

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const [dataDir, ...servers] = process.argv.slice(2);
  console.log(ensureNatsSecrets(dataDir).file);
  if (servers.length > 0) console.log(ensureClusterSecrets(servers, dataDir));
}
