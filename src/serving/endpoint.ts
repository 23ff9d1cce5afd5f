/**
 * One actor's requests as they come over a bus: decode, check, route, encode, answer once.
 *
 * A client's error ends here and never reaches a replica. A message nobody waits for the answer of is dropped unrun.
 * Deliberately knows nothing of subscriptions: host/ decides when this endpoint is reachable.
 */
import { ServeError, isServeError } from '../errors.js';
import type { BusMessage, Clock, JsonCodec, Random } from '../ports.js';
import { encodeError } from '../protocol/error-body.js';
import { answerHeaders, errorHeaders, readRequestHeaders } from '../protocol/headers.js';
import { OFF_LOOP_BYTES, jsonBytesOf } from '../protocol/codec-task.js';
import { decodeRequest, encodeResponse, encodedBytes, joinEncoded, type Encoded, type InferRequest, type InferResponse } from '../protocol/infer.js';
import { selectOutputs } from '../protocol/validate.js';
import type { Router } from './router.js';

export interface EndpointOptions {
  readonly actor: string;
  /** Id of this host, first part of `Served-By`. */
  readonly host: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Largest answer the bus takes, in bytes; may change when a server is replaced. */
  readonly answerBytesMax: () => number;
  /** For JSON too large for this loop; without it everything is done here. */
  readonly codec?: JsonCodec | undefined;
}

/** Room for headers in the bus's payload limit, which counts them too. */
const HEADER_BYTES = 4096;

export class Endpoint {
  requests = 0;
  errors = 0;
  lastError = '';
  processingMs = 0;

  constructor(
    private readonly router: Router,
    private readonly options: EndpointOptions,
  ) {}

  /** Never rejects. */
  async handle(message: BusMessage): Promise<void> {
    if (!message.hasReply) return;
    const { actor, clock } = this.options;
    const receivedMs = clock.now();
    this.requests++;
    try {
      await this.#infer(message);
    } catch (error) {
      const refusal = isServeError(error) ? error : new ServeError('INTERNAL', `${actor}: ${String(error)}`, { cause: error });
      this.errors++;
      this.lastError = refusal.message;
      this.#respond(message, encodeError(refusal), { ...errorHeaders(refusal), ...answerHeaders({ servedBy: this.options.host, ...(refusal.attempts !== undefined && { attempts: refusal.attempts }) }) });
    } finally {
      this.processingMs += clock.now() - receivedMs;
    }
  }

  async #infer(message: BusMessage): Promise<void> {
    const { actor, host, random } = this.options;
    const receivedMs = this.options.clock.now();
    const { headers, request, outputs } = await this.#read(message);
    const readMs = this.options.clock.now() - receivedMs;
    const answer = await this.router.infer(actor, {
      inputs: request.inputs,
      outputs,
      requestId: headers.requestId ?? request.id ?? random.ulid(),
      timeoutMs: headers.timeoutMs === undefined ? undefined : headers.timeoutMs - readMs,
      idempotent: headers.runOnce ? false : undefined,
      priority: headers.priority,
      attemptsLeft: headers.attemptsLeft,
      hops: headers.hops,
      path: headers.path,
    });
    const encoded = await this.#encode({ modelName: actor, modelVersion: answer.version, outputs: answer.outputs }, request);
    const tooLarge = this.#tooLarge(encodedBytes(encoded), request);
    if (tooLarge) {
      if (answer.host === undefined) this.router.entry(actor)?.dispatcher.answerRefused(); // else it was counted there
      throw tooLarge;
    }
    const facts = {
      servedBy: `${answer.host ?? host}/${answer.servedBy}`, attempts: answer.attempts, modelVersion: answer.version, device: answer.device,
      ...(answer.degraded !== undefined && { degraded: answer.degraded }),
      ...(answer.epoch !== undefined && { epoch: answer.epoch }),
      ...(encoded.jsonLength !== undefined && { jsonLength: encoded.jsonLength }),
    };
    this.#respond(message, joinEncoded(encoded), answerHeaders(facts));
  }

  /** What cannot be read never reaches the router, which counts everything else. */
  async #read(message: BusMessage) {
    const entry = this.router.entry(this.options.actor);
    try {
      const headers = readRequestHeaders(message.headers);
      const decoding = this.#decode(message.data, headers.jsonLength);
      const request = decoding instanceof Promise ? await decoding : decoding;
      return { headers, request, outputs: selectOutputs(request.outputs, entry?.metadata) };
    } catch (error) {
      if (entry) entry.dispatcher.outcomes.rejected++;
      throw error;
    }
  }

  #decode(bytes: Uint8Array, jsonLength: number | undefined): InferRequest | Promise<InferRequest> {
    const { codec } = this.options;
    return codec && (jsonLength ?? bytes.byteLength) > OFF_LOOP_BYTES ? codec.decodeRequest(bytes, jsonLength) : decodeRequest(bytes, jsonLength);
  }

  #encode(response: InferResponse, request: InferRequest): Encoded | Promise<Encoded> {
    const { codec } = this.options;
    return codec && jsonBytesOf(response, request) > OFF_LOOP_BYTES ? codec.encodeResponse(response, request) : encodeResponse(response, request);
  }

  #tooLarge(bytes: number, request: InferRequest): ServeError | undefined {
    const bytesMax = this.options.answerBytesMax() - HEADER_BYTES;
    if (bytes <= bytesMax) return undefined;
    const cure = request.binaryOutputDefault ? 'request fewer outputs, or send less per request' : 'ask for binary outputs (parameters.binary_data_output: true), fewer outputs, or send less per request';
    return new ServeError('PAYLOAD_TOO_LARGE', `the answer has ${bytes} bytes, the bus takes ${bytesMax}: ${cure}`);
  }

  #respond(message: BusMessage, data: Uint8Array, headers: Record<string, string>): void {
    try {
      message.respond(data, headers);
    } catch {
      // The broker's limit shrank between the check and now, or the bus is closed: the caller's own time-out answers.
    }
  }
}
