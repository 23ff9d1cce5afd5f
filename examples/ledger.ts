/**
 * A module with a state that must not exist twice: an account. As a singleton it runs on one host of the cluster at a time; when
 * that host is lost or drained, another one goes on from the checkpoint.
 *
 *     { "name": "ledger", "module": "dist/examples/ledger.js", "singleton": true }
 *
 * What a caller was told is in the checkpoint before it is told: a booking that was answered is never forgotten, and one that was
 * not saved was not made. Modules are not idempotent unless their spec says so, so no booking is ever repeated by a machine; a
 * caller who gets `outcome: "unknown"` asks for the balance before trying again. `booking` FP64 [1] -> `balance` FP64 [1].
 */
import type { ModuleExports } from 'regrow';

interface Ledger {
  balance: number;
}

export const metadata: ModuleExports['metadata'] = {
  inputs: [{ name: 'booking', datatype: 'FP64', shape: [1] }],
  outputs: [{ name: 'balance', datatype: 'FP64', shape: [1] }],
};

export const load: ModuleExports['load'] = async (_spec, context): Promise<Ledger> => {
  // Before this host owns the actor this waits: what the owner before it saved last is what counts.
  const saved = await context.checkpoint.load();
  return { balance: saved ? Number(new TextDecoder().decode(saved)) : 0 };
};

export const run: ModuleExports['run'] = async (state, inputs, context) => {
  const ledger = state as Ledger;
  const balance = ledger.balance + Number(inputs['booking']!.data[0]);
  await context.checkpoint.save(new TextEncoder().encode(String(balance)));
  ledger.balance = balance;
  return { balance: { datatype: 'FP64', shape: [1], data: [balance] } };
};
