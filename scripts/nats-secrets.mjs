/**
 * The passwords of nats.conf: made once, kept in `<dataDir>/nats-secrets.json`, readable by their owner alone. The file is
 * JSON for programs and, because nats-server reads JSON as well, what nats.conf includes. Beside it `nats-host.pass` and
 * `nats-operator.pass` hold one password each, for `passFile` of a host file and `--pass-file` of the command.
 *
 *   node scripts/nats-secrets.mjs [dataDir]
 *
 * Never replaces secrets that are there. Run again or run twice at once, and everybody gets the same passwords.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const VARIABLES = { host: 'REGROW_HOST_PASSWORD', operator: 'REGROW_OPERATOR_PASSWORD', system: 'REGROW_SYSTEM_PASSWORD' };

/**
 * Makes the file if there is none. Returns its path and, for each role, what a `nats` key of a host file needs:
 * `{ file, host, operator, system }`, each role `{ user, pass, inboxPrefix }`.
 */
export function ensureNatsSecrets(dataDir = join(ROOT, '.regrow')) {
  const file = join(resolve(dataDir), 'nats-secrets.json');
  if (!existsSync(file)) writeOnce(file);
  chmodSync(file, 0o600);
  const passwords = JSON.parse(readFileSync(file, 'utf8'));
  const role = (user) => {
    const pass = passwords[VARIABLES[user]];
    if (typeof pass !== 'string' || pass === '') throw new Error(`${file} has no ${VARIABLES[user]}; delete the file and run this again`);
    return { user, pass, inboxPrefix: `_INBOX_${user}` };
  };
  const roles = { host: role('host'), operator: role('operator'), system: role('system') };
  for (const user of ['host', 'operator']) keepPassFile(join(dirname(file), `nats-${user}.pass`), `${roles[user].pass}\n`);
  return { file, ...roles };
}

/** Replaced as a whole where it says something else, so that nobody ever reads half a password. */
function keepPassFile(file, content) {
  if (existsSync(file) && readFileSync(file, 'utf8') === content) return chmodSync(file, 0o600);
  const draft = draftOf(file);
  writeFileSync(draft, content, { mode: 0o600 });
  renameSync(draft, file);
}

const draftOf = (file) => `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;

/** `link` fails where the file exists by now, so of two writers one wins whole. */
function writeOnce(file) {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const draft = draftOf(file);
  const passwords = Object.fromEntries(Object.values(VARIABLES).map((name) => [name, randomBytes(24).toString('base64url')]));
  writeFileSync(draft, `${JSON.stringify(passwords, null, 2)}\n`, { mode: 0o600 });
  try {
    linkSync(draft, file);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  console.log(ensureNatsSecrets(process.argv[2]).file);
}
