import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHost, SpecError } from '../../src/host/create-host.js';
import { rejection } from '../support/host-stage.js';

test('guardian: true is refused for an embedded host, and says who has one', async () => {
  const error = await rejection(createHost({ guardian: true, actors: [] }));
  assert.ok(error instanceof SpecError);
  assert.deepEqual(error.problems.map(({ path }) => path), ['guardian']);
  assert.match(error.message, /embedded hosts have none.*regrow start/);
});

for (const options of [{ actors: [] }, { guardian: false, actors: [] }]) {
  test(`${JSON.stringify(options)} is an embedded host like any other`, async () => {
    await using host = await createHost({ host: 'quiet', ...options });
    assert.equal(host.id, 'quiet');
  });
}
