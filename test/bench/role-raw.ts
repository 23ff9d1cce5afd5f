/**
 * The baseline: onnxruntime-node called directly, in a process that does nothing else. Written without any of regrow's
 * code on the way to the session, with the session options regrow uses by default.
 */
import * as ort from 'onnxruntime-node';
import { bytesOf, type Answer } from './answer.js';
import { generateLoad } from './load.js';
import { inputsOf, modelFile } from './models.js';
import type { Role, RoleOrder } from './role.js';

const datatypeOf: Readonly<Record<string, string>> = { float32: 'FP32', int64: 'INT64' };

export async function openRaw(order: RoleOrder): Promise<Role> {
  const session = await ort.InferenceSession.create(modelFile(order.root, order.model), {
    executionProviders: ['cpu'],
    intraOpNumThreads: order.intraOpThreads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableCpuMemArena: true,
    logSeverityLevel: 3,
    extra: { 'session.intra_op.allow_spinning': '0', 'session.inter_op.allow_spinning': '0' },
  });
  const inputs = Object.entries(inputsOf(order.model));
  const run = (): Promise<ort.InferenceSession.OnnxValueMapType> =>
    session.run(Object.fromEntries(inputs.map(([name, { data, shape }]) => [name, new ort.Tensor('float32', data, shape)])));
  return {
    pids: [process.pid],
    runtime: ort.env.versions.node ?? '?',
    async ask() {
      return Object.entries(await run()).map(([name, value]): Answer => {
        const { type, dims, data } = value as ort.Tensor;
        return { name, datatype: datatypeOf[type] ?? type, shape: dims, bytes: bytesOf(data as Float32Array) };
      });
    },
    load: (load) => generateLoad(load, run),
    close: () => session.release(),
  };
}
