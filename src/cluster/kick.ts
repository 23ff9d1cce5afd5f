/**
 * Clears a suspect's place in the queue groups: a frozen host keeps its subscriptions, so its share of the requests is lost
 * until the server's own pings give it up after some 6 s. A user of the system account can have its data connection closed
 * at once. A host that was healthy after all connects again and is routed as before: the kick is cheap to be wrong about.
 *
 * One host does it, the first by rendezvous; the others wait their turn, in case it cannot. Moves nothing else.
 */
import { rankHosts } from '../policy/rendezvous.js';
import type { Bus, Clock, Log } from '../ports.js';
import type { HostState } from '../protocol/host-state.js';
import type { Neighbour } from './membership.js';

export interface KickOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly id: string;
  readonly members: () => readonly Neighbour[];
  /** Its data connection, as it said last. */
  readonly connection: NonNullable<HostState['connection']>;
  /** Of the process that connection belongs to. */
  readonly incarnation: string;
  /** A connection as the system user; closed after use. */
  readonly connect: () => Promise<Bus>;
}

/** Between two hosts that could do it. */
const TURN_MS = 400;
const ANSWER_MS = 1000;
/** Hosts beyond these leave it to the server's pings. */
const TURNS_MAX = 3;

/** A host turned suspect, or a new process has taken its place while the server still keeps the connection of the old one. Never rejects. */
export async function kickSuspect(suspect: string, options: KickOptions): Promise<void> {
  const { clock, log, id, incarnation, connection, members, connect } = options;
  const able = [id, ...members().filter(({ liveness }) => liveness === 'alive').map(({ host }) => host)];
  const turn = rankHosts(suspect, able).indexOf(id);
  if (turn >= TURNS_MAX) return;
  if (turn > 0) await new Promise<void>((resolve) => void clock.setTimeout(resolve, turn * TURN_MS));
  const member = members().find(({ host }) => host === suspect);
  if (member?.incarnation === incarnation && member.liveness === 'alive') return;
  let bus: Bus | undefined;
  try {
    bus = await connect();
    const { data } = await bus.request(`$SYS.REQ.SERVER.${connection.serverId}.KICK`, new TextEncoder().encode(JSON.stringify({ cid: connection.clientId })), { timeoutMs: ANSWER_MS });
    log.log('info', 'kicked', { suspect, answer: new TextDecoder().decode(data).slice(0, 300) });
  } catch (error) {
    // Kicked by an earlier turn, or its server went with it: its pings will tell.
    log.log('info', 'kick-failed', { suspect, error: String(error) });
  } finally {
    await bus?.close();
  }
}
