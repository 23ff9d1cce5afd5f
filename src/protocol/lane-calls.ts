/**
 * The host's half of a lane's protocol: which promise an answer belongs to, and who serves a module's nested calls
 * and keeps its checkpoints.
 *
 * Written once for threads and cells: whoever owns it passes bytes in and out. It never decides that a lane has ended;
 * its owner calls `end`, after which nothing is pending and everything new is answered at once.
 */
import {
  decodeCheckpointCall, decodeJson, decodeNestedCall, decodeRunReply, encodeCheckpointReply, encodeJson, encodeNestedReply, encodeNumber, encodeRun, messageType, typeOf,
} from './task-codec.js';
import type { Message } from './frames.js';
import type { CheckpointCall, CheckpointReply, LaneLog, LoadReply, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from './task.js';

export interface CallsHost {
  nestedCall(call: NestedCall): Promise<NestedReply>;
  checkpoint?(call: CheckpointCall): Promise<CheckpointReply>;
  log(line: LaneLog): void;
}

export class LaneCalls {
  readonly #send: (message: Message) => void;
  readonly #host: CallsHost;
  readonly #runs = new Map<number, (reply: RunReply | undefined) => void>();
  #load: ((reply: LoadReply) => void) | undefined;
  #ended: string | undefined;

  constructor(send: (message: Message) => void, host: CallsHost) {
    this.#send = send;
    this.#host = host;
  }

  load(task: LoadTask): Promise<LoadReply> {
    if (this.#ended !== undefined) return Promise.resolve(lost(this.#ended));
    return new Promise((resolve) => {
      this.#load = resolve;
      this.#send(encodeJson('load', task));
    });
  }

  run(task: RunTask): Promise<RunReply | undefined> {
    if (this.#ended !== undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#runs.set(task.id, resolve);
      this.#send(encodeRun(task));
    });
  }

  cancel(runId: number): void {
    if (this.#runs.has(runId)) this.#send(encodeNumber('cancel', runId));
  }

  /** False when the message is not for here. @throws ProtocolError */
  receive(bytes: Uint8Array): boolean {
    switch (typeOf(bytes)) {
      case messageType.runReply: {
        const { id, reply } = decodeRunReply(bytes);
        const resolve = this.#runs.get(id);
        this.#runs.delete(id);
        resolve?.(reply);
        return true;
      }
      case messageType.loadReply:
        this.#load?.(decodeJson('loadReply', bytes));
        this.#load = undefined;
        return true;
      case messageType.nestedCall:
        void this.#serve(decodeNestedCall(bytes));
        return true;
      case messageType.checkpointCall: {
        const { callId, call } = decodeCheckpointCall(bytes);
        void this.#keep(callId, call);
        return true;
      }
      case messageType.log:
        this.#host.log(decodeJson('log', bytes));
        return true;
      default:
        return false;
    }
  }

  /** The lane is gone: settles everything. */
  end(detail: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = detail;
    this.#load?.(lost(detail));
    this.#load = undefined;
    for (const resolve of this.#runs.values()) resolve(undefined);
    this.#runs.clear();
  }

  async #serve(call: NestedCall): Promise<void> {
    let reply: NestedReply;
    try {
      reply = await this.#host.nestedCall(call);
    } catch (error) {
      reply = { ok: false, code: 'INTERNAL', message: String(error) };
    }
    if (this.#ended === undefined) this.#send(encodeNestedReply(call.callId, reply));
  }

  async #keep(callId: number, call: CheckpointCall): Promise<void> {
    let reply: CheckpointReply;
    try {
      reply = (await this.#host.checkpoint?.(call)) ?? keepsNone;
    } catch (error) {
      reply = { ok: false, code: 'INTERNAL', message: String(error) };
    }
    if (this.#ended === undefined) this.#send(encodeCheckpointReply(callId, reply));
  }
}

const keepsNone: CheckpointReply = { ok: false, code: 'UNAVAILABLE', message: 'this host keeps no checkpoints' };

function lost(detail: string): LoadReply {
  return { ok: false, message: `the lane ended before the load was answered: ${detail}`, permanent: false, deviceFatal: false };
}
