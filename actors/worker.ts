/**
 * The thread a model or module runs in, the same one in a host and in a cell (piscina entry).
 *
 * Tasks come through piscina as bytes; nested calls, logs and cancellations through a port of their own, because they
 * happen while a task runs. Nothing native is loaded at the top level: a worker that fails there hangs its pool. What a
 * session throws is an answer; what nobody catches ends the thread, on purpose.
 */
import { Console } from 'node:console';
import { performance } from 'node:perf_hooks';
import { receiveMessageOnPort } from 'node:worker_threads';
import { moved, type OpenThread } from '../src/adapters/thread-link.js';
import { joinMessage, type Message } from '../src/protocol/frames.js';
import { LaneFlags } from '../src/protocol/lane-flags.js';
import { isLoadFailure, type Session } from '../src/protocol/session.js';
import { decodeJson, decodeRun, encodeJson, encodeNumber, encodeRunReply, messageType, typeOf } from '../src/protocol/task-codec.js';
import type { LoadReply, LoadTask, RunReply, RunTask } from '../src/protocol/task.js';
import { Turns } from '../src/protocol/turns.js';
import { WorkerCalls } from '../src/protocol/worker-calls.js';

// stdout belongs to answers, also in a host with thread lanes.
Object.defineProperty(process, 'stdout', { value: process.stderr, configurable: true });
globalThis.console = new Console(process.stderr, process.stderr);

let thread: OpenThread;
let flags: LaneFlags;
let turns = new Turns(1);
let session: Session | undefined;
const calls = new WorkerCalls((message) => {
  const bytes = joinMessage(message);
  thread.port.postMessage(bytes, [bytes.buffer]);
});

export default async function handle(task: OpenThread | Uint8Array): Promise<unknown> {
  if (!(task instanceof Uint8Array)) return open(task);
  switch (typeOf(task)) {
    case messageType.run:
      return moved(await run(decodeRun(task)));
    case messageType.load:
      return moved(encodeJson('loadReply', await inside(() => load(decodeJson('load', task)))));
    default:
      await turns.takeAll();
      await inside(async () => session?.unload());
      return moved(encodeNumber('unloadReply'));
  }
}

function open(task: OpenThread): void {
  thread = task;
  flags = new LaneFlags(task.flags);
  task.port.on('message', hear);
  calls.onCancel = (runId) => session?.cancel?.(runId);
}

async function load(task: LoadTask): Promise<LoadReply> {
  const started = performance.now();
  const loaded = task.kind === 'model'
    ? await (await import('../src/adapters/onnx-session.js')).openOnnxSession(task)
    : await (await import('../src/adapters/module-session.js')).openModuleSession(task, calls.host);
  if (isLoadFailure(loaded)) return loaded;
  session = loaded;
  // A model's run holds the thread: a second one can only wait.
  turns = new Turns(task.kind === 'model' ? 1 : thread.concurrency);
  return { ok: true, runtime: loaded.runtime, loadMs: performance.now() - started, ...(loaded.metadata && { metadata: loaded.metadata }), ...(loaded.notice !== undefined && { notice: loaded.notice }) };
}

async function run(task: RunTask): Promise<Message> {
  calls.arrived(task.id);
  await turns.take();
  // The loop has had no turn since the last native run: a cancellation may lie in the port.
  for (let heard; (heard = receiveMessageOnPort(thread.port)) !== undefined;) hear(heard.message as Uint8Array);
  const reply = calls.begin(task.id) ? await inside(() => compute(task)) : callerGone;
  calls.end(task.id);
  turns.give();
  return encodeRunReply(task.id, reply);
}

const callerGone: RunReply = { ok: false, code: 'DEADLINE_EXCEEDED', message: 'the caller was gone before the run began' };

async function compute(task: RunTask): Promise<RunReply> {
  if (!session) return { ok: false, code: 'INTERNAL', message: 'nothing is loaded in this lane' };
  return session.run(task).catch((error: unknown) => ({ ok: false, code: 'INTERNAL', message: String(error) }));
}

/** Foreign code runs only in here, counted; a thread that was retired meanwhile leaves by itself. */
async function inside<T>(work: () => Promise<T>): Promise<T> {
  if (!flags.enter()) process.exit(0);
  try {
    return await work();
  } finally {
    if (!flags.leave()) process.exit(0);
  }
}

function hear(bytes: Uint8Array): void {
  // Heard only between native calls: a retired thread whose module merely waits for something can go now.
  if (typeOf(bytes) === messageType.unload) process.exit(0);
  calls.hear(bytes);
}
