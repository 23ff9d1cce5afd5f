/** A log that cannot be written must not end the process it is about. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { within } from '../support/lanes.js';

const adapter = new URL('../../src/adapters/pino-log.js', import.meta.url).href;

/** Logs more than is kept, gives an uncaught error its chance, and says on stdout that it lives. */
const program = (pretty: boolean): string => `
  import { createPinoLog } from ${JSON.stringify(adapter)};
  const { log } = createPinoLog({ level: 'info', pretty: ${pretty} });
  process.stdin.once('data', () => {
    for (let line = 0; line < 2000; line++) log('info', 'line', { line, text: 'x'.repeat(100) });
    setImmediate(() => process.stdout.write('alive', () => process.exit(0)));
  });
  process.stdout.write('up ');
`;

async function said(pretty: boolean, stderr: number | 'pipe'): Promise<{ readonly out: string; readonly code: number | null }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program(pretty)], { stdio: ['pipe', 'pipe', stderr] });
  let out = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    if (out === '') {
      child.stderr?.destroy(); // nobody reads it from now on
      child.stdin!.write('go\n');
    }
    out += chunk;
  });
  const code = await within(new Promise<number | null>((resolve) => child.once('close', resolve)), 'the end of the program');
  return { out, code };
}

for (const pretty of [false, true]) {
  const how = pretty ? 'pretty' : 'JSON';
  test(`${how}, ENOSPC: the program goes on`, { skip: !existsSync('/dev/full') && 'no /dev/full' }, async () => {
    const full = openSync('/dev/full', 'w');
    try {
      assert.deepEqual(await said(pretty, full), { out: 'up alive', code: 0 });
    } finally {
      closeSync(full);
    }
  });

  test(`${how}, EPIPE: the program goes on`, async () => {
    assert.deepEqual(await said(pretty, 'pipe'), { out: 'up alive', code: 0 });
  });
}
