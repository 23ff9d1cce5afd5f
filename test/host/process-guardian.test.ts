/** The host's end of the pipe to its guardian. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import type { Readable } from 'node:stream';
import { guardianFd, guardianFdVariable } from '../../src/adapters/process-lines.js';
import { within } from '../support/lanes.js';

const adapter = new URL('../../src/adapters/process-guardian.js', import.meta.url).href;

const program = `
  import { mock } from 'node:test';
  import { connectGuardian } from ${JSON.stringify(adapter)};
  mock.timers.enable({ apis: ['setInterval'] });
  const link = connectGuardian();
  link.hello({ loopStallMs: 400, stopMs: 1000 });
  mock.timers.tick(300);
  link.hello({ loopStallMs: 4000, stopMs: 2000 });
  mock.timers.tick(3000);
  setImmediate(() => process.exit(0));
`;

test('a second hello replaces the first: the new times are told, and beats come at the new pace only', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'], env: { ...process.env, [guardianFdVariable]: String(guardianFd) },
  });
  let text = '';
  (child.stdio[guardianFd] as Readable).setEncoding('utf8').on('data', (chunk: string) => { text += chunk; });
  await within(new Promise((resolve) => child.once('close', resolve)), 'the end of the program');
  const beat = '{"type":"beat"}';
  assert.deepEqual(text.trim().split('\n'), [
    '{"type":"hello","loopStallMs":400,"beatMs":100,"stopMs":1000}', beat, beat, beat,
    '{"type":"hello","loopStallMs":4000,"beatMs":1000,"stopMs":2000}', beat, beat, beat,
  ]);
});
