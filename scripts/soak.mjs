/** `npm run soak [-- --cycles N]`: hundreds of real crash and restart cycles; exit code 1 when anything grew or failed. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, runScript, setUp } from './setup.mjs';

await runScript(async () => {
  setUp();
  const at = process.argv.indexOf('--cycles');
  const cycles = at === -1 ? 300 : Number(process.argv[at + 1]);
  if (!(cycles >= 50)) throw new Error('--cycles needs a number of 50 or more');
  const code = `import(${JSON.stringify(join(ROOT, 'dist', 'test', 'chaos', 'soak.js'))}).then((m) => m.runSoak(${JSON.stringify({ root: ROOT, cycles })})).then((code) => { process.exitCode = code; })`;
  return spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], { cwd: ROOT, stdio: 'inherit' }).status ?? 1;
});
