/**
 * The order `dead-letters`: list, show, replay, clear.
 *
 * A replay runs the request once more, alone, and never on the last ready replica: where an actor has only one, a second
 * is started for it and taken away afterwards. What a caller gets for an equal request changes only with the result: an
 * answer lifts the quarantine, another death prolongs it, anything else (no room, no time) leaves it.
 */
import { ServeError, isServeError } from '../errors.js';
import type { Log } from '../ports.js';
import { decodeRequest } from '../protocol/infer.js';
import type { Router } from '../serving/router.js';
import type { InferAnswer } from '../serving/ticket.js';
import type { ActorSpec } from '../spec/actor.js';
import { wanted, type Verb } from './control.js';
import type { DeadLetter, DeadLetters } from './dead-letters.js';

export interface DeadLetterOrders {
  readonly letters: DeadLetters;
  readonly router: Router;
  readonly log: Log;
  readonly specOf: (actor: string) => ActorSpec | undefined;
  /** One replica more for a while: resolves with the way to take it back, or with why there is none. */
  readonly lend: (actor: string) => Promise<(() => Promise<void>) | string>;
  /** @returns whether it was in quarantine */
  readonly release: (fingerprint: string) => boolean;
  /** Largest answer the bus takes, in bytes. */
  readonly answerBytesMax: () => number;
}

export interface ReplayResult {
  readonly id: string;
  readonly ok: boolean;
  /** For people. */
  readonly result: string;
  readonly code?: string;
  readonly quarantine: 'lifted' | 'in force' | 'none';
  readonly outputs?: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[] }[];
  readonly servedBy?: string;
}

/** JSON and headers around the request itself. */
const SHOW_EXTRA_BYTES = 64 * 1024;

export function deadLetterVerb(orders: DeadLetterOrders): Verb {
  const { letters } = orders;
  let turn: Promise<unknown> = Promise.resolve();
  const found = (request: Readonly<Record<string, unknown>>): DeadLetter => {
    const id = wanted(request, 'id');
    const letter = letters.get(id);
    if (!letter) throw new ServeError('NOT_FOUND', `no dead letter "${id}" on this host`);
    return letter;
  };
  const actions: Readonly<Record<string, Verb>> = {
    list: async () => ({ letters: letters.list() }),
    show: async (request) => show(found(request), orders),
    clear: async (request) => ({ cleared: letters.clear(request['id'] === undefined ? undefined : found(request).id) }),
    replay: (request) => {
      const letter = found(request);
      // One at a time: each may cost a replica.
      const mine = turn.then(() => replay(letter, orders));
      turn = mine.catch(() => {});
      return mine;
    },
  };
  return (request) => {
    const action = request['action'] ?? 'list';
    const run = typeof action === 'string' && Object.hasOwn(actions, action) ? actions[action] : undefined;
    if (!run) throw new ServeError('INVALID_ARGUMENT', `dead-letters cannot ${JSON.stringify(action)}; it can ${Object.keys(actions).join(', ')}`);
    return run(request);
  };
}

/** The letter, and its request in base64 where an answer can carry it. */
async function show(letter: DeadLetter, { letters, answerBytesMax }: DeadLetterOrders): Promise<unknown> {
  if (!letter.request) return { letter };
  if ((letter.request.bytes * 4) / 3 + SHOW_EXTRA_BYTES > answerBytesMax()) return { letter, contentOmitted: `it has ${letter.request.bytes} bytes, too many for one answer; read its file on the host` };
  const bytes = await letters.request(letter.id);
  return bytes ? { letter, content: Buffer.from(bytes).toString('base64') } : { letter, contentOmitted: 'its file cannot be read' };
}

async function replay(letter: DeadLetter, orders: DeadLetterOrders): Promise<ReplayResult> {
  const { letters, log, release } = orders;
  const { id, actor, fingerprint } = letter;
  const bytes = await letters.request(id);
  if (!bytes) throw new ServeError('NOT_FOUND', `the request of dead letter ${id} is not kept: ${letter.notKept ?? 'its file cannot be read'}`);
  const ended = await runAlone(letter, bytes, orders);
  const result = endOf(ended);
  // An error the model answered with did not end the replica either.
  const harmless = result.ok || result.code === 'INTERNAL';
  const lifted = harmless && release(fingerprint);
  const quarantine = result.code === 'POISON' ? 'in force' : lifted ? 'lifted' : harmless ? 'none' : 'in force';
  letters.replayed(id, result.result);
  log.log('info', 'dead-letter-replayed', { id, actor, result: result.result, quarantine });
  return { id, ...result, quarantine };
}

type End = { readonly answer: InferAnswer } | { readonly error: ServeError };

async function runAlone(letter: DeadLetter, bytes: Uint8Array, { router, specOf, lend }: DeadLetterOrders): Promise<End> {
  const { actor, requestId } = letter;
  const spec = specOf(actor);
  if (!spec) throw new ServeError('NOT_FOUND', `no actor "${actor}" on this host any more`);
  const request = decodeRequest(bytes, letter.request?.jsonLength);
  const serving = router.entry(actor)?.dispatcher.openCount ?? 0;
  if (serving === 0) return { error: new ServeError('UNAVAILABLE', `no replica of ${actor} is ready; a replay is for quieter times`) };
  const needsSpare = serving < 2;
  const stop = new AbortController();
  const answer = router.infer(actor, {
    inputs: request.inputs,
    outputs: request.outputs?.map(({ name }) => name),
    requestId,
    suspect: true,
    attemptsLeft: 1,
    timeoutMs: spec.timeoutMaxMs + (needsSpare ? 2 * spec.startTimeoutMs : 0),
    signal: stop.signal,
  }).then((good): End => ({ answer: good }), (error: unknown): End => ({ error: isServeError(error) ? error : new ServeError('UNAVAILABLE', error instanceof Error ? error.message : String(error)) }));
  if (!needsSpare) return answer;
  // It waits among the suspects; the newcomer takes it before anything else.
  const takeBack = await lend(actor);
  if (typeof takeBack === 'string') stop.abort(new Error(`${actor} has one ready replica, and none could be started beside it: ${takeBack}`));
  const end = await answer;
  if (typeof takeBack !== 'string') await takeBack();
  return end;
}

function endOf(end: End): Omit<ReplayResult, 'id' | 'quarantine'> {
  if ('error' in end) return { ok: false, code: end.error.code, result: `${end.error.code}: ${end.error.message}` };
  const { outputs, servedBy } = end.answer;
  return { ok: true, result: `answered by ${servedBy}`, servedBy, outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })) };
}
