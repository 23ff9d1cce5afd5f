/**
 * `npm start`: from a fresh clone to a page read by supervised models over NATS, and on until Ctrl-C.
 *
 * Without a way to get a nats-server it says so in one line and serves in this process only. NATS_URL names a broker that
 * is there already.
 */
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { ROOT, runScript, say, setUp } from './setup.mjs';
import { CURE, getNatsServer, startNatsServer } from './nats-server.mjs';

const PORT = 4222;

await runScript(async () => {
  setUp();
  const broker = await startBroker();
  const { runDemo } = await import(join(ROOT, 'dist', 'demo', 'main.js'));
  try {
    await runDemo({ root: ROOT, nats: broker?.nats });
  } finally {
    await broker?.stop();
  }
});

async function startBroker() {
  if (process.env.NATS_URL) {
    say(`using the broker at ${process.env.NATS_URL} (NATS_URL)`);
    return { nats: { servers: process.env.NATS_URL.split(',') }, stop: async () => {} };
  }
  const found = await getNatsServer({ log: say });
  if (!found) {
    say(`no nats-server, so this host serves only its own process, on the in-memory bus. For NATS: ${CURE}`);
    return undefined;
  }
  const port = (await isTaken(PORT)) ? 0 : PORT;
  if (port === 0) say(`port ${PORT} is taken, the broker gets another one`);
  try {
    const server = await startNatsServer({ path: found.path, port });
    say(`nats-server ${found.version} (${found.source}) listens on ${server.url}`);
    return { nats: { servers: server.url, ...server.secrets.host }, stop: server.stop };
  } catch (error) {
    say(`nats-server did not start, so this host serves only its own process, on the in-memory bus: ${error.message}`);
    return undefined;
  }
}

function isTaken(port) {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
