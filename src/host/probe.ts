/**
 * Asks a device whether it computes: a cell of its own loads a tiny model there, with the way back to the CPU shut, and
 * must give the right answer in time. A list of compiled-in providers says nothing about drivers and hardware; a driver
 * that hangs or crashes takes the cell with it and nothing else.
 */
import type { Clock, Lane, LaneFactory } from '../ports.js';
import { firstDifference } from '../tensor/compare.js';
import { probeInputs, probeModel, probeOutputs } from './probe-model.js';

export type ProbeResult = { readonly usable: true; readonly reason: string } | { readonly usable: false; readonly reason: string };

export interface Probe {
  readonly result: Promise<ProbeResult>;
  /** Its cell is gone. */
  readonly ended: Promise<void>;
  /** Ends it at once; `result` still resolves. */
  cancel(): void;
}

const probeFile = `data:application/octet-stream;base64,${probeModel}`;
const noFallback = { 'session.disable_cpu_ep_fallback': '1' } as const;
/** The first start of a CUDA context with cold driver caches takes seconds. */
const PROBE_MS = 30_000;
const STOP_MS = 2000;
/** Reduced precision (TF32) is how devices compute; these numbers are exact even there. */
const TOLERANCE = 1e-3;

export function probeDevice(device: string, lanes: LaneFactory, clock: Clock): Probe {
  const lane = lanes.open({
    replica: `probe-${device.replace(':', '')}`,
    concurrency: 1,
    host: { nestedCall: () => Promise.resolve({ ok: false, code: 'NOT_FOUND', message: 'a probe asks nobody' }), log: () => {} },
    load: {
      actor: 'probe',
      kind: 'model',
      file: probeFile,
      device,
      session: { intraOpThreads: 1, interOpThreads: 1, graphOptimization: 'basic', memoryArena: false, extra: device === 'cpu' ? {} : noFallback },
      spec: {},
    },
  });
  const timer = clock.setTimeout(() => lane.kill('hung', `no answer within ${PROBE_MS} ms`), PROBE_MS);
  const exit = new Promise<ProbeResult>((resolve) => lane.onExit(({ reason, detail }) => resolve({ usable: false, reason: `the probe ended (${reason}: ${detail})` })));
  const result = ask(lane, exit, clock).finally(() => {
    clock.clearTimeout(timer);
    lane.stop(STOP_MS);
  });
  return { result, ended: exit.then(() => {}), cancel: () => lane.kill('shutdown', 'the probe was canceled') };
}

async function ask(lane: Lane, exit: Promise<ProbeResult>, clock: Clock): Promise<ProbeResult> {
  const since = clock.now();
  const loaded = await lane.load();
  if (!loaded.ok) return { usable: false, reason: inShort(loaded.message) };
  const reply = await lane.run({ id: 1, requestId: 'probe', inputs: probeInputs, budgetMs: PROBE_MS, path: ['probe'] });
  if (!reply) return exit;
  if (!reply.ok) return { usable: false, reason: inShort(reply.message) };
  const difference = firstDifference(reply.outputs, probeOutputs, TOLERANCE);
  if (difference !== undefined) return { usable: false, reason: `it computes wrong: ${difference}` };
  return { usable: true, reason: `answered its probe in ${Math.round(clock.now() - since)} ms` };
}

/** Without the name of the file, which is the model itself here, and without the runtime's own file, line and signature. */
function inShort(message: string): string {
  return message.split('\n')[0]!.replace(`${probeFile}: `, '').replace(/\/\S+\.(cc|h|cpp):\d+ .* was false\. /, '').trim();
}
