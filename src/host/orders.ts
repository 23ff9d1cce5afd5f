/** The orders an operator may give this host over NATS, as control.ts hears them. Each is a method of the host. */
import { ServeError } from '../errors.js';
import { parseHost, type HostSpec } from '../spec/host.js';
import type { ApplyResult } from './apply.js';
import { wanted, type Verb } from './control.js';

export interface Orders {
  readonly cores: number;
  readonly apply: (spec: HostSpec) => Promise<ApplyResult>;
  readonly restart: (actor: string) => Promise<ApplyResult>;
  readonly eject: (replica: string) => Promise<void>;
  /** Begins to; the answer to the order leaves long before the end. */
  readonly drain: () => void;
  readonly deadLetters: Verb;
}

export const verbsOf = ({ cores, apply, restart, eject, drain, deadLetters }: Orders): Readonly<Record<string, Verb>> => ({
  apply: (request) => {
    const parsed = parseHost(request['spec'], { cores, resolve: (path) => path });
    if (!parsed.ok) throw new ServeError('INVALID_ARGUMENT', parsed.problems.map(({ path, message }) => `${path}: ${message}`).join('\n'));
    // What the order leaves out (nobody sends credentials) is not asked to change.
    const given = Object.keys(request['spec'] as object);
    return apply(parsed.spec).then((result) => ({ ...result, needRestart: result.needRestart.filter((key) => given.includes(key)) }));
  },
  restart: (request) => restart(wanted(request, 'actor')),
  eject: (request) => eject(wanted(request, 'replica')),
  drain: async () => {
    drain();
    return { draining: true };
  },
  'dead-letters': deadLetters,
});
