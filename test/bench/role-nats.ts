/** A host of cells on NATS, and its caller in a process of its own. */
import { connect, createHost } from '../../src/index.js';
import { answerOf } from './answer.js';
import { generateLoad } from './load.js';
import { inputsOf } from './models.js';
import { allReady } from './role-embedded.js';
import type { Role, RoleOrder } from './role.js';
import { hostOptions, pidsOf, TIMEOUT_MS } from './spec.js';

export async function openHost(order: RoleOrder): Promise<Role> {
  const { url, host: login } = order.nats;
  const host = await createHost({ ...hostOptions(order, 'process'), nats: { servers: url, ...login } });
  await allReady(() => host.status().hosts[0]!.actors[0]!);
  return { pids: pidsOf(host.status()), close: () => host.stop() };
}

export async function openCaller(order: RoleOrder): Promise<Role> {
  const client = await connect({ servers: order.nats.url });
  const inputs = inputsOf(order.model);
  const infer = () => client.infer(order.model, inputs, { timeoutMs: TIMEOUT_MS });
  return {
    pids: [],
    ask: async () => answerOf((await infer()).outputs),
    load: (load) => generateLoad(load, infer),
    close: () => client.close(),
  };
}
