/**
 * A host embedded in a service of its own, on NATS as well, that asks itself at a steady rate when told to. For the row
 * in which the broker goes away: calls in memory must not notice. Arguments: host file, folder of its subject.
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createPinoLog } from '../../src/adapters/pino-log.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { isServeError } from '../../src/errors.js';
import { parseOrThrow } from '../../src/host/create-host.js';
import { Host } from '../../src/host/host.js';
import type { HostOptions } from '../../src/spec/host.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { openLoop, type OpenLoop } from './load.js';
import { wrongness } from './subject.js';

/** Over IPC, tensors as JSON. */
export type ToEmbedded =
  | { readonly type: 'load'; readonly perSecond: number; readonly questions: readonly { inputs: readonly Packed[]; answer: readonly Packed[] }[] }
  | { readonly type: 'report' };
export interface FromEmbedded {
  readonly requests: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly longestMs: number;
}
export type Packed = Omit<NamedTensor, 'data'> & { readonly data: string };

export const packed = (tensor: NamedTensor): Packed => ({ ...tensor, data: Buffer.from(tensor.data as Uint8Array).toString('base64') });
const unpacked = (tensor: Packed): NamedTensor => ({ ...tensor, data: new Uint8Array(Buffer.from(tensor.data, 'base64')) }) as NamedTensor;

async function main(file: string): Promise<void> {
  const options = JSON.parse(readFileSync(file, 'utf8')) as HostOptions;
  const host = await Host.start(parseOrThrow(options, dirname(file)), { clock: systemClock, random: systemRandom, log: createPinoLog(), version: 'chaos' });
  const actor = options.actors![0]!.name;
  let loop: OpenLoop | undefined;
  process.on('message', (message: ToEmbedded) => {
    if (message.type === 'load') {
      const questions = message.questions.map(({ inputs, answer }) => ({ inputs: inputs.map(unpacked), answer: answer.map(unpacked), body: new Uint8Array(), jsonLength: '' }));
      let n = 0;
      loop = openLoop(message.perSecond, async () => {
        const question = questions[n++ % questions.length]!;
        try {
          const { outputs } = await host.infer(actor, { inputs: question.inputs, requestId: systemRandom.ulid() });
          const wrong = wrongness(question, outputs);
          return wrong === undefined ? 'ok' : `wrong: ${wrong}`;
        } catch (error) {
          return isServeError(error) ? error.code : String(error);
        }
      });
      return;
    }
    void loop?.stop().then(() => {
      const outcomes: Record<string, number> = {};
      for (const { outcome } of loop!.shots) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      const report: FromEmbedded = { requests: loop!.shots.length, outcomes, longestMs: Math.max(...loop!.shots.map((shot) => shot.doneMs - shot.dueMs)) };
      process.send!(report);
    });
  });
  process.once('SIGTERM', () => void host.stop().then(() => process.disconnect?.()));
}

if (process.argv[1]?.endsWith('embedded.js')) void main(process.argv[2]!);
