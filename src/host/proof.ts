/**
 * Proof before traffic: a replica answers its golden input correctly before it is routed. What stands behind "ready"
 * is shown in status: `golden` (the spec's own question and answer) or `loaded-only` (nothing to ask).
 */
import type { Lane } from '../ports.js';
import type { ActorSpec } from '../spec/actor.js';
import type { TensorLiteral } from '../spec/fields.js';
import type { ProofResult } from '../supervision/replica.js';
import { firstDifference } from '../tensor/compare.js';
import type { NamedTensor } from '../tensor/datatype.js';
import { fromTyped } from '../tensor/typed.js';

export interface Golden {
  readonly inputs: readonly NamedTensor[];
  readonly outputs: readonly NamedTensor[];
  readonly tolerance: number;
}

/** @throws TensorError when the spec's golden does not fit its own datatypes and shapes */
export function goldenOf(spec: ActorSpec): Golden | undefined {
  if (!spec.golden) return undefined;
  return { inputs: tensorsOf(spec.golden.inputs), outputs: tensorsOf(spec.golden.outputs), tolerance: spec.golden.tolerance };
}

function tensorsOf(literals: Readonly<Record<string, TensorLiteral>>): NamedTensor[] {
  return Object.entries(literals).map(([name, literal]) => ({ name, ...fromTyped(literal as Parameters<typeof fromTyped>[0]) }));
}

/** Runs the golden input on a lane that serves nobody yet. Bounded by the caller's start time-out. */
export async function prove(lane: Lane, actor: string, golden: Golden | undefined, runId: number, budgetMs: number): Promise<ProofResult> {
  if (!golden) return { ok: true, proof: 'loaded-only' };
  const outputs = golden.outputs.map((tensor) => tensor.name);
  const reply = await lane.run({ id: runId, requestId: 'golden', inputs: golden.inputs, outputs, budgetMs, path: [actor] });
  if (!reply) return { ok: false, detail: 'ended while it answered its golden input' };
  if (!reply.ok) return { ok: false, detail: `failed on its golden input: ${reply.message}` };
  const difference = firstDifference(reply.outputs, golden.outputs, golden.tolerance);
  return difference === undefined ? { ok: true, proof: 'golden' } : { ok: false, detail: `answered its golden input wrong: ${difference}` };
}
