/**
 * The other baseline: two processes that do nothing but pass the same number of bytes over the same nats-server, with
 * the NATS client alone. What a path over NATS costs beyond this is not the broker's fault.
 */
import { connect } from '@nats-io/transport-node';
import { generateLoad } from './load.js';
import type { Role, RoleOrder } from './role.js';
import { TIMEOUT_MS } from './spec.js';

/** Among the subjects nats.conf lets a caller publish to. */
const SUBJECT = 'regrow.infer.bench-echo';

export async function openEcho(order: RoleOrder): Promise<Role> {
  const { url, host: login } = order.nats;
  const nats = await connect({ servers: url, ...login });
  const answer = new Uint8Array(order.sizes!.answer);
  nats.subscribe(SUBJECT, { callback: (_error, message) => void message.respond(answer) });
  await nats.flush();
  return { pids: [process.pid], close: () => nats.close() };
}

export async function openEchoCaller(order: RoleOrder): Promise<Role> {
  const nats = await connect({ servers: order.nats.url });
  const request = new Uint8Array(order.sizes!.request);
  const echo = async (): Promise<void> => {
    const { data } = await nats.request(SUBJECT, request, { timeout: TIMEOUT_MS });
    if (data.length !== order.sizes!.answer) throw new Error(`the echo has ${data.length} bytes instead of ${order.sizes!.answer}`);
  };
  return {
    pids: [],
    async ask() {
      await echo();
      return [];
    },
    load: (load) => generateLoad(load, echo),
    close: () => nats.close(),
  };
}
