/** The floor plan, enforced: who may import whom, and that time and chance stay in adapters. This table IS the table. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, dirname } from 'node:path';
import { test } from 'node:test';
import { repositoryRoot } from './support/root.js';

const root = repositoryRoot();

function filesUnder(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

interface Import {
  readonly from: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found: Import[] = [];
  for (const match of text.matchAll(/^\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm)) {
    const specifier = match[2]!;
    // `import { type A, type B }` is type-only as well under verbatimModuleSyntax' eyes for our purpose.
    const named = /\{([^}]*)\}/.exec(match[0])?.[1];
    const allTypes = named !== undefined && named.split(',').every((part) => part.trim() === '' || part.trim().startsWith('type '));
    const target = specifier.startsWith('.') ? relative(root, join(root, dirname(file), specifier)).replace(/\.js$/, '.ts') : specifier;
    found.push({ from: file, target, typeOnly: match[1] !== undefined || allTypes });
  }
  return found;
}

/** The room a file stands in: its folder under src, or the file itself at the top of src. */
function roomOf(path: string): string {
  if (!path.startsWith('src/')) return path.startsWith('actors/') ? 'actors' : path;
  const parts = path.split('/');
  return parts.length > 2 ? parts[1]! : parts[1]!.replace(/\.ts$/, '');
}

/**
 * Room -> rooms and packages it may import; `types:` = types only. `node:` stands for Node's own modules.
 * adapters: beside this, each file may use its one package, and helper files that start with its name.
 */
const table: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  tensor: [],
  spec: ['errors', 'tensor', 'policy', 'zod'],
  protocol: ['errors', 'tensor'],
  policy: ['types:spec', 'types:errors'],
  ports: ['types:spec', 'types:protocol', 'types:tensor', 'types:errors'],
  supervision: ['policy', 'ports', 'spec', 'errors', 'xstate'],
  serving: ['policy', 'ports', 'protocol', 'spec', 'tensor', 'errors'],
  client: ['policy', 'ports', 'protocol', 'spec', 'tensor', 'errors'],
  cluster: ['policy', 'ports', 'protocol', 'spec', 'tensor', 'errors', 'client', 'types:serving'],
  adapters: ['ports', 'protocol', 'tensor', 'spec', 'errors', 'node:', 'npm:'],
  host: ['*'],
  cli: ['host', 'client', 'spec', 'errors', 'tensor', 'protocol', 'ports', 'adapters', 'cli', 'guardian', 'node:'],
  index: ['host', 'client', 'spec', 'errors', 'tensor', 'protocol', 'ports', 'adapters'],
  guardian: ['supervision', 'ports', 'errors', 'adapters', 'node:'],
};

/** Files of one adapter may use each other; whatever several adapters need lives in protocol or tensor. */
const adapterFamily = (path: string): string => path.split('/').at(-1)!.replace(/\.ts$/, '').split('-')[0]!;

test('every import under src stands in the table', () => {
  const refused: string[] = [];
  for (const file of filesUnder('src')) {
    const room = roomOf(file);
    const allowed = table[room];
    assert.ok(allowed, `${file}: the room "${room}" is not in the floor plan`);
    for (const { target, typeOnly } of importsOf(file)) {
      const isLocal = target.startsWith('src/') || target.startsWith('actors/') || target.startsWith('test/') || target.startsWith('demo/');
      const wanted = isLocal ? roomOf(target) : target.startsWith('node:') ? 'node:' : target;
      const ok =
        allowed.includes('*') ||
        (wanted === room && (room !== 'adapters' || adapterFamily(file) === adapterFamily(target))) ||
        allowed.includes(wanted) ||
        (typeOnly && allowed.includes(`types:${wanted}`)) ||
        (!isLocal && wanted !== 'node:' && allowed.includes('npm:'));
      if (!ok) refused.push(`${file} imports ${target}${typeOnly ? ' (types)' : ''}`);
    }
  }
  assert.deepEqual(refused, []);
});

test('src never imports actors, tests or the demo: entries are reached by URL', () => {
  const refused = filesUnder('src').flatMap(importsOf).filter(({ target }) => /^(actors|test|demo|examples)\//.test(target));
  assert.deepEqual(refused, []);
});

test('actors import only what a thread or a process needs', () => {
  const allowed = [/^src\/(errors|tensor\/.*|protocol\/.*)\.ts$/, /^src\/adapters\/(onnx|module|thread|cell)-.*\.ts$/, /^node:/, /^piscina$/, /^actors\//];
  const refused = filesUnder('actors').flatMap(importsOf).filter(({ target, typeOnly }) => !(typeOnly && target === 'src/ports.ts') && !allowed.some((pattern) => pattern.test(target)));
  assert.deepEqual(refused, []);
});

test('time and chance are asked for in adapters only', () => {
  const banned = /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|(?<![.#\w])setTimeout\(|(?<![.#\w])setInterval\(|(?<![.#\w])setImmediate\(|randomBytes|randomUUID|hrtime)/;
  const refused: string[] = [];
  for (const file of filesUnder('src').filter((path) => !path.startsWith('src/adapters/') && path !== 'src/ports.ts')) {
    readFileSync(join(root, file), 'utf8').split('\n').forEach((line, index) => {
      const code = line.replace(/\/\/.*$/, '').replace(/^\s*\*.*$/, '');
      if (banned.test(code)) refused.push(`${file}:${index + 1}: ${line.trim()}`);
    });
  }
  assert.deepEqual(refused, []);
});

test('policy is plain: no npm, no node:, no async', () => {
  const refused = filesUnder('src/policy').filter((file) => /\basync\b|\bPromise\b/.test(readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')));
  assert.deepEqual(refused, []);
});
