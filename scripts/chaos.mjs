/**
 * `npm run chaos`: sets up, gets a nats-server, and breaks things under load, one row at a time.
 * What can follow `--`: `npm run chaos -- --help` says it; docs/failures.md explains the table.
 */
import { join } from 'node:path';
import { ROOT, runScript, say, setUp } from './setup.mjs';
import { CURE, getNatsServer } from './nats-server.mjs';

await runScript(async () => {
  setUp();
  const server = await getNatsServer({ log: say });
  if (!server) throw new Error(`every row needs a nats-server; ${CURE}`);
  process.env.NATS_SERVER = server.path;
  const { runChaos } = await import(join(ROOT, 'dist', 'test', 'chaos', 'main.js'));
  return runChaos({ root: ROOT, args: process.argv.slice(2), natsVersion: server.version });
});
