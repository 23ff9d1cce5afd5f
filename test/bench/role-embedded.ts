/** A host inside a service: `createHost`, asked in the same process. No bus, no encoding. */
import { createHost } from '../../src/index.js';
import { answerOf } from './answer.js';
import { generateLoad } from './load.js';
import { inputsOf } from './models.js';
import type { Role, RoleOrder } from './role.js';
import { hostOptions, pidsOf, TIMEOUT_MS } from './spec.js';

export async function openEmbedded(order: RoleOrder, isolation: 'process' | 'thread'): Promise<Role> {
  const host = await createHost(hostOptions(order, isolation));
  await allReady(() => host.status().hosts[0]!.actors[0]!);
  const inputs = inputsOf(order.model);
  const infer = () => host.infer(order.model, inputs, { timeoutMs: TIMEOUT_MS });
  return {
    pids: pidsOf(host.status()),
    ask: async () => answerOf((await infer()).outputs),
    load: (load) => generateLoad(load, infer),
    close: () => host.stop(),
  };
}

/** A host has settled when each actor was proven once; its second replica may still be loading. */
export async function allReady(actor: () => { readonly ready: number; readonly wanted: number; readonly reason: string }): Promise<void> {
  const untilMs = performance.now() + TIMEOUT_MS;
  while (actor().ready < actor().wanted) {
    if (performance.now() > untilMs) throw new Error(`replicas are not ready: ${actor().reason}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
