/** Layers do not multiply: whatever hosts and the connection do, a request runs at most `attemptsMax` times in all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ClientStage, type Act } from './client-stage.js';

const ends = ['ok', 'silence', 'UNAVAILABLE', 'RESOURCE_EXHAUSTED', 'INTERNAL'] as const;
const act: fc.Arbitrary<Act> = fc.record({
  end: fc.constantFrom(...ends),
  runs: fc.integer({ min: 0, max: 5 }),
  afterMs: fc.constantFrom(0, 10, 400, 2500),
  mute: fc.boolean(),
}).map((wish) => ({
  ...wish,
  // A refusal for a full queue never ran anything; an answer ran once at least.
  runs: wish.end === 'RESOURCE_EXHAUSTED' ? 0 : wish.end === 'ok' ? Math.max(1, wish.runs) : wish.runs,
}));

type Fault = { readonly atMs: number; readonly what: 'freeze' | 'thaw' | 'outage'; readonly host: number };
const fault: fc.Arbitrary<Fault> = fc.record({ atMs: fc.integer({ min: 0, max: 6000 }), what: fc.constantFrom('freeze', 'thaw', 'outage'), host: fc.nat(2) });

const scenario = fc.record({
  attemptsMax: fc.integer({ min: 1, max: 5 }),
  kind: fc.constantFrom('model' as const, 'module' as const),
  idempotent: fc.constantFrom(undefined, true, false),
  scripts: fc.array(fc.array(act, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 }),
  faults: fc.array(fault, { maxLength: 6 }),
  callsAtMs: fc.array(fc.integer({ min: 0, max: 4000 }), { minLength: 1, maxLength: 6 }),
  seed: fc.nat(),
});

test('bounded executions, one answer within the deadline, nothing left behind: under any loss pattern', async () => {
  let repeated = 0;
  let hedged = 0;
  await fc.assert(
    fc.asyncProperty(scenario, async ({ attemptsMax, kind, idempotent, scripts, faults, callsAtMs, seed }) => {
      const mayRepeat = idempotent ?? kind === 'model';
      const stage = new ClientStage({ attemptsMax, kind, seed });
      scripts.forEach((script, index) => {
        let turn = 0;
        stage.host(`h${index}`, () => {
          const act = script[turn++ % script.length]!;
          // As hosts do: what must not run twice, ran and failed is of unknown outcome.
          return mayRepeat || act.end !== 'UNAVAILABLE' || act.runs === 0 ? act : { ...act, outcome: 'unknown' };
        });
      });
      for (const { atMs, what, host } of faults) {
        stage.clock.setTimeout(() => {
          const target = stage.hosts[host % stage.hosts.length]!;
          if (what === 'outage') {
            stage.broker.stop();
            stage.clock.setTimeout(() => stage.broker.start(), 300);
          } else target.frozen = what === 'freeze';
        }, atMs);
      }
      const calls: ReturnType<ClientStage['call']>[] = [];
      callsAtMs.forEach((atMs, index) => {
        stage.clock.setTimeout(() => calls.push(stage.call({ timeoutMs: 3000, requestId: `r${index}`, ...(idempotent !== undefined && { idempotent }) })), atMs);
      });
      await stage.runOut();
      assert.equal(calls.length, callsAtMs.length);
      callsAtMs.forEach((_, index) => {
        const runs = stage.runsOf(`r${index}`);
        const sent = stage.executions.filter(({ requestId }) => requestId === `r${index}`);
        const most = idempotent === false ? 1 : attemptsMax;
        assert.ok(runs <= most, `r${index} ran ${runs} times, at most ${most} were allowed`);
        if (sent.filter(({ runs: each }) => each > 0).length > 1) repeated++;
        if (sent.length > 1) hedged++;
        if (!mayRepeat) assert.ok(sent.filter(({ runs: each }) => each > 0).length <= 1, `r${index} was repeated`);
      });
      for (const { end, tookMs } of calls) assert.ok(end !== undefined && tookMs <= 3000, `${end} after ${tookMs} ms`);
      assert.equal(stage.clock.pending, 0);
    }),
    { numRuns: 300 },
  );
  assert.ok(repeated > 20 && hedged > 50, `the property was tried on something: ${repeated} repeated, ${hedged} sent twice`);
});
