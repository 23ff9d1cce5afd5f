/** The replica whose later proof never returns, with real lanes: a cell is killed, a thread is retired and left as a zombie. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventually, factory, fixture, laneKinds, session, within } from '../support/lanes.js';
import { ReplicaStage } from '../support/replica-stage.js';
import { settle } from '../support/sim-clock.js';

const folder = mkdtempSync(join(tmpdir(), 'regrow-hung-'));
after(() => rmSync(folder, { recursive: true }));

for (const kind of laneKinds) {
  test(`${kind} lane, its thread is held by a later proof: ended as hung, counted, replaced`, async () => {
    const lanes = factory(kind);
    const gate = join(folder, kind);
    let inside = (): void => {};
    const isInside = new Promise<void>((resolve) => { inside = resolve; });
    const on = new ReplicaStage({
      lanes, limits: { hangMs: 300 },
      order: {
        replica: 'r', concurrency: 1, load: { actor: 'waits', kind: 'module', file: fixture('waits'), device: 'cpu', session, spec: { gate } },
        host: {
          nestedCall: () => Promise.resolve({ ok: false, code: 'NOT_FOUND', message: 'nobody here' }),
          log: ({ fields }) => { if (String(fields?.['requestId']) === 'spin') inside(); },
        },
      },
    });
    await within(on.supervisor.start(), 'start');
    await eventually(() => on.shown.includes('ready'), 'ready');
    on.question = 'spin';
    await on.clock.advance(500);
    await within(isInside, 'the proof');
    on.question = 'golden';
    await on.clock.advance(300);
    await eventually(() => on.exits.length > 0, 'the exit');
    assert.deepEqual([on.exits, on.charged], [['hung: a run of its proof took longer than hangMs (300)'], [1]]);
    assert.equal(lanes.zombies, kind === 'thread' ? 1 : 0);
    await eventually(() => on.shown.filter((shown) => shown === 'ready').length === 2, 'its successor');
    writeFileSync(gate, '');
    await eventually(() => lanes.zombies === 0, 'no zombies');
    const stopped = on.supervisor.stop();
    await settle();
    assert.equal((await within(stopped, 'stop')).reason, 'shutdown');
  });
}
