/** Who asks: a regrow client with a deadline of 5 s, a plain NATS client, and a regrow client that waits for a singleton. */
import { isServeError } from '../../../src/errors.js';
import { connect } from '../../../src/host/connect.js';
import type { NamedTensor } from '../../../src/tensor/datatype.js';
import { fromTyped, toTyped, type TypedTensor } from '../../../src/tensor/typed.js';
import { BUDGET_MS, openCaller } from '../caller.js';
import type { Outcome } from '../load.js';
import { wrongness, type Subject } from '../subject.js';
import { nowMs } from '../time.js';
import type { Told } from './owners.js';

/** Longer than a take-over takes, shorter than any host allows. */
export const SINGLETON_BUDGET_MS = 28_000;

const SAID_MAX = 5;

export type CallerName = 'client' | 'plain' | 'singleton';

export interface ClusterCaller {
  readonly name: CallerName;
  readonly perSecond: number;
  /** What the first failures said, for whoever looks into a row. */
  readonly said: readonly string[];
  /** Never rejects. */
  ask(n: number): Promise<Outcome>;
  close(): Promise<unknown>;
}

/** The regrow client, with the subject's questions. */
export async function clientCaller(servers: readonly string[], { name: actor, questions }: Subject, perSecond: number): Promise<ClusterCaller> {
  const client = await connect({ servers });
  const inputs = questions.map((question) => Object.fromEntries(question.inputs.map((tensor) => [tensor.name, toTyped(tensor)])));
  const said: string[] = [];
  return {
    name: 'client', perSecond, said, close: () => client.close(),
    ask: (n) => outcomeOf(said, async () => {
      const { outputs } = await client.infer(actor, inputs[n % inputs.length]!, { timeoutMs: BUDGET_MS });
      const wrong = wrongness(questions[n % questions.length]!, named(outputs));
      if (wrong !== undefined && said.length < SAID_MAX) said.push(`wrong: ${wrong}`);
      return wrong === undefined ? 'ok' : `wrong: ${wrong}`;
    }),
  };
}

/** One server of a list it will learn from the broker: what the plain client of the single-host table does. */
export async function plainCaller(servers: readonly string[], { name: actor, questions }: Subject, perSecond: number): Promise<ClusterCaller> {
  const caller = await openCaller(servers[0]!, actor);
  return { name: 'plain', perSecond, said: [], close: () => caller.close(), ask: (n) => caller.ask(questions[n % questions.length]!) };
}

/** @param told gets every answer */
export async function singletonCaller(servers: readonly string[], actor: string, perSecond: number, told: Told[]): Promise<ClusterCaller> {
  const client = await connect({ servers });
  const x = { datatype: 'FP64' as const, shape: [1], data: Float64Array.of(1) };
  const said: string[] = [];
  return {
    name: 'singleton', perSecond, said, close: () => client.close(),
    ask: () => outcomeOf(said, async () => {
      const sentMs = nowMs();
      const { outputs, servedBy } = await client.infer(actor, { x }, { timeoutMs: SINGLETON_BUDGET_MS, idempotent: true });
      const [epoch, count, ranMs] = outputs['told']!.data as Float64Array;
      told.push({ sentMs, ranMs: ranMs!, doneMs: nowMs(), owner: servedBy.split('/', 1)[0]!, epoch: epoch!, count: count! });
      return 'ok';
    }),
  };
}

async function outcomeOf(said: string[], ask: () => Promise<Outcome>): Promise<Outcome> {
  const sentMs = nowMs();
  try {
    return await ask();
  } catch (error) {
    if (said.length < SAID_MAX) said.push(`${new Date(sentMs).toISOString()}, after ${Math.round(nowMs() - sentMs)} ms: ${String(error)}`);
    return isServeError(error) ? error.code : `error: ${String(error)}`;
  }
}

const named = (outputs: Readonly<Record<string, TypedTensor>>): NamedTensor[] => Object.entries(outputs).map(([name, tensor]) => ({ name, ...fromTyped(tensor) }));
