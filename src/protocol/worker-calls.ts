/**
 * The worker's half of a lane's protocol besides loads and runs: nested calls, checkpoints, logs, and which runs
 * were canceled.
 *
 * A cancellation may come before its run, while the run waits its turn, while it runs or after it: only the first three
 * mean anything. It does no I/O and does not know sessions.
 */
import { decodeCheckpointReply, decodeNestedReply, decodeNumber, encodeCheckpointCall, encodeJson, encodeNestedCall, messageType, typeOf } from './task-codec.js';
import type { Message } from './frames.js';
import type { SessionHost } from './session.js';
import type { CheckpointReply, NestedReply } from './task.js';

export class WorkerCalls {
  /** What a session may ask. */
  readonly host: SessionHost;
  /** A run that is under way was canceled. */
  onCancel: (runId: number) => void = () => {};
  readonly #nested = new Map<number, (reply: NestedReply) => void>();
  readonly #checkpoints = new Map<number, (reply: CheckpointReply) => void>();
  readonly #waiting = new Set<number>();
  readonly #running = new Set<number>();
  readonly #canceled = new Set<number>();
  #callId = 0;
  #lastRunId = 0;

  constructor(post: (message: Message) => void) {
    this.host = {
      nested: (call) => new Promise((resolve) => {
        const callId = ++this.#callId;
        this.#nested.set(callId, resolve);
        post(encodeNestedCall({ ...call, callId }));
      }),
      checkpoint: (call) => new Promise((resolve) => {
        const callId = ++this.#callId;
        this.#checkpoints.set(callId, resolve);
        post(encodeCheckpointCall(callId, call));
      }),
      log: (line) => post(encodeJson('log', line)),
    };
  }

  /** A run has come and waits its turn. */
  arrived(runId: number): void {
    this.#lastRunId = Math.max(this.#lastRunId, runId);
    this.#waiting.add(runId);
  }

  /** Its turn has come; false when its caller is gone already. */
  begin(runId: number): boolean {
    this.#waiting.delete(runId);
    if (this.#canceled.delete(runId)) return false;
    this.#running.add(runId);
    return true;
  }

  end(runId: number): void {
    this.#running.delete(runId);
  }

  /** @throws ProtocolError */
  hear(bytes: Uint8Array): void {
    if (typeOf(bytes) === messageType.nestedReply) {
      const { callId, reply } = decodeNestedReply(bytes);
      this.#nested.get(callId)?.(reply);
      this.#nested.delete(callId);
    } else if (typeOf(bytes) === messageType.checkpointReply) {
      const { callId, reply } = decodeCheckpointReply(bytes);
      this.#checkpoints.get(callId)?.(reply);
      this.#checkpoints.delete(callId);
    } else if (typeOf(bytes) === messageType.cancel) {
      const runId = decodeNumber(bytes);
      if (this.#running.has(runId)) this.onCancel(runId);
      else if (this.#waiting.has(runId) || runId > this.#lastRunId) this.#canceled.add(runId);
    }
  }
}
