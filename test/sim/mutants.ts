/**
 * Checkers that have never caught anything prove nothing. Each mutant is the host with one rule broken on purpose; each
 * must be caught by an invariant.
 *
 * A mutant is made of the compiled files: copied to a folder of their own, a few characters changed there, loaded from
 * there. So no production code carries a switch for it, and policies (plain functions that nothing can replace at run
 * time) can be broken like everything else. An edit that does not match exactly once is an error: a mutant that changes
 * nothing would be a checker that proves nothing.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Violation } from './invariants.js';
import { mutated, type Edit } from './mutated.js';

export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Seeds tried at most. */
  readonly seedsMax: number;
}

const mutant = (name: string, file: string, from: RegExp, to: string, seedsMax = 40): Mutant => ({ name, edits: [{ file, from, to }], seedsMax });

export const mutants: readonly Mutant[] = [
  mutant('drop replay', 'policy/replay', /\? 'solo' : 'replay'/, "? 'exhausted' : 'exhausted'"),
  {
    name: 'count per child',
    edits: [
      { file: 'policy/supervise', from: /chargeRestart\(ledger\.window,/, to: 'chargeRestart(child.window ?? { authorisedAt: [] },' },
      { file: 'policy/supervise', from: /patchChild\(ledger\.children, id, \{ phase: 'restarting', alive: false \}\)/, to: "patchChild(ledger.children, id, { phase: 'restarting', alive: false, window: charge.window })" },
    ],
    seedsMax: 40,
  },
  mutant('reset backoff on start', 'policy/supervise', /\{ phase: 'running' \}/, "{ phase: 'running', failures: 0 }"),
  mutant('route before proof', 'supervision/replica', /'lane\.loaded': \{ target: 'proving'/, "'lane.loaded': { target: '#replica.ready'"),
  mutant('forget reverse order', 'supervision/steps', /idsOf\(draft\.ledger\.children\)\.toReversed\(\)/, 'idsOf(draft.ledger.children)'),
  mutant('lose a ticket on exit', 'serving/dispatcher', /slot\.runs\.splice\(0\)\.reverse\(\)/, 'slot.runs.splice(0).reverse().slice(1)'),
  mutant('forget hold', 'policy/availability', /event\.restartUnderWay && holdMs > 0/, 'false'),
  {
    name: 'answer twice',
    edits: [
      { file: 'serving/ticket', from: /#finish\(end\) \{\s*if \(this\.#ended\)/, to: '#finish(end) {\n        if (false)' },
      { file: 'serving/dispatcher', from: /if \(ticket\.ended\)(\s*this\.lateResults)/, to: 'if (false)$1' },
    ],
    seedsMax: 40,
  },
  mutant('one execution too many', 'serving/intake', /Math\.min\(1 \+ replaysMax,/, 'Math.min(2 + replaysMax,'),
  mutant('ignore Attempts-Left', 'serving/intake', /(Math\.min\(1 \+ replaysMax), call\.attemptsLeft \?\? Infinity\)/, '$1, Infinity)', 100),
  mutant('repeat what is not idempotent', 'policy/replay', /if \(!run\.idempotent\)/, 'if (false)'),
  mutant('hedge what is not idempotent', 'serving/lost-runs', /ticket\.onLanes > 1 \|\| !ticket\.idempotent/, 'ticket.onLanes > 1'),
  mutant('skip quarantine', 'serving/shared', /(\n +)(quarantine\([^)]*\) \{)/, '$1$2$1    return;', 100),
  mutant('suspects run like others', 'policy/replay', /\? 'solo' : 'replay'/, "? 'replay' : 'replay'"),
  mutant('blame without a solo run', 'policy/replay', /run\.laneDiedByItself && run\.soloRuns >= \(run\.killed \? 2 : 1\)/, 'run.laneDiedByItself'),
  mutant('spend the last replica on a suspect', 'serving/trials', /if \(open\.length < 2\)/, 'if (open.length < 1)'),
  mutant('judge by a late timer', 'supervision/replica-pings', /if \(late\)/, 'if (false)', 200),
  mutant('judge runs by a late timer', 'serving/run-watch', /nowMs - dueMs <= LATE_MS/, 'true', 100),
  mutant('budget off by one', 'policy/restart', /authorisedAt\.length > limits\.intensity/, 'authorisedAt.length > limits.intensity + 1'),
  mutant('exits never coalesce', 'policy/restart', /const covered = coalesceMs > 0/, 'const covered = false', 100),
  mutant('drain into the void', 'host/actor-runtime', /unrouted: \(replica\) => routes\.close\(replica\)/, 'unrouted: () => {}'),
  mutant('forget the unsubscribe', 'host/links', /for \(const subscription of this\.#inference\.get\(actor\)\)\s*subscription\.unsubscribe\(\);/, ''),
  mutant('leave a timer behind', 'serving/run-watch', /this\.desk\.shared\.clock\.clearTimeout\(this\.#timer\);/, ''),
  mutant('leak queued bytes', 'serving/queue', /this\.bytes -= ticket\.bytes;/, ''),
  mutant('ignore the replay budget', 'policy/replay', /if \(sum\(now\.replays\) >= /, 'if (false && sum(now.replays) >= ', 200),
  mutant('let NaN out', 'tensor/guard', /if \(rules\.finite && /, 'if (false && ', 200),
  mutant('never prove again', 'supervision/replica-freshness', /if \(ageMs >= periodMs/, 'if (false', 100),
  mutant('exchange before the new one is proven', 'host/pool-calls', /if \(!result\.ok\)\s*this\.#settle\(id, false, result\.error\);/, "this.#settle(id, result.ok, 'started');", 100),
  mutant('roll on when a replica did not prove', 'host/placement', /if \(!added\.ready\) \{(\s*await this\.#restore)/, 'if (false) {$1', 100),
  mutant('a pool that gave up stays away', 'host/placement', /const retry = \(\) => \{/, 'const retry = () => {\n            return;'),
  mutant('serve on a device that broke', 'serving/dispatcher', /this\.routeClosed\(route\);(\s*this\.events\.deviceFailed)/, ';$1', 100),
  mutant('a second broken context closes its own replica only', 'serving/doubts', /return second \?/, 'return false ?', 300),
  mutant('do not fence', 'host/devices', /id === 'cpu' \|\| device\.state\.state !== 'usable'/, 'true', 100),
  mutant('do not run again what its device lost', 'serving/lost-runs', /(function deviceLost[\s\S]*?else if \()/, '$1false && ', 100),
  mutant('unmarked second choice', 'host/pools', /effects: edition\.effects\(device, degraded\)/, 'effects: edition.effects(device, undefined)', 100),
  mutant('never look at a fenced device again', 'host/devices', /device\.timer = clock\.setTimeout\(/, 'device.timer = (() => {})(', 100),
  mutant('believe a fenced device without a probe', 'host/devices', /return this\.#failed\(id, device, device\.state\.state === 'fenced' \? 'fenced' : 'unusable', reason\);/, '{ }', 100),
  mutant('stay on a fenced device', 'host/devices', /(?<!\.)changed\(id, device\.state\);/, "if (state !== 'fenced') changed(id, device.state);", 100),
  mutant('place on a fenced device', 'policy/devices', /if \(known\.state !== 'usable'\)/, "if (known.state === 'unusable')", 100),
  mutant('leave a device before the next one is proven', 'host/placement', /if \(!placed\.alive && !placed\.pauses\.has\(choice\.device\)\)/, 'if (!placed.pauses.has(choice.device))', 100),
];

export interface Caught {
  readonly mutant: string;
  readonly seed: number;
  /** Name of the invariant that caught it, and what it said first. */
  readonly by: readonly string[];
  readonly detail: string;
}

/** Seeds that have betrayed a mutant before are tried first; all others follow, so nothing hangs on this list. */
const betrayals: Readonly<Record<string, number>> = {
  'count per child': 10, 'lose a ticket on exit': 4, 'forget hold': 3, 'answer twice': 3, 'one execution too many': 11, 'ignore Attempts-Left': 21, 'hedge what is not idempotent': 7,
  'skip quarantine': 49, 'judge by a late timer': 96, 'spend the last replica on a suspect': 31, 'judge runs by a late timer': 47, 'never prove again': 7, 'budget off by one': 7, 'exits never coalesce': 18, 'let NaN out': 12, 'a pool that gave up stays away': 7,
  'a second broken context closes its own replica only': 18, 'do not run again what its device lost': 18, 'believe a fenced device without a probe': 10,
};

/** Tries seeds in order until one betrays the mutant; undefined if none does. */
export async function hunt(target: Mutant, firstSeed = 1): Promise<Caught | undefined> {
  const folder = mutated(target);
  try {
    // Types only: the modules are the mutant's own.
    const load = (file: string): Promise<unknown> => import(pathToFileURL(join(folder, 'test', 'sim', `${file}.js`)).href);
    const { simulate } = (await load('world')) as typeof import('./world.js');
    const { check } = (await load('invariants')) as typeof import('./invariants.js');
    const known = betrayals[target.name];
    for (const seed of [...(known === undefined ? [] : [known]), ...Array.from({ length: target.seedsMax }, (_, index) => firstSeed + index)]) {
      const violations: Violation[] = check(await simulate(seed));
      const [first] = violations;
      if (first) return { mutant: target.name, seed, by: [...new Set(violations.map(({ invariant }) => invariant))], detail: first.detail };
    }
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
