/** A password kept in a file: read at every connect, for hosts and for the command. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createNatsBus } from '../../src/adapters/nats-bus.js';
import { silentLog } from '../../src/adapters/pino-log.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { parseHost } from '../../src/spec/host.js';
import { untilState } from '../support/bus-conformance.js';
import { within } from '../support/lanes.js';
import { startTestNats, type TestNats } from '../support/nats-server.js';

const WATCHDOG = { timeout: 30_000 };
const outside = { clock: systemClock, log: silentLog };
const cli = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

let nats: TestNats;
before(async () => { nats = await startTestNats(); }, { timeout: 600_000 });
after(() => nats.remove());

test('the secrets of nats.conf come as pass files too, for their owner alone', () => {
  for (const [name, { pass }] of Object.entries({ host: nats.host, operator: nats.operator })) {
    const file = join(nats.dataDir, `nats-${name}.pass`);
    assert.equal(readFileSync(file, 'utf8'), `${pass}\n`);
    assert.equal(statSync(file).mode & 0o777, 0o600);
  }
});

test('a file that is not there yet, is wrong, is replaced: the next connect takes what it says then', WATCHDOG, async () => {
  const passFile = join(nats.dataDir, 'changing.pass');
  const seen: string[] = [];
  const failed = new Set<string>();
  let onFailure = (): void => {};
  const log = { log: (_level: string, event: string, fields?: Readonly<Record<string, unknown>>) => {
    if (event !== 'bus-unreachable') return;
    seen.push(String(fields?.['detail']));
    for (const word of ['no such file', 'Authorization']) if (new RegExp(word, 'i').test(seen.at(-1)!)) failed.add(word);
    onFailure();
  } };
  const failure = (word: string): Promise<void> => within(new Promise((resolve) => {
    onFailure = () => { if (failed.has(word)) resolve(); };
    onFailure();
  }), `a connect that fails with '${word}', seen: ${seen.join(' | ')}`);
  const bus = createNatsBus({ servers: nats.url, user: 'host', passFile, inboxPrefix: '_INBOX_host' }, { clock: systemClock, log });
  try {
    await failure('no such file');
    writeFileSync(passFile, 'wrong\n');
    await failure('Authorization');
    writeFileSync(passFile, `  ${nats.host.pass}\n`);
    await within(untilState(bus, 'up'), 'up with the right password');

    // A broker that comes back finds the connection with the password of that moment; with no file, the last one serves.
    const down = untilState(bus, 'down');
    rmSync(passFile);
    await nats.stop();
    await down;
    await nats.start();
    await within(untilState(bus, 'up'), 'up again without the file');
  } finally {
    await bus.close();
  }
});

test('host file: passFile is relative to it, needs a user, and excludes pass', () => {
  const parse = (more: object) => parseHost({ nats: { servers: 'nats://x', ...more } }, { cores: 1, resolve: (path) => `/base/${path}` });
  const good = parse({ user: 'host', passFile: 'host.pass' });
  assert.equal(good.ok && good.spec.nats?.passFile, '/base/host.pass');
  for (const more of [{ passFile: 'f' }, { user: 'host', pass: 'x', passFile: 'f' }]) {
    const bad = parse(more);
    assert.deepEqual(!bad.ok && bad.problems.map(({ path }) => path), ['nats.passFile']);
  }
});

test('command: --user and --pass-file log in, one without the other is a usage error, a wrong one is 69', WATCHDOG, () => {
  const run = (...args: string[]): { code: number | null; stderr: string } => {
    const { status, stderr } = spawnSync(process.execPath, [cli, 'status', '--nats', nats.url, ...args], { encoding: 'utf8', timeout: 20_000 });
    return { code: status, stderr };
  };
  const passFile = join(nats.dataDir, 'nats-operator.pass');
  // Nobody serves here, and to learn that the operator had to be let in.
  assert.match(run('--user', 'operator', '--pass-file', passFile, '--inbox-prefix', '_INBOX_operator').stderr, /nobody answers regrow\.status/);
  assert.equal(run('--user', 'operator').code, 64);
  assert.equal(run('--pass-file', passFile).code, 64);
  const wrong = run('--user', 'host', '--pass-file', passFile);
  assert.equal(wrong.code, 69);
  assert.match(wrong.stderr, /could not connect.*Authorization/i);
});
