/** A client and a host of cells that meet on the in-memory bus of one process: encoding and endpoint, but no socket. */
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { Client } from '../../src/client/client.js';
import { parseOrThrow } from '../../src/host/create-host.js';
import { Host } from '../../src/host/host.js';
import { subjects } from '../../src/protocol/subjects.js';
import { answerOf } from './answer.js';
import { generateLoad } from './load.js';
import { inputsOf } from './models.js';
import { allReady } from './role-embedded.js';
import type { Role, RoleOrder } from './role.js';
import { hostOptions, pidsOf, TIMEOUT_MS } from './spec.js';

export async function openBus(order: RoleOrder): Promise<Role> {
  const outside = { clock: systemClock, random: systemRandom, log: silentLog };
  const broker = createMemoryBus(outside);
  const host = await Host.start(parseOrThrow(hostOptions(order, 'process'), order.root), { ...outside, version: '0.0.0', bus: () => broker.connect() });
  await host.settled;
  await allReady(() => host.hostStatus().actors[0]!);
  const client = new Client({ ...outside, bus: broker.connect(), subjects: subjects() });
  const inputs = inputsOf(order.model);
  const infer = () => client.infer(order.model, inputs, { timeoutMs: TIMEOUT_MS });
  return {
    pids: pidsOf(host.status()),
    ask: async () => answerOf((await infer()).outputs),
    load: (load) => generateLoad(load, infer),
    async close() {
      await client.close();
      await host.stop();
    },
  };
}
