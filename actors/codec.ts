/** Entry of the host's codec thread: decodes and encodes OIP messages whose JSON is too large for the host's loop. */
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { isServeError } from '../src/errors.js';
import type { CodecReply, CodecTask } from '../src/protocol/codec-task.js';
import { decodeRequest, encodeResponse } from '../src/protocol/infer.js';

export default function codec(task: CodecTask): CodecReply {
  try {
    if (task.do === 'encode') {
      const encoded = encodeResponse(task.response, task.request);
      // The binary chunks came from the host, which still has them: only the JSON goes back.
      const head = whole(encoded.head);
      return handedOver({ ok: true, encoded: { ...encoded, head, chunks: [] } }, [head.buffer]);
    }
    const request = decodeRequest(task.bytes, task.jsonLength);
    return handedOver({ ok: true, request }, request.inputs.map((tensor) => tensor.data.buffer));
  } catch (error) {
    if (isServeError(error)) return { ok: false, code: error.code, message: error.message };
    throw error;
  }
}

/** Piscina's protocol for a result whose memory moves instead of being copied. */
function handedOver(reply: CodecReply, buffers: readonly ArrayBufferLike[]): CodecReply {
  return move({ [transferableSymbol]: [...new Set(buffers)], [valueSymbol]: reply } as never) as unknown as CodecReply;
}

/** Its own buffer: a view into a pooled one would take the pool along. */
function whole(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}
