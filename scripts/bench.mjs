/**
 * `npm run bench`: sets up, gets a nats-server, and measures regrow beside raw onnxruntime and a bare NATS echo.
 * What can follow `--`: `npm run bench -- --help` says it; docs/performance.md explains the table.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, runScript, say, setUp } from './setup.mjs';
import { CURE, getNatsServer, startNatsServer } from './nats-server.mjs';

await runScript(async () => {
  setUp();
  const { runBench } = await import(join(ROOT, 'dist', 'test', 'bench', 'main.js'));
  return runBench({ root: ROOT, args: process.argv.slice(2), startNats });
});

/** A broker of this run's own, so that nobody else's traffic is in the numbers. */
async function startNats() {
  const found = await getNatsServer({ log: say });
  if (!found) throw new Error(`the benchmark needs a nats-server; ${CURE}`);
  const dataDir = mkdtempSync(join(tmpdir(), 'regrow-bench-'));
  const forget = () => rmSync(dataDir, { recursive: true, force: true });
  try {
    const server = await startNatsServer({ path: found.path, port: 0, dataDir });
    return { url: server.url, host: server.secrets.host, version: found.version, stop: () => server.stop().finally(forget) };
  } catch (error) {
    forget();
    throw error;
  }
}
