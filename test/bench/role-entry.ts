/**
 * Entry of the benchmark's processes: becomes the role it was given, answers questions one after the other, and ends
 * with its parent. Roles are imported when they are needed: a host's process must never load onnxruntime itself.
 */
import type { Question, Reply, Role, RoleOrder } from './role.js';

const open: Readonly<Record<RoleOrder['role'], (order: RoleOrder) => Promise<Role>>> = {
  raw: async (order) => (await import('./role-raw.js')).openRaw(order),
  thread: async (order) => (await import('./role-embedded.js')).openEmbedded(order, 'thread'),
  cell: async (order) => (await import('./role-embedded.js')).openEmbedded(order, 'process'),
  bus: async (order) => (await import('./role-bus.js')).openBus(order),
  host: async (order) => (await import('./role-nats.js')).openHost(order),
  caller: async (order) => (await import('./role-nats.js')).openCaller(order),
  echo: async (order) => (await import('./role-echo.js')).openEcho(order),
  'echo-caller': async (order) => (await import('./role-echo.js')).openEchoCaller(order),
};

const say = (reply: Reply): void => void process.send!(reply);

async function answer(role: Role, question: Question): Promise<unknown> {
  switch (question.what) {
    case 'ask':
      return role.ask!();
    case 'load':
      return role.load!(question.load);
    case 'close':
      return role.close();
  }
}

// Not exit(): a run may be inside native code, and then leaving in order would abort.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
// Ctrl-C reaches the whole group; the parent closes its roles in order.
process.on('SIGINT', () => {});

try {
  const role = await open[(JSON.parse(process.argv[2]!) as RoleOrder).role](JSON.parse(process.argv[2]!) as RoleOrder);
  process.on('message', (question: Question) => {
    answer(role, question).then(
      (value) => {
        if (question.what === 'close') process.send!({ id: question.id, value } satisfies Reply, () => process.exit(0));
        else say({ id: question.id, value });
      },
      (error: unknown) => say({ id: question.id, error: String(error) }),
    );
  });
  say({ id: 0, ready: { pids: role.pids, ...(role.runtime !== undefined && { runtime: role.runtime }) } });
} catch (error) {
  say({ id: 0, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
