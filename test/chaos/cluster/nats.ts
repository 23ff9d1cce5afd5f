/**
 * One or three nats-servers for a row: the project's own nats.conf, for three with a cluster block and fixed route ports.
 * Every server can be killed and started again by its number, on its port, with its data.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NatsConnection } from '@nats-io/transport-node';
import { freePort, projectRoot, startTestNats, type NatsRole, type TestNats } from '../../support/nats-server.js';

export interface Brokers {
  readonly servers: readonly TestNats[];
  readonly urls: readonly string[];
  readonly host: NatsRole;
  readonly operator: NatsRole;
  readonly system: NatsRole;
  kill(index: number): Promise<void>;
  start(index: number): Promise<void>;
  remove(): Promise<void>;
}

/** Of this run only; the servers end with it and listen on 127.0.0.1 alone. */
const passwords = { REGROW_HOST_PASSWORD: 'chaos-host', REGROW_OPERATOR_PASSWORD: 'chaos-operator', REGROW_SYSTEM_PASSWORD: 'chaos-system' };

const role = (user: 'host' | 'operator' | 'system'): NatsRole => ({ user, pass: `chaos-${user}`, inboxPrefix: `_INBOX_${user}` });

export async function startBrokers(count: 1 | 3): Promise<Brokers> {
  const routes = await Promise.all(Array.from({ length: count }, freePort));
  const servers = await Promise.all(routes.map((_, index) => startTestNats({ conf: confOf(index, count === 1 ? [] : routes) })));
  const down = new Set<TestNats>();
  return {
    servers,
    urls: servers.map(({ url }) => url),
    host: role('host'), operator: role('operator'), system: role('system'),
    async kill(index) {
      down.add(servers[index]!);
      await servers[index]!.kill();
    },
    async start(index) {
      await servers[index]!.start();
      down.delete(servers[index]!);
    },
    async remove() {
      // Killed: an orderly end hands leadership over first, which takes seconds and saves nothing here.
      for (const server of servers) if (!down.has(server)) process.kill(server.pid, 'SIGKILL');
      await Promise.all(servers.map((server) => server.remove()));
    },
  };
}

function confOf(index: number, routes: readonly number[]): string {
  const include = /^include .*$/m;
  const text = readFileSync(join(projectRoot, 'nats.conf'), 'utf8');
  if (!include.test(text) || text.split('"./.regrow/jetstream"').length !== 2) throw new Error('nats.conf: expected one include and one store_dir');
  const own = text
    .replace(include, Object.entries(passwords).map(([name, value]) => `${name}: "${value}"`).join('\n'))
    .replace('"./.regrow/jetstream"', '"./jetstream"');
  const cluster = routes.length === 0 ? '' : `cluster { name: chaos, listen: "127.0.0.1:${routes[index]}", routes: [ ${routes.map((port) => `"nats://127.0.0.1:${port}"`).join(', ')} ] }`;
  return `${own}\nserver_name: s${index}\n${cluster}\n`;
}

/** Index of the server that leads the stream behind the hosts' store. Rejects when there is no such stream. */
export async function leaderOf(nats: NatsConnection, stream: string): Promise<number> {
  const answer = await nats.request(`$JS.API.STREAM.INFO.${stream}`, '', { timeout: 5000 });
  const { cluster, error } = answer.json<{ cluster?: { leader?: string }; error?: { description: string } }>();
  if (error) throw new Error(`${stream}: ${error.description}`);
  if (!cluster?.leader) throw new Error(`${stream} has no leader`);
  return Number(cluster.leader.slice(1));
}
