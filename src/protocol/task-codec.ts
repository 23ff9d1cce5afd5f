/**
 * The bytes of everything that passes between a host and a lane.
 *
 * A message is a type byte, its fields, and the data of its tensors, each at a multiple of 8 bytes so that a typed array
 * can be laid over it without a copy. Encoding copies no tensor and decoding hands out views. Only what happens once
 * (load) or is for people (logs) travels as JSON. Both ends come from the same build: there is no version here.
 */
import { errorCodes } from '../errors.js';
import type { ErrorCode } from '../errors.js';
import { elementBytes } from '../tensor/datatype.js';
import type { Datatype, NamedTensor } from '../tensor/datatype.js';
import { alignedTo8, ByteReader, ByteWriter } from './byte-writer.js';
import { ProtocolError } from './frames.js';
import type { Message, Priority } from './frames.js';
import type { CheckpointCall, CheckpointReply, LaneLog, LoadReply, LoadTask, NestedCall, NestedReply, RunReply, RunTask } from './task.js';

export const messageType = {
  load: 1, loadReply: 2, run: 3, runReply: 4, nestedCall: 5, nestedReply: 6, cancel: 7, log: 8,
  unload: 9, unloadReply: 10, ping: 11, pong: 12, started: 13, ended: 14, checkpointCall: 15, checkpointReply: 16,
} as const;
export type MessageType = (typeof messageType)[keyof typeof messageType];

/**
 * What overtakes what. `unload` and `ended` must not pass the runs and replies posted before them, so they wait in line;
 * a `cancel` may arrive before its run.
 */
export function priorityOf(type: MessageType): Priority {
  if (type === messageType.cancel || type === messageType.ping || type === messageType.pong) return 0;
  if (type === messageType.nestedCall || type === messageType.nestedReply || type === messageType.log) return 1;
  if (type === messageType.checkpointCall || type === messageType.checkpointReply) return 1;
  return 2;
}

export function typeOf(bytes: Uint8Array): MessageType {
  return bytes[0] as MessageType;
}

const datatypes = Object.keys(elementBytes) as Datatype[];
const datatypeNumber = Object.fromEntries(datatypes.map((name, index) => [name, index])) as Record<Datatype, number>;
const codes = Object.keys(errorCodes) as ErrorCode[];
const absent = -1;

const writer = new ByteWriter();

function start(type: MessageType): ByteWriter {
  writer.reset();
  writer.byte(type);
  return writer;
}

function finish(tensors: readonly { readonly data: Uint8Array }[] = []): Message {
  const head = writer.takeAligned();
  const parts = [head];
  let byteLength = head.byteLength;
  for (const { data } of tensors) {
    const padding = alignedTo8(byteLength) - byteLength;
    if (padding > 0) parts.push(zeros.subarray(0, padding));
    parts.push(data);
    byteLength += padding + data.byteLength;
  }
  return { parts, byteLength };
}

const zeros = new Uint8Array(8);

// ------------------------------------------------------------------------------------------------------------ tensors

function writeTensors(tensors: readonly NamedTensor[]): void {
  writer.count(tensors.length);
  for (const tensor of tensors) {
    writer.text(tensor.name);
    writer.byte(datatypeNumber[tensor.datatype]);
    writer.count(tensor.shape.length);
    for (const dimension of tensor.shape) writer.number(dimension);
    writer.number(tensor.data.byteLength);
  }
}

/** Must be the last field: the data begins at the next multiple of 8. */
function readTensors(reader: ByteReader): NamedTensor[] {
  const { bytes } = reader;
  const tensors: { name: string; datatype: Datatype; shape: number[]; data: Uint8Array }[] = [];
  const lengths: number[] = [];
  for (let left = reader.count(17); left > 0; left--) {
    const name = reader.text();
    const datatype = datatypes[reader.byte()];
    if (datatype === undefined) throw new ProtocolError(`tensor '${name}' has an unknown datatype`);
    const shape: number[] = new Array(reader.count(8));
    for (let axis = 0; axis < shape.length; axis++) shape[axis] = reader.number();
    lengths.push(reader.number());
    tensors.push({ name, datatype, shape, data: zeros });
  }
  let offset = alignedTo8(reader.offset);
  for (const [index, tensor] of tensors.entries()) {
    const byteLength = lengths[index]!;
    if (!(byteLength >= 0) || offset + byteLength > bytes.byteLength) throw new ProtocolError(`tensor '${tensor.name}' ends behind its message`);
    tensor.data = new Uint8Array(bytes.buffer, bytes.byteOffset + offset, byteLength);
    offset = alignedTo8(offset + byteLength);
  }
  return tensors;
}

function writeTexts(texts: readonly string[] | undefined): void {
  writer.byte(texts ? 1 : 0);
  if (!texts) return;
  writer.count(texts.length);
  for (const text of texts) writer.text(text);
}

function readTexts(reader: ByteReader): string[] | undefined {
  if (reader.byte() === 0) return undefined;
  const texts: string[] = new Array(reader.count(4));
  for (let index = 0; index < texts.length; index++) texts[index] = reader.text();
  return texts;
}

function open(bytes: Uint8Array): ByteReader {
  const reader = new ByteReader(bytes);
  reader.byte();
  return reader;
}

// --------------------------------------------------------------------------------------------------------------- runs

export function encodeRun(task: RunTask): Message {
  start(messageType.run).number(task.id);
  writer.text(task.requestId);
  writer.number(task.budgetMs);
  writer.number(task.epoch ?? absent);
  writeTexts(task.outputs);
  writeTexts(task.path);
  writeTensors(task.inputs);
  return finish(task.inputs);
}

export function decodeRun(bytes: Uint8Array): RunTask {
  const reader = open(bytes);
  const id = reader.number();
  const requestId = reader.text();
  const budgetMs = reader.number();
  const epoch = reader.number();
  const outputs = readTexts(reader);
  const path = readTexts(reader) ?? [];
  const inputs = readTensors(reader);
  return { id, requestId, inputs, budgetMs, path, ...(outputs && { outputs }), ...(epoch !== absent && { epoch }) };
}

export function encodeRunReply(id: number, reply: RunReply): Message {
  start(messageType.runReply).number(id);
  writer.byte(reply.ok ? 1 : 0);
  if (reply.ok) {
    writer.number(reply.runMs);
    writeTensors(reply.outputs);
    return finish(reply.outputs);
  }
  writeFailure(reply);
  writer.byte(reply.retryable === undefined ? 2 : Number(reply.retryable));
  writer.byte(reply.deviceFatal ? 1 : 0);
  return finish();
}

export function decodeRunReply(bytes: Uint8Array): { id: number; reply: RunReply } {
  const reader = open(bytes);
  const id = reader.number();
  if (reader.byte() === 1) {
    const runMs = reader.number();
    return { id, reply: { ok: true, runMs, outputs: readTensors(reader) } };
  }
  const failure = readFailure(reader);
  const retryable = reader.byte();
  const deviceFatal = reader.byte() === 1;
  return { id, reply: { ...failure, ...(retryable !== 2 && { retryable: retryable === 1 }), ...(deviceFatal && { deviceFatal }) } };
}

interface Failure {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly message: string;
  readonly outcome?: 'unknown';
}

function writeFailure(failure: Failure): void {
  writer.byte(codes.indexOf(failure.code));
  writer.text(failure.message);
  writer.byte(failure.outcome ? 1 : 0);
}

function readFailure(reader: ByteReader): Failure {
  const code = codes[reader.byte()];
  if (code === undefined) throw new ProtocolError('unknown error code');
  const message = reader.text();
  return { ok: false, code, message, ...(reader.byte() === 1 && { outcome: 'unknown' as const }) };
}

// ------------------------------------------------------------------------------------------------------- nested calls

export function encodeNestedCall(call: NestedCall): Message {
  start(messageType.nestedCall).number(call.runId);
  writer.number(call.callId);
  writer.text(call.actor);
  writer.number(call.timeoutMs ?? absent);
  writeTexts(call.outputs);
  writeTensors(call.inputs);
  return finish(call.inputs);
}

export function decodeNestedCall(bytes: Uint8Array): NestedCall {
  const reader = open(bytes);
  const runId = reader.number();
  const callId = reader.number();
  const actor = reader.text();
  const timeoutMs = reader.number();
  const outputs = readTexts(reader);
  const inputs = readTensors(reader);
  return { runId, callId, actor, inputs, ...(outputs && { outputs }), ...(timeoutMs !== absent && { timeoutMs }) };
}

export function encodeNestedReply(callId: number, reply: NestedReply): Message {
  start(messageType.nestedReply).number(callId);
  writer.byte(reply.ok ? 1 : 0);
  if (!reply.ok) {
    writeFailure(reply);
    return finish();
  }
  writeTensors(reply.outputs);
  return finish(reply.outputs);
}

export function decodeNestedReply(bytes: Uint8Array): { callId: number; reply: NestedReply } {
  const reader = open(bytes);
  const callId = reader.number();
  return { callId, reply: reader.byte() === 1 ? { ok: true, outputs: readTensors(reader) } : readFailure(reader) };
}

// -------------------------------------------------------------------------------------------------------- checkpoints

export function encodeCheckpointCall(callId: number, call: CheckpointCall): Message {
  start(messageType.checkpointCall).number(callId);
  return finishBytes(call.op === 'save' ? call.bytes : undefined);
}

export function decodeCheckpointCall(bytes: Uint8Array): { callId: number; call: CheckpointCall } {
  const reader = open(bytes);
  const callId = reader.number();
  const saved = readBytes(reader);
  return { callId, call: saved ? { op: 'save', bytes: saved } : { op: 'load' } };
}

export function encodeCheckpointReply(callId: number, reply: CheckpointReply): Message {
  start(messageType.checkpointReply).number(callId);
  writer.byte(reply.ok ? 1 : 0);
  if (reply.ok) return finishBytes(reply.bytes);
  writeFailure(reply);
  return finish();
}

export function decodeCheckpointReply(bytes: Uint8Array): { callId: number; reply: CheckpointReply } {
  const reader = open(bytes);
  const callId = reader.number();
  if (reader.byte() === 0) return { callId, reply: readFailure(reader) };
  const loaded = readBytes(reader);
  return { callId, reply: { ok: true, ...(loaded && { bytes: loaded }) } };
}

function finishBytes(bytes: Uint8Array | undefined): Message {
  writer.number(bytes ? bytes.byteLength : absent);
  return finish(bytes ? [{ data: bytes }] : []);
}

/** Must be the last field, as tensors. A view, as theirs. */
function readBytes(reader: ByteReader): Uint8Array | undefined {
  const byteLength = reader.number();
  if (byteLength === absent) return undefined;
  const { bytes } = reader;
  const offset = alignedTo8(reader.offset);
  if (!(byteLength >= 0) || offset + byteLength > bytes.byteLength) throw new ProtocolError('the checkpoint ends behind its message');
  return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, byteLength);
}

// ------------------------------------------------------------------------------------------- one number, or some JSON

type NumberMessage = 'cancel' | 'unload' | 'unloadReply' | 'ping' | 'pong' | 'started';

/** cancel: run id; pong: resident bytes; started: thread id; of the others the number says nothing. */
export function encodeNumber(type: NumberMessage, value = 0): Message {
  start(messageType[type]).number(value);
  return finish();
}

export function decodeNumber(bytes: Uint8Array): number {
  return open(bytes).number();
}

interface JsonMessages {
  load: LoadTask;
  loadReply: LoadReply;
  log: LaneLog;
  /** The lane's thread is gone, the cell follows. */
  ended: { reason: string; detail: string };
}

/** @throws TypeError when the value holds what JSON cannot (a cycle, a bigint). */
export function encodeJson<T extends keyof JsonMessages>(type: T, value: JsonMessages[T]): Message {
  const json = JSON.stringify(value);
  start(messageType[type]).text(json);
  return finish();
}

export function decodeJson<T extends keyof JsonMessages>(type: T, bytes: Uint8Array): JsonMessages[T] {
  if (typeOf(bytes) !== messageType[type]) throw new ProtocolError(`expected ${type}, got message type ${bytes[0]}`);
  try {
    return JSON.parse(open(bytes).text()) as JsonMessages[T];
  } catch (error) {
    throw new ProtocolError(`${type}: ${error instanceof Error ? error.message : error}`);
  }
}
