/** Decisions on single messages, where a table is clearer than a scenario. The long stories are in the OTP corpus. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChildPhase } from '../../src/policy/children.js';
import { patchChild } from '../../src/policy/children.js';
import type { ChildRules, RestartType } from '../../src/policy/restart.js';
import type { Decision, Ledger, Message, SupervisionRules } from '../../src/policy/supervise.js';
import { beginDelay, decide, newLedger } from '../../src/policy/supervise.js';

const rules: SupervisionRules = {
  strategy: 'one_for_one', intensity: 3, periodMs: 1000, autoShutdown: 'never', backoff: undefined, resetAfterMs: 1000,
  consecutiveMax: Infinity, exitsCoalesceMs: 0,
};
const moment = { now: 10, chance: () => 0 };

function child(id: string, restart: RestartType = 'permanent'): ChildRules {
  return { id, restart, significant: false, shutdown: 1000, type: 'worker' };
}

/** Children a, b, c of incarnation 1, all in one phase. */
function ledgerIn(phase: ChildPhase, restart: RestartType = 'permanent'): Ledger<ChildRules> {
  let ledger = newLedger(['a', 'b', 'c'].map((id) => child(id, restart)));
  for (const id of ['a', 'b', 'c']) {
    ledger = { ...ledger, children: patchChild(ledger.children, id, { phase, incarnation: 1, alive: phase === 'running' }) };
  }
  return ledger;
}

const on = (ledger: Ledger<ChildRules>, message: Message<ChildRules>, more: Partial<SupervisionRules> = {}): Decision<ChildRules> =>
  decide(ledger, { ...rules, ...more }, message, moment);
const word = ({ answer, job }: Decision<ChildRules>): string => (job ? `job ${job.cause}` : !answer ? '-' : answer.ok ? 'ok' : answer.error);
const exit = { type: 'exit', id: 'b', incarnation: 1, reason: 'crashed', detail: '', charge: true } as const;

test('calls x phases: OTP\'s replies', () => {
  const table: Record<ChildPhase, [start: string, terminate: string, restart: string, remove: string]> = {
    starting: ['already_started', 'job terminateChild', 'running', 'running'],
    running: ['already_started', 'job terminateChild', 'running', 'running'],
    stopping: ['already_started', 'job terminateChild', 'running', 'running'],
    restarting: ['already_present', 'ok', 'restarting', 'restarting'],
    stopped: ['already_present', 'ok', 'job restartChild', 'ok'],
  };
  for (const [phase, words] of Object.entries(table) as [ChildPhase, string[]][]) {
    const ledger = ledgerIn(phase);
    const got = [
      on(ledger, { type: 'startChild', spec: child('b') }),
      ...(['terminateChild', 'restartChild', 'deleteChild'] as const).map((type) => on(ledger, { type, id: 'b' })),
    ].map(word);
    assert.deepEqual(got, words, phase);
  }
  for (const type of ['terminateChild', 'restartChild', 'deleteChild'] as const) {
    assert.equal(word(on(ledgerIn('running'), { type, id: 'x' })), 'not_found');
  }
  assert.equal(word(on(ledgerIn('running'), { type: 'startChild', spec: child('x') })), 'job startChild');
});

test('an exit notice counts only for the running incarnation it is about', () => {
  for (const phase of ['starting', 'stopping', 'restarting', 'stopped'] as const) {
    assert.deepEqual(on(ledgerIn(phase), exit), { ledger: ledgerIn(phase) }, phase);
  }
  const ledger = ledgerIn('running');
  assert.equal(on(ledger, { ...exit, incarnation: 2 }).ledger, ledger);
  assert.equal(on(ledger, { ...exit, id: 'x' }).ledger, ledger);
  assert.equal(word(on(ledger, exit)), 'job restart');
});

test('a restart: who stops, who starts, in which order, for every strategy', () => {
  const jobs = (['one_for_one', 'rest_for_one', 'one_for_all'] as const).map((strategy) => {
    const { job } = on(ledgerIn('running'), exit, { strategy });
    return [job?.stops, job?.starts];
  });
  assert.deepEqual(jobs, [[[], ['b']], [['c'], ['b', 'c']], [['c', 'a'], ['a', 'b', 'c']]]);
});

test('a group restart stops temporary members and does not start them again', () => {
  const ledger = newLedger([child('a', 'temporary'), child('b'), child('c', 'temporary')]);
  const running = { ...ledger, children: ledger.children.map((one) => ({ ...one, phase: 'running' as const, incarnation: 1 })) };
  const { job } = on(running, exit, { strategy: 'one_for_all' });
  assert.deepEqual([job?.stops, job?.starts], [['c', 'a'], ['b']]);
});

test('tryAgain: only for a child that is restarting and has no delay running', () => {
  for (const phase of ['starting', 'running', 'stopping', 'stopped'] as const) {
    assert.equal(word(on(ledgerIn(phase), { type: 'tryAgain', id: 'b' })), '-', phase);
  }
  const restarting = ledgerIn('restarting');
  assert.equal(word(on(restarting, { type: 'tryAgain', id: 'b' })), 'job restart');
  const { ledger } = beginDelay(restarting, { cause: 'restart', id: 'b', stops: [], starts: ['b'], delayMs: 5 }, 10);
  assert.equal(word(on(ledger, { type: 'tryAgain', id: 'b' })), '-');
});

test('the end of a delay: once, and only for members still waiting', () => {
  const { ledger, delay } = beginDelay(ledgerIn('restarting'), { cause: 'restart', id: 'b', stops: [], starts: ['b', 'c'], delayMs: 5 }, 10);
  const taken = { ...ledger, children: patchChild(ledger.children, 'b', { phase: 'stopped' }) };
  const over = { type: 'delayOver', trigger: 'b', token: delay.token } as const;
  const first = on(taken, over);
  assert.deepEqual([first.job?.starts, first.ledger.delays], [['c'], []]);
  assert.equal(word(on(first.ledger, over)), '-');
});

test('decisions leave the ledger they were given alone', () => {
  const freeze = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  };
  const ledger = ledgerIn('running');
  freeze(ledger);
  on(ledger, exit, { strategy: 'one_for_all' });
  on(ledger, { type: 'startChild', spec: child('x') });
  on(ledger, { type: 'terminateChild', id: 'a' });
  assert.deepEqual(ledger, ledgerIn('running'));
});
