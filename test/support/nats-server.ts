/**
 * Real nats-servers for tests, on ports the system chooses, with the project's own nats.conf unless a test brings another.
 * Gets a server first if this machine has none. Every server ends with `stop()`, or with the test process at the latest.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export interface NatsRole {
  readonly user: string;
  readonly pass: string;
  readonly inboxPrefix: string;
}

interface StartedServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly secrets: { readonly file: string; readonly host: NatsRole; readonly operator: NatsRole; readonly system: NatsRole } | undefined;
  stop(): Promise<void>;
}

interface ServerScript {
  getNatsServer(): Promise<{ path: string; version: string; source: string } | null>;
  startNatsServer(options: { path: string; conf?: string; port?: number; dataDir?: string; onLine?: (line: string) => void }): Promise<StartedServer>;
}

export interface TestNats {
  readonly url: string;
  readonly port: number;
  /** Of the nats-server itself, for signals. */
  readonly pid: number;
  readonly dataDir: string;
  /** Credentials of the roles in nats.conf. */
  readonly host: NatsRole;
  readonly operator: NatsRole;
  readonly system: NatsRole;
  /** Asks it to end, resolves when it has; keeps its data for `start`. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Again, on the same port with the same data. */
  start(): Promise<void>;
  /** Stops and forgets the data. */
  remove(): Promise<void>;
}

/** The folder that holds package.json, from wherever this was compiled to. */
export const projectRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

const noRole: NatsRole = { user: '', pass: '', inboxPrefix: '_INBOX' };

async function script(): Promise<ServerScript> {
  return (await import(pathToFileURL(join(projectRoot, 'scripts', 'nats-server.mjs')).href)) as ServerScript;
}

/** `port` 0 (default): the system chooses. `conf`: text of a configuration that replaces the project's nats.conf. */
export async function startTestNats(options: { readonly port?: number; readonly conf?: string; readonly onLine?: (line: string) => void } = {}): Promise<TestNats> {
  const { getNatsServer, startNatsServer } = await script();
  const server = await getNatsServer();
  if (!server) throw new Error('these tests need a nats-server; see the lines above');
  const dataDir = mkdtempSync(join(tmpdir(), 'regrow-nats-'));
  const { onLine, conf } = options;
  const ownConf = join(dataDir, 'own.conf');
  if (conf !== undefined) writeFileSync(ownConf, conf);
  const launch = (port: number): Promise<StartedServer> => startNatsServer({
    path: server.path, dataDir, port, ...(conf !== undefined && { conf: ownConf }), ...(onLine && { onLine }),
  });
  const forget = (): void => rmSync(dataDir, { recursive: true, force: true });
  let running = await launch(options.port ?? 0).catch((error: unknown) => {
    forget();
    throw error;
  });
  return {
    get url() { return running.url; },
    get port() { return running.port; },
    get pid() { return running.pid; },
    dataDir,
    host: running.secrets?.host ?? noRole,
    operator: running.secrets?.operator ?? noRole,
    system: running.secrets?.system ?? noRole,
    stop: () => running.stop(),
    async kill() {
      process.kill(running.pid, 'SIGKILL');
      await running.exited;
    },
    async start() { running = await launch(running.port); },
    async remove() {
      await running.stop();
      forget();
    },
  };
}

/** A port that was free a moment ago, for what must be known before it is used. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
