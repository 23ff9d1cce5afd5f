/**
 * Whether a request is let in, and what it gets at most. Learns how long runs take, because the wait that lies ahead is
 * the best reason to refuse one while its caller can still go elsewhere. The rule itself is policy/admission.
 */
import { ServeError } from '../errors.js';
import { admit, learnServiceMs, runsAhead } from '../policy/admission.js';
import type { RunReply } from '../protocol/task.js';
import type { Desk } from './desk.js';
import type { Run, Slot } from './slot.js';
import type { InferCall } from './ticket.js';

export interface Grant {
  readonly budgetMs: number;
  /** Executions over all hosts. */
  readonly attemptsMax: number;
  /** Whether it may have a second one. */
  readonly idempotent: boolean;
}

export class Intake {
  #serviceMs: number | undefined;
  /** Learned time a run takes inside its lane, without the way there and back. */
  #laneMs: number | undefined;
  #answers = 0;
  /** Runs that may wait in a lane behind those that run. */
  ahead = 1;

  constructor(private readonly desk: Desk) {}

  grant(call: InferCall): Grant {
    const { timeoutMs, timeoutMaxMs, replaysMax, idempotent } = this.desk.options;
    return {
      // What an operator tries again may have to wait for a replica of its own; no caller can say `suspect`.
      budgetMs: call.suspect ? (call.timeoutMs ?? timeoutMaxMs) : Math.min(call.timeoutMs ?? timeoutMs, timeoutMaxMs),
      attemptsMax: Math.min(1 + replaysMax, call.attemptsLeft ?? Infinity),
      idempotent: idempotent && call.idempotent !== false,
    };
  }

  /** @param down why no requests are taken, if none are; @param version of the replicas it would run on */
  refusal(call: InferCall, bytes: number, budgetMs: number, down: string | undefined, version: string): ServeError | undefined {
    const { options, shared, queue, lanes } = this.desk;
    const { name, quarantineMs } = options;
    if (!(budgetMs > 0)) return new ServeError('DEADLINE_EXCEEDED', 'the budget was used up before the request was admitted');
    if (call.attemptsLeft !== undefined && call.attemptsLeft < 1) return new ServeError('UNAVAILABLE', 'no execution is left (Attempts-Left: 0)');
    if (down !== undefined) return new ServeError('UNAVAILABLE', `actor ${name} has no ready replica here: ${down}`, { retryAfterMs: 1000, attempts: 0 });
    if (call.suspect) return undefined;
    if (shared.isQuarantined(() => this.desk.fingerprint(call.inputs, version), shared.clock.now())) {
      this.desk.quarantined++;
      return new ServeError('POISON', `an equal request ended a replica of ${name} in a run of its own; it is refused for ${quarantineMs} ms`);
    }
    const verdict = admit(
      {
        count: queue.count, bytes: queue.bytes, sizeMax: options.queue.sizeMax, bytesMax: options.queue.bytesMax,
        hostBytes: shared.queueBytes, hostBytesMax: shared.queueBytesMax,
        serviceMs: this.#serviceMs, lanes: lanes.concurrency, running: lanes.running,
      },
      bytes, budgetMs,
    );
    return verdict.admit ? undefined : new ServeError('RESOURCE_EXHAUSTED', `${name}: ${verdict.message}`, { retryAfterMs: verdict.retryAfterMs, attempts: 0 });
  }

  /** To be told of every answer while its run is still on its slot. */
  learn(slot: Slot, run: Run, reply: RunReply, tookMs: number): void {
    // Says how long what waits will wait: not a replica's cold first run, not a suspect's, not one that was frozen.
    if (slot.lastAnswerMs > 0 && !run.solo && slot.mode !== 'suspect') this.#serviceMs = learnServiceMs(this.#serviceMs, tookMs);
    if (!reply.ok) return;
    this.#laneMs = learnServiceMs(this.#laneMs, reply.runMs);
    this.ahead = runsAhead(this.#laneMs, ++this.#answers);
  }
}
