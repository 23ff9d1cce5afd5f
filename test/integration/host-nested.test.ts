/** Modules that ask other actors: what a nested call inherits, what it is refused, and whose clock stands still. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DEPTH_MAX } from '../../src/serving/router.js';
import { act, acts, briskRestart, gate, rejection, said, stageHost, type HostStage } from '../support/host-stage.js';

const chain = Array.from({ length: DEPTH_MAX + 1 }, (_, index) => `deep${index}`);

let stage: HostStage;
before(async () => {
  stage = await stageHost({
    actors: [
      acts('outer', { hangMs: 300, restart: briskRestart }), acts('inner', { hangMs: 10_000 }),
      acts('hangs', { hangMs: 200, timeoutMs: 10_000, restart: briskRestart }),
      acts('hangs-twice', { hangMs: 200, timeoutMs: 10_000, idempotent: true, restart: briskRestart }),
      ...chain.map((name) => acts(name, { isolation: 'thread' })),
    ],
  });
});
after(() => stage[Symbol.asyncDispose]());

const ask = async (actor: string, words: string[], options = {}): Promise<string[]> => said((await stage.host.infer(actor, act(...words), options)).outputs);

test('a nested call has what is left of the budget, not its own default', async () => {
  const [left] = await ask('outer', ['ask', 'inner', 'budget'], { timeoutMs: 1500 });
  assert.ok(Number(left) > 0 && Number(left) <= 1500, left);
});

test('the deadline of the outer call ends the inner one', async () => {
  const from = stage.logs.all.length;
  const error = await rejection(ask('outer', ['ask', 'inner', 'until-aborted'], { timeoutMs: 150 }));
  assert.equal(error.code, 'DEADLINE_EXCEEDED');
  await stage.logs.next(({ event, actor }) => event === 'aborted' && actor === 'inner', 'the abort of the inner run', from);
});

test('a caller that is gone is heard by the inner run', async () => {
  const from = stage.logs.all.length;
  const caller = new AbortController();
  const outer = rejection(ask('outer', ['ask', 'inner', 'until-aborted'], { signal: caller.signal }));
  await stage.logs.next(({ event }) => event === 'inside until-aborted', 'the inner run', from);
  caller.abort();
  assert.equal((await outer).name, 'AbortError');
  await stage.logs.next(({ event, actor }) => event === 'aborted' && actor === 'inner', 'the abort of the inner run', from);
});

test('an actor that asks itself, directly or through another, is refused', async () => {
  assert.match((await ask('outer', ['ask', 'outer', 'echo']))[0]!, /^INVALID_ARGUMENT: .*outer is on the path/);
  assert.match((await ask('outer', ['ask', 'inner', 'ask', 'outer', 'echo']))[0]!, /^INVALID_ARGUMENT: .*outer > inner/);
});

test(`calls may be ${DEPTH_MAX} actors deep and no deeper`, async () => {
  const through = (actors: string[]): string[] => actors.slice(1).flatMap((actor) => ['ask', actor]);
  assert.deepEqual(await ask(chain[0]!, [...through(chain.slice(0, DEPTH_MAX)), 'echo', 'deep']), ['echo', 'deep']);
  assert.match((await ask(chain[0]!, [...through(chain), 'echo']))[0]!, /^INVALID_ARGUMENT: .*deep \(at most 8\)/);
});

test('an unknown actor is NOT_FOUND for the module, too', async () => {
  assert.match((await ask('outer', ['ask', 'nobody', 'echo']))[0]!, /^NOT_FOUND/);
});

test('hangMs stands still while a run only waits for nested calls', async () => {
  const door = gate();
  const from = stage.logs.all.length;
  const { pid } = stage.replica('outer');
  const outer = ask('outer', ['ask', 'inner', 'wait', door.file], { timeoutMs: 10_000 });
  await stage.logs.next(({ event }) => event === 'inside wait', 'the inner run', from);
  // A run of the same length that is no nested call ends as hung: only then has enough time passed.
  assert.equal((await rejection(ask('hangs', ['spin']))).code, 'UNAVAILABLE');
  assert.equal((await rejection(ask('hangs', ['spin']))).code, 'UNAVAILABLE');
  door.open();
  assert.deepEqual(await outer, ['waited']);
  assert.equal(stage.replica('outer').pid, pid);
});

test('an endless loop is ended by hangMs, its request is not repeated, and the replica comes back', async () => {
  const from = stage.events.all.length;
  const before = stage.replica('hangs');
  const error = await rejection(stage.host.infer('hangs', act('spin'), { requestId: 'endless' }));
  assert.equal(error.code, 'UNAVAILABLE');
  assert.equal(error.outcome, 'unknown');
  const exit = await stage.events.next(({ type, actor }) => type === 'replica-exit' && actor === 'hangs', 'its exit', from);
  assert.match(exit.reason, /^hung: a run took longer than hangMs \(200\)/);
  assert.deepEqual(exit.detail!['requests'], ['endless']);
  assert.deepEqual(await ask('hangs', ['echo']), ['echo']);
  const now = stage.replica('hangs');
  assert.notEqual(now.pid, before.pid);
  assert.equal(now.restarts, before.restarts + 1);
  assert.equal(now.lastExit!.reason, 'hung');
});

test('an idempotent endless loop hangs two replicas at most and is refused afterwards', async () => {
  const { restarts } = stage.replica('hangs-twice');
  assert.equal((await rejection(ask('hangs-twice', ['spin', '/never']))).code, 'POISON');
  assert.equal((await rejection(ask('hangs-twice', ['spin', '/never']))).code, 'POISON');
  assert.deepEqual(await ask('hangs-twice', ['echo']), ['echo']);
  assert.equal(stage.replica('hangs-twice').restarts, restarts + 2);
});
