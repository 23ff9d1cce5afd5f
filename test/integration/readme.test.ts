/** The README's code works when pasted: every JavaScript and Python block is run against a real host. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createHost, type EmbeddedHost, type HostOptions } from '../../src/index.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { repositoryRoot } from '../support/root.js';

const root = repositoryRoot();
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = (language: string): string[] => [...readme.matchAll(new RegExp('```' + language + '\\n([\\s\\S]*?)```', 'g'))].map((match) => match[1]!);

let nats: TestNats;
let host: EmbeddedHost;
// Inside the repository, so that packages are found by name as they would be in a user's project.
const folder = mkdtempSync(join(root, '.readme-'));

before(async () => {
  nats = await startTestNats();
  const file = JSON.parse(readFileSync(join(root, 'demo', 'host.json'), 'utf8')) as HostOptions;
  const actors = file.actors!.filter(({ name }) => name === 'digits');
  host = await createHost({ actors, nats: { servers: nats.url, ...nats.host } }, { baseDir: join(root, 'demo') });
});

after(async () => {
  await host.stop();
  await nats.remove();
  rmSync(folder, { recursive: true, force: true });
});

function run(command: string, args: string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('close', (code) => resolve({ code, output }));
  });
}

blocks('js').forEach((block, index) => {
  test(`JavaScript block ${index + 1} runs and prints something`, async () => {
    // `await using` is syntax only newer Nodes know; the README says what to write on older ones.
    const modern = Number(process.versions.node.split('.')[0]) >= 24;
    const text = (modern ? block : block.replace('await using host', 'const host').concat('\nif (typeof host !== "undefined") await host.stop();\n'))
      .replaceAll('nats://127.0.0.1:4222', nats.url);
    const file = join(folder, `block-${index}.mjs`);
    writeFileSync(file, text);
    const { code, output } = await run(process.execPath, [file]);
    assert.equal(code, 0, output);
    assert.match(output, /\d/);
  });
});

test('there are blocks to run', () => {
  assert.ok(blocks('js').length >= 3);
  assert.ok(blocks('python').length >= 1);
});
