/** Code that ends its own replica, in every way there is: who is hurt, who is told what, and what comes back. */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createThreadLanes } from '../../src/adapters/thread-lane.js';
import { createCellLanes } from '../../src/adapters/cell-lane.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { silentLog } from '../../src/adapters/pino-log.js';
import { embedded } from '../../src/host/create-host.js';
import { Host } from '../../src/host/host.js';
import { parseHost } from '../../src/spec/host.js';
import type { RegrowEvent } from '../../src/protocol/events.js';
import { act, acts, briskRestart, folder, rejection, said, stageHost, type HostStage } from '../support/host-stage.js';
import { steadyLoad } from '../support/load.js';
import { within } from '../support/lanes.js';

let stage: HostStage;
before(async () => {
  stage = await stageHost({
    actors: [
      acts('thread', { isolation: 'thread', restart: briskRestart }),
      acts('bystander', { isolation: 'thread', replicas: 2 }),
      acts('cell', { restart: briskRestart }),
      acts('one', { idempotent: true, restart: briskRestart }),
      acts('two', { idempotent: true, replicas: 2, restart: briskRestart }),
    ],
  });
});
after(() => stage[Symbol.asyncDispose]());

const of = (actor: string, type: RegrowEvent['type']) => (event: RegrowEvent): boolean => event.actor === actor && event.type === type;

const exits = { 'throw-outside': /^crashed: .*thrown outside a run/, exit: /^crashed: worker exited with code 7/ };
for (const [deed, reason] of Object.entries(exits)) {
  for (const actor of ['thread', 'cell']) {
    test(`${actor}, ${deed}: the run has an unknown outcome, the replica comes back, nobody else notices`, async () => {
      const bystanders = steadyLoad((n) => stage.host.infer('bystander', act('echo', String(n))));
      await bystanders.answered(5);
      const from = stage.events.all.length;
      const before = stage.replica(actor);
      const error = await rejection(stage.host.infer(actor, act(deed), { requestId: `fatal-${deed}` }));
      assert.equal(error.code, 'UNAVAILABLE');
      assert.equal(error.outcome, 'unknown');
      assert.equal(error.retryable, false);
      const exit = await stage.events.next(of(actor, 'replica-exit'), 'the exit', from);
      assert.match(exit.reason, reason);
      assert.deepEqual(exit.detail!['requests'], [`fatal-${deed}`]);
      assert.deepEqual(said((await stage.host.infer(actor, act('echo'))).outputs), ['echo']);
      assert.equal(stage.replica(actor).restarts, before.restarts + 1);
      assert.deepEqual((await bystanders.stop()).failures, []);
      assert.deepEqual(stage.events.all.slice(from).filter(({ actor: whose }) => whose === 'bystander'), []);
    });
  }
}

for (const isolation of ['thread', 'process'] as const) {
  test(`heap out of memory in a ${isolation}: healed likewise, where lanes have a bound`, async () => {
    const parsed = parseHost({ host: 'heap', actors: [acts('hoards', { isolation, restart: briskRestart }), acts('other', { isolation })] }, { cores: 2, resolve: (path) => resolve(folder, path) });
    assert.ok(parsed.ok);
    const resourceLimits = { maxOldGenerationSizeMb: 48 };
    const host = await Host.start(parsed.spec, {
      clock: systemClock, random: systemRandom, log: silentLog, version: '0.0.0', cores: availableParallelism(),
      lanes: { process: createCellLanes({ resourceLimits }), thread: createThreadLanes({ resourceLimits }) },
    });
    try {
      await host.settled;
      const asked = embedded(host);
      assert.equal((await rejection(asked.infer('hoards', act('heap'), { timeoutMs: 20_000 }))).outcome, 'unknown');
      assert.deepEqual(said((await asked.infer('hoards', act('echo'))).outputs), ['echo']);
      const { lastExit, restarts } = asked.status().hosts[0]!.actors[0]!.replicas[0]!;
      assert.deepEqual([restarts, lastExit!.reason, lastExit!.detail], [1, 'crashed', 'heap out of memory']);
      assert.equal(asked.status().hosts[0]!.actors[1]!.replicas[0]!.restarts, 0);
    } finally {
      await within(host.stop(), 'stop');
    }
  });
}

test('a native abort in a cell: unknown outcome for its request, no other actor is touched', async () => {
  const from = stage.events.all.length;
  const pids = ['one', 'two'].flatMap((name) => stage.actor(name).replicas.map(({ pid }) => pid));
  const error = await rejection(stage.host.infer('cell', act('abort')));
  assert.deepEqual([error.code, error.outcome], ['UNAVAILABLE', 'unknown']);
  assert.match(error.message, /SIGABRT/);
  await stage.events.next(of('cell', 'replica-ready'), 'the cell back', from);
  assert.deepEqual(stage.events.all.slice(from).filter(({ actor }) => actor !== 'cell'), []);
  assert.deepEqual(['one', 'two'].flatMap((name) => stage.actor(name).replicas.map(({ pid }) => pid)), pids);
});

describe('a poison request', () => {
  for (const actor of ['one', 'two']) {
    test(`on ${actor} replica(s): POISON after two deaths at most, no innocent request fails, refused at once afterwards`, async () => {
      const from = stage.events.all.length;
      const poison = act('abort', `poison for ${actor}`);
      const innocents = steadyLoad((n) => stage.host.infer(actor, act('echo', String(n))), 6);
      await innocents.answered(12);
      const readyMin = watchReady(actor);
      const error = await rejection(stage.host.infer(actor, poison, { requestId: 'guilty', timeoutMs: 20_000 }));
      assert.equal(error.code, 'POISON', String(error));
      assert.equal(error.retryable, false);
      await stage.events.times(2, of(actor, 'replica-ready'), 'replicas back', from);
      const deaths = stage.events.all.slice(from).filter(of(actor, 'replica-exit'));
      assert.equal(deaths.length, 2);
      const quarantined = stage.events.all.slice(from).filter(of(actor, 'quarantined'));
      assert.equal(quarantined.length, 1);
      assert.equal(quarantined[0]!.detail!['requestId'], 'guilty');
      if (actor === 'two') assert.ok(readyMin() >= 1, 'the last ready replica was spent on a suspect');

      assert.equal((await rejection(stage.host.infer(actor, poison))).code, 'POISON');
      assert.equal(stage.events.all.slice(from).filter(of(actor, 'replica-exit')).length, 2, 'refused without a run');
      await innocents.answered(12);
      assert.deepEqual((await innocents.stop()).failures.slice(0, 5), []);
      assert.equal(stage.actor(actor).quarantined, 1);
      assert.equal(stage.actor(actor).state, 'ready');
    });
  }

  test('three different ones in a row: each caller hears POISON, the innocents are answered, the pool does not give up', async () => {
    const innocents = steadyLoad((n) => stage.host.infer('two', act('echo', String(n))), 4);
    const from = stage.events.all.length;
    for (let n = 0; n < 3; n++) {
      await innocents.answered(8);
      assert.equal((await rejection(stage.host.infer('two', act('abort', `of three: ${n}`), { timeoutMs: 20_000 }))).code, 'POISON');
    }
    await innocents.answered(8);
    assert.deepEqual((await innocents.stop()).failures.slice(0, 5), []);
    assert.deepEqual(stage.events.all.slice(from).filter(({ type }) => type === 'pool-gave-up'), []);
  });
});

/** The fewest ready replicas any event found. */
function watchReady(actor: string): () => number {
  let least = Infinity;
  const stop = stage.host.onEvent(() => (least = Math.min(least, stage.actor(actor).ready)));
  return () => {
    stop();
    return least;
  };
}
