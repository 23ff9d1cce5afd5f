/**
 * A host calls its own id on the bus before it answers to it: an answer from another incarnation means that two hosts would
 * be one to everybody else.
 */
import type { Bus } from '../ports.js';
import type { HostStatus } from '../protocol/status.js';
import type { Subjects } from '../protocol/subjects.js';
import { aborted, isUp } from './cluster.js';

/** For another host of the same id to answer. */
const ID_CALL_MS = 500;

/** Waits for the broker as long as that takes. Resolves with why the id is not free; undefined: it is, or `signal` aborted. */
export async function idTaken(bus: Bus, subjects: Subjects, own: { readonly id: string; readonly incarnation: string }, signal: AbortSignal): Promise<string | undefined> {
  await Promise.race([isUp(bus), aborted(signal)]);
  if (signal.aborted) return undefined;
  const answer = await bus.request(subjects.statusOf(own.id), new Uint8Array(), { timeoutMs: ID_CALL_MS }).catch(() => undefined);
  if (!answer) return undefined;
  const { incarnation } = JSON.parse(new TextDecoder().decode(answer.data)) as HostStatus;
  return incarnation === own.incarnation ? undefined : `host id "${own.id}" is in use by another host (incarnation ${incarnation}); give this one another "host"`;
}
