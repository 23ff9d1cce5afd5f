/**
 * `npm test`: sets up, gets a nats-server for the integration floor, runs every quick test floor.
 *
 *   npm test                    everything that takes seconds
 *   npm test -- supervision     only the files whose path contains the word
 *   npm test -- store-cluster   three nats-servers, one of them killed: half a minute, so only by name
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT, runScript, say, setUp } from './setup.mjs';
import { getNatsServer } from './nats-server.mjs';

/** Pure floors first: a broken decision is found before a process is started. */
const FLOORS = ['.', 'policy', 'tensor', 'protocol', 'spec', 'supervision', 'serving', 'client', 'cluster', 'host', 'sim', 'sim/cluster', 'sim/scale', 'demo', 'integration'];

/** Run only when named: they take longer than everything else of their floor. */
const BY_NAME = ['store-cluster'];

await runScript(async () => {
  setUp();
  const server = await getNatsServer({ log: say });
  const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
  const files = FLOORS.flatMap(testFiles).filter((file) => (words.length === 0 ? !BY_NAME.some((name) => file.includes(name)) : words.some((word) => file.includes(word))));
  if (files.length === 0) throw new Error(`no test file matches ${words.join(' ')}`);
  say(`running ${files.length} test files`);
  const env = { ...process.env, ...(server && { NATS_SERVER: server.path }) };
  // One file at a time: integration tests measure nothing, but they do share two cores.
  const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=1', ...files], { cwd: ROOT, stdio: 'inherit', env });
  return status ?? 1;
});

function testFiles(floor) {
  const folder = join(ROOT, 'dist', 'test', floor);
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
      .map((entry) => relative(ROOT, join(folder, entry.name)))
      .sort();
  } catch {
    return [];
  }
}
