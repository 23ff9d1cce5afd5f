/** One id, one host: the second of two hosts with the same id finds out before it answers to it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock, systemRandom } from '../../src/adapters/system-clock.js';
import { parseOrThrow } from '../../src/host/create-host.js';
import { Host } from '../../src/host/host.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';
import { repositoryRoot } from '../support/root.js';

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats.remove());

function start(id: string): Promise<Host> {
  const spec = parseOrThrow({ host: id, nats: { servers: nats.url, ...nats.host }, actors: [{ name: 'digits', model: 'demo/models/digits.onnx' }] }, repositoryRoot());
  return Host.start(spec, { clock: systemClock, random: systemRandom, log: silentLog, version: '0.0.0' });
}

test('the second host with an id stops itself and says why; the first one serves on', { timeout: 30_000 }, async () => {
  const first = await start('same');
  await first.settled;
  await new Promise<void>((resolve) => {
    // It answers to its id once it is subscribed, which follows the bus coming up.
    const ask = (): void => void (first.status().bus === 'up' ? setTimeout(resolve, 50) : setTimeout(ask, 10));
    ask();
  });
  const second = await start('same');
  const why = await second.conflict;
  assert.match(why, /host id "same" is in use by another host/);
  await second.stop();
  assert.equal(first.hostStatus().actors[0]!.state, 'ready');
  const third = await start('other');
  await third.settled;
  assert.equal(await Promise.race([third.conflict, third.settled.then(() => 'none')]), 'none');
  await Promise.all([first.stop(), third.stop()]);
});
