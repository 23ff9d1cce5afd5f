/**
 * What onnxruntime-node's failures mean. All of them are plain Errors, so this one file matches on their text; the
 * texts were taken from 1.30.0, and an unknown one means INTERNAL, or a load worth another try.
 */
import type { RunReply } from '../protocol/task.js';
import type { LoadFailure } from '../protocol/session.js';

/** The request's fault: the same input fails on every replica. */
const inputFaults = new RegExp([
  'Invalid rank for input', 'Got invalid dimensions for input', 'Unexpected input data type', "is missing in 'feeds'",
  'Missing Input', 'Invalid Feed Input Name', 'contains invalid output name', 'Invalid Output Name',
  'not enough space', 'does not match data length', "tensor's data must be",
].join('|'), 'i');

/** The device is gone for this process, whatever is asked of it. */
const deviceFaults = new RegExp([
  'CUDA failure', 'CUDA error', 'CUDNN', 'CUBLAS', 'Failed to load shared library', 'backend not found',
  'device (was |is )?lost', 'cannot open shared object file', 'Library not loaded',
].join('|'), 'i');
/** Said only while a session is created. */
const adapterFaults = /WebGPU (adapter|device|context)|wgpu|adapter/i;

/** The file's fault: the same bytes fail again. */
const fileFaults = new RegExp([
  'protobuf parsing failed', 'No graph was found', 'INVALID_PROTOBUF', 'Invalid model', 'INVALID_GRAPH', 'This is an invalid model', 'opset', 'ModelProto',
  "doesn't exist", 'No such file', 'ENOENT', 'EISDIR', 'EACCES', 'Model data pointer is null', 'ORT model verification failed',
  'Unsupported data type', 'Unsupported model IR version', 'NOT_IMPLEMENTED', 'Could not find an implementation', 'not a registered function',
  'Type Error', 'model changed on disk', 'Node \\(', 'External data', 'external initializer',
].join('|'), 'i');

export function classifyLoadError(error: unknown, task: { readonly file: string; readonly device: string }): LoadFailure {
  const message = messageOf(error);
  if (isWorded(error)) return { ok: false, message, permanent: !error.deviceFatal, deviceFatal: error.deviceFatal };
  const deviceFatal = task.device !== 'cpu' && (deviceFaults.test(message) || adapterFaults.test(message));
  if (deviceFatal) return { ok: false, message: `device ${task.device}: ${message}`, permanent: false, deviceFatal };
  return { ok: false, message: `${task.file}: ${message}`, permanent: fileFaults.test(message), deviceFatal: false };
}

export function classifyRunError(error: unknown): RunReply {
  const message = messageOf(error);
  const ofRequest = (error instanceof Error && error.name === 'TensorError') || inputFaults.test(message);
  if (ofRequest) return { ok: false, code: 'INVALID_ARGUMENT', message };
  const deviceFatal = deviceFaults.test(message);
  return { ok: false, code: 'INTERNAL', message, ...(deviceFatal && { deviceFatal }) };
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim();
}

function isWorded(error: unknown): error is Error & { deviceFatal: boolean } {
  return error instanceof Error && typeof (error as { deviceFatal?: unknown }).deviceFatal === 'boolean';
}
