/**
 * Large JSON in a thread of its own (measured: 5.7 MB cost 67-93 ms on the host's loop, which also answers pings). The
 * thread is started by the first large message and leaves after half a minute without one. When it fails, the message is
 * handled here: slow beats lost.
 */
import { Piscina } from 'piscina';
import { fileURLToPath } from 'node:url';
import { ServeError } from '../errors.js';
import type { JsonCodec } from '../ports.js';
import type { CodecReply, CodecTask } from '../protocol/codec-task.js';
import { decodeRequest, encodeResponse, type Encoded, type InferRequest, type InferResponse } from '../protocol/infer.js';

const IDLE_MS = 30_000;

export function createJsonCodec(entry: URL = new URL('../../actors/codec.js', import.meta.url)): JsonCodec {
  return new CodecThread(fileURLToPath(entry));
}

class CodecThread implements JsonCodec {
  readonly #filename: string;
  #pool: Piscina | undefined;

  constructor(filename: string) {
    this.#filename = filename;
  }

  async decodeRequest(bytes: Uint8Array, jsonLength: number | undefined): Promise<InferRequest> {
    const reply = await this.#ask({ do: 'decode', bytes: bytes.slice(), jsonLength });
    return reply && 'request' in reply ? reply.request : decodeRequest(bytes, jsonLength);
  }

  async encodeResponse(response: InferResponse, request: InferRequest): Promise<Encoded> {
    const plain = { ...response, outputs: response.outputs.map((tensor) => ({ ...tensor, data: tensor.data.slice() })) };
    const { id, outputs, binaryOutputDefault } = request;
    const reply = await this.#ask({ do: 'encode', response: plain, request: { inputs: [], parameters: {}, ...(id !== undefined && { id }), ...(outputs && { outputs }), ...(binaryOutputDefault !== undefined && { binaryOutputDefault }) } });
    if (!reply || !('encoded' in reply)) return encodeResponse(response, request);
    return { ...reply.encoded, chunks: binaryChunks(response, request) };
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.destroy();
  }

  /** Undefined when the thread could not do it. @throws ServeError for what is malformed */
  async #ask(task: CodecTask): Promise<Exclude<CodecReply, { ok: false }> | undefined> {
    const buffers = task.do === 'decode' ? [task.bytes.buffer] : task.response.outputs.map((tensor) => tensor.data.buffer);
    let reply: CodecReply;
    try {
      reply = (await this.#running().run(task, { transferList: [...new Set(buffers)] as ArrayBuffer[] })) as CodecReply;
    } catch {
      return undefined;
    }
    if (!reply.ok) throw new ServeError(reply.code, reply.message);
    return reply;
  }

  #running(): Piscina {
    if (this.#pool) return this.#pool;
    const pool = new Piscina({ filename: this.#filename, minThreads: 0, maxThreads: 1, idleTimeout: IDLE_MS, atomics: 'disabled', concurrentTasksPerWorker: 1 });
    pool.on('error', () => {});
    return (this.#pool = pool);
  }
}

/** The binary tensors of an answer, in the order its JSON names them. */
function binaryChunks(response: InferResponse, request: InferRequest): Uint8Array[] {
  const wanted = request.outputs?.length ? request.outputs : response.outputs.map(({ name }) => ({ name, binary: undefined }));
  return wanted.filter(({ binary }) => binary ?? request.binaryOutputDefault ?? false).map(({ name }) => response.outputs.find((tensor) => tensor.name === name)!.data);
}
