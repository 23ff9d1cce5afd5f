/** What an ended ticket keeps alive, wherever it still lies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { ServingStage } from '../support/serving-stage.js';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;

/** Inputs of requests that wait behind others. */
class Stage extends ServingStage {
  readonly given: WeakRef<Uint8Array>[] = [];

  async give(id: string, timeoutMs: number): Promise<void> {
    const data = new Uint8Array(1000);
    this.given.push(new WeakRef(data));
    await this.send(id, { inputs: [{ name: 'x', datatype: 'UINT8', shape: [1000], data }], timeoutMs });
  }

  async kept(): Promise<number> {
    this.outcomes.length = 0;
    await this.clock.advance(0);
    collect();
    return this.given.filter((ref) => ref.deref()).length;
  }
}

test('requests that ended in the queue keep no bytes, however long the queue keeps their tickets', async () => {
  const stage = new Stage();
  await stage.replica();
  for (const id of ['running', 'ahead', 'first']) await stage.send(id, { timeoutMs: 20_000 });
  for (let n = 0; n < 20; n++) await stage.give(`late-${n}`, 10);
  await stage.clock.advance(20);
  assert.equal(stage.outcomes.length, 20);
  assert.equal(await stage.kept(), 0);
});

test('requests that were answered keep no bytes while others wait', async () => {
  const stage = new Stage();
  const lane = await stage.replica();
  for (const id of ['running', 'ahead']) await stage.send(id);
  for (let n = 0; n < 20; n++) await stage.give(`answered-${n}`, 20_000);
  for (let n = 0; n < 5; n++) await stage.send(`waiting-${n}`);
  for (let n = 0; n < 22; n++) await stage.answer(lane);
  assert.equal(await stage.kept(), 0);
});
