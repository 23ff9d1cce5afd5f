/** `regrow status [--json] [--watch]` */
import { systemClock } from '../adapters/system-clock.js';
import type { CliValues } from '../cli.js';
import type { ActorStatus, HostStatus, ReplicaPhase, ReplicaStatus, StatusDocument } from '../protocol/status.js';
import { EXIT, NothingThere } from './exit.js';
import { client } from './remote.js';

const WATCH_EVERY_MS = 500;

export async function statusCommand(_operands: readonly string[], values: CliValues): Promise<number> {
  await using connection = await client(values);
  const read = (): Promise<StatusDocument> =>
    connection.status().catch((error: Error) => {
      throw new NothingThere(error.message);
    });
  if (!values.watch) {
    const document = await read();
    process.stdout.write(values.json ? `${JSON.stringify(document, null, 2)}\n` : renderStatus(document, paint(process.stdout)));
    return EXIT.ok;
  }
  for (let watching = true; watching; ) {
    const document = await read().catch((error: Error) => error);
    const screen = document instanceof Error ? `${document.message}\n` : values.json ? `${JSON.stringify(document)}\n` : renderStatus(document, paint(process.stdout));
    process.stdout.write(process.stdout.isTTY && !values.json ? `\u001b[H\u001b[2J${screen}` : screen);
    watching = await stillWatching();
  }
  return EXIT.ok;
}

function stillWatching(): Promise<boolean> {
  return new Promise((resolve) => {
    const over = (): void => {
      systemClock.clearTimeout(timer);
      resolve(false);
    };
    const timer = systemClock.setTimeout(() => {
      process.off('SIGINT', over);
      resolve(true);
    }, WATCH_EVERY_MS);
    process.once('SIGINT', over);
  });
}

export type Paint = (color: 'green' | 'yellow' | 'red' | 'dim', text: string) => string;

/** Colours on a terminal only, and never where NO_COLOR is set. */
export function paint(stream: NodeJS.WriteStream): Paint {
  const codes = { green: 32, yellow: 33, red: 31, dim: 2 } as const;
  const wanted = stream.isTTY && process.env['NO_COLOR'] === undefined;
  return (color, text) => (wanted ? `\u001b[${codes[color]}m${text}\u001b[0m` : text);
}

const phaseColor: Record<ReplicaPhase, 'green' | 'yellow' | 'red'> = {
  loading: 'yellow', proving: 'yellow', ready: 'green', suspect: 'yellow', draining: 'yellow', backoff: 'red', failed: 'red',
};

export function renderStatus(document: StatusDocument, color: Paint): string {
  const lines = [`bus ${document.bus}`];
  document.hosts.forEach((host, index) => lines.push(...branch(index === document.hosts.length - 1, hostLine(host, color), host.actors.map((actor) => [actorLine(actor, color), actor.replicas.map((replica) => replicaLine(replica, color))] as const))));
  return `${lines.join('\n')}\n`;
}

function branch(last: boolean, head: string, actors: readonly (readonly [string, readonly string[]])[]): string[] {
  const indent = last ? '   ' : '│  ';
  const lines = [`${last ? '└─' : '├─'} ${head}`];
  actors.forEach(([actor, replicas], index) => {
    const lastActor = index === actors.length - 1;
    lines.push(`${indent}${lastActor ? '└─' : '├─'} ${actor}`);
    replicas.forEach((replica, at) => lines.push(`${indent}${lastActor ? '   ' : '│  '}${at === replicas.length - 1 ? '└─' : '├─'} ${replica}`));
  });
  return lines;
}

function hostLine(host: HostStatus, color: Paint): string {
  return `${host.id} ${host.reason} ${color('dim', `up ${age(host.uptimeMs)}, ${host.devices.map(({ id }) => id).join(' ')}`)}`;
}

function actorLine(actor: ActorStatus, color: Paint): string {
  const shade = { ready: 'green', degraded: 'yellow', down: 'red' } as const;
  const { ok, failed, timeout, rejected } = actor.requests;
  const counts = `${ok} ok${failed ? `, ${failed} failed` : ''}${timeout ? `, ${timeout} timed out` : ''}${rejected ? `, ${rejected} rejected` : ''}, ${actor.replays} replays, ${actor.queue.count} queued`;
  const reason = actor.state === 'ready' ? (actor.notice === undefined ? '' : ` (${actor.notice})`) : ` ${actor.reason}`;
  return `${actor.name} ${color(shade[actor.state], `${actor.state} ${actor.ready}/${actor.wanted}`)}${reason} ${color('dim', counts)}`;
}

function replicaLine(replica: ReplicaStatus, color: Paint): string {
  const { id, phase, reason, incarnation, pid, restarts, readySinceMs, lastExit } = replica;
  const since = phase === 'ready' && readySinceMs !== undefined ? ` for ${age(readySinceMs)}` : ` (${reason})`;
  const last = lastExit ? `, last exit ${lastExit.reason}: ${lastExit.detail}` : '';
  return `${id} ${color(phaseColor[phase], phase)}${since} ${color('dim', `#${incarnation}${pid ? ` pid ${pid}` : ''}, ${restarts} restarts${last}`)}`;
}

function age(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s`;
  return ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : `${Math.floor(ms / 3_600_000)} h`;
}
