/**
 * What `npm start`, `npm test` and the benches do first: install and build, each only when something changed. Plain Node
 * without dependencies, because it runs before there are any. Every step says what it does; a failure names its step
 * and the cure.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const NODE_MIN = [20, 11];
const SOURCES = ['src', 'actors', 'test', 'demo', 'examples'];

export class SetupError extends Error {
  constructor(step, what, cure) {
    super(`${step} failed: ${what}\n  Cure: ${cure}`);
    this.name = 'SetupError';
  }
}

/** One line per step on stderr, so that stdout stays for answers. */
export const say = (line) => process.stderr.write(`regrow: ${line}\n`);

export function setUp() {
  checkNode();
  install();
  build();
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  throw new SetupError('checking Node', `this is Node ${process.versions.node}`, `use Node ${NODE_MIN.join('.')} or newer (20, 22 and 24 are tested)`);
}

function install() {
  const lock = join(ROOT, 'package-lock.json');
  const stamp = join(ROOT, 'node_modules', '.regrow-installed');
  // The lock file says which packages, the Node version and platform which binaries.
  const wanted = hash([readFileSync(lock), process.platform, process.arch]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('installing packages (npm ci); the first time takes about half a minute');
  // onnxruntime-node's own install step would download CUDA; what regrow needs is in the package.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  run('installing packages', npm(), ['ci', '--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts'], { env },
    'check that the npm registry can be reached (npm ping), then run the command again');
  writeFileSync(stamp, wanted);
}

function build() {
  const stamp = join(ROOT, 'dist', '.built');
  const files = SOURCES.flatMap((folder) => filesUnder(join(ROOT, folder))).filter((file) => file.endsWith('.ts')).sort();
  const wanted = hash([...files.flatMap((file) => [relative(ROOT, file), readFileSync(file)]), readFileSync(join(ROOT, 'tsconfig.json')), readFileSync(join(ROOT, 'package-lock.json'))]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('building (tsc)');
  // From scratch, so that nothing of a file that is gone stays behind.
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  run('building', process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(ROOT, 'tsconfig.json')], {},
    'the errors above name file and line; on an unchanged checkout remove node_modules and run the command again');
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  writeFileSync(stamp, wanted);
}

/** npm's own script, so that no shell and no other npm on the PATH gets between. */
function npm() {
  return process.platform === 'win32' ? 'npm.cmd' : 'npm';
}

function run(step, command, args, options, cure) {
  const { status, error, signal } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2], ...options });
  if (status === 0) return;
  throw new SetupError(step, error ? error.message : signal ? `ended by ${signal}` : `${command} ${args[0]} ended with ${status}`, cure);
}

function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}

function hash(parts) {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex');
}

/** Runs `main`; a SetupError becomes its two lines and exit code 1. */
export async function runScript(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    process.stderr.write(`regrow: ${error instanceof SetupError ? error.message : (error.stack ?? error)}\n`);
    process.exitCode = 1;
  }
}
