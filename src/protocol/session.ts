/**
 * What the worker of a lane asks of the thing it loaded, be it an ONNX model or a module.
 *
 * The worker keeps order and counts runs; a session knows nothing of lanes, threads or sockets. Expected failures are
 * replies, also here: what a session throws out of `run` is answered as INTERNAL, never as the end of the lane.
 */
import type { ModelMetadata } from '../tensor/datatype.js';
import type { CheckpointCall, CheckpointReply, LaneLog, LoadReply, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from './task.js';

export interface Session {
  readonly metadata?: ModelMetadata;
  /** Name and version of what computes, for status and for the key of recorded golden answers. */
  readonly runtime: string;
  /** What an operator should know of the load, though it went well. */
  readonly notice?: string;
  run(task: RunTask): Promise<RunReply>;
  /** The caller of a run that is under way is gone. */
  cancel?(runId: number): void;
  unload(): Promise<void>;
}

export type LoadFailure = Extract<LoadReply, { ok: false }>;

/** What a session may ask while it lives. */
export interface SessionHost {
  nested(call: Omit<NestedCall, 'callId'>): Promise<NestedReply>;
  checkpoint(call: CheckpointCall): Promise<CheckpointReply>;
  log(line: LaneLog): void;
}

export type OpenSession = (task: LoadTask, host: SessionHost) => Promise<Session | LoadFailure>;

export function isLoadFailure(loaded: Session | LoadFailure): loaded is LoadFailure {
  return 'ok' in loaded;
}
