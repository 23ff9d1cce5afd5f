/** `regrow start` as two processes: the guardian and its host, with real signals, real cells and a real broker. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Client } from '../../src/client/client.js';
import { connect } from '../../src/host/connect.js';
import type { HostStatus } from '../../src/protocol/status.js';
import { eventually, isAlive, within } from '../support/lanes.js';
import { projectRoot, startTestNats, type TestNats } from '../support/nats-server.js';
import { childrenOf, groupOf } from '../support/processes.js';
import { Happenings } from '../support/waiting.js';

const WATCHDOG = { timeout: 60_000 };
const cli = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
/** Does what its input says (test/fixtures/modules/acts.ts). */
const acts = { name: 'acts', module: fileURLToPath(new URL('../fixtures/modules/acts.js', import.meta.url)), timeoutMs: 20_000 };
const waitFor = (file: string) => ({ act: { datatype: 'BYTES' as const, shape: [2], data: ['wait', file] } });
const digit = { image: { datatype: 'FP32' as const, shape: [1, 1, 28, 28], data: new Float32Array(28 * 28) } };
const digits = { name: 'digits', model: join(projectRoot, 'demo', 'models', 'digits.onnx'), replicas: 2 };

let nats: TestNats;
let folder: string;
before(async () => {
  nats = await startTestNats();
  folder = mkdtempSync(join(tmpdir(), 'regrow-guardian-'));
}, { timeout: 600_000 });
after(async () => {
  await nats.remove();
  rmSync(folder, { recursive: true, force: true });
});

type Line = Readonly<Record<string, unknown>>;

interface Regrow {
  /** Of the process that was started, which leads a group as a shell's job does. */
  readonly pid: number;
  /** What it and its host log; other lines of stderr as `{ text }`. */
  readonly logs: Happenings<Line>;
  /** Resolves when every process that could write to its stderr is gone: guardian, host and cells. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** The line with this event name, at or after index `from`. */
  logged(event: string, from?: number): Promise<Line>;
}

const running = new Map<number, Happenings<Line>>();
after(() => {
  for (const [pid, logs] of running) {
    const hosts = logs.all.filter(({ msg }) => msg === 'guardian-host-started').map(({ hostPid }) => hostPid as number);
    for (const group of [pid, ...hosts]) for (const member of groupOf(group)) process.kill(member, 'SIGKILL');
  }
});

let files = 0;
/** `regrow start` with this host file. The data folder is its own unless the options name another. */
function regrow(options: object, args: readonly string[] = []): Regrow {
  const file = join(folder, `host-${++files}.json`);
  writeFileSync(file, JSON.stringify({ dataDir: `data-${files}`, ...options }));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NATS_URL|REGROW_|LOG_LEVEL|NODE_TEST)/.test(name)));
  const child = spawn(process.execPath, [cli, 'start', file, ...args], { detached: true, stdio: ['ignore', 'ignore', 'pipe'], env });
  const logs = new Happenings<Line>();
  running.set(child.pid!, logs);
  let rest = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) logs.add(line.startsWith('{') ? (JSON.parse(line) as Line) : { text: line });
  });
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => child.once('close', (code, signal) => {
    running.delete(child.pid!);
    resolve({ code, signal });
  }));
  return {
    pid: child.pid!,
    logs,
    ended: within(ended, 'the end of all its processes', 50_000),
    logged: (event, from) => logs.next(({ msg }) => msg === event, `log ${event}`, from),
  };
}

const onNats = (more: object): object => ({
  nats: { servers: nats.url, user: 'host', passFile: join(nats.dataDir, 'nats-host.pass'), inboxPrefix: '_INBOX_host' }, ...more,
});
const hostPidOf = async (command: Regrow, from = 0): Promise<number> => (await command.logged('guardian-host-started', from))['hostPid'] as number;

/** The two of `digits`: `host-ready` means that one of them is proven. */
async function cellsOf(host: number): Promise<number[]> {
  await eventually(() => childrenOf(host).length === 2, 'two cells');
  return childrenOf(host);
}

async function withClient(use: (client: Client) => Promise<void>): Promise<void> {
  const client = await connect({ servers: nats.url });
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

async function statusOf(client: Client): Promise<HostStatus> {
  return (await client.status()).hosts[0]!;
}

async function stopped(command: Regrow): Promise<void> {
  process.kill(command.pid, 'SIGTERM');
  assert.deepEqual(await command.ended, { code: 0, signal: null });
}

test('SIGKILL of the host: another one serves under the same id, the old cells are gone, the restart is counted', WATCHDOG, async () => {
  const command = regrow(onNats({ actors: [digits] }));
  await command.logged('host-ready');
  const pid = await hostPidOf(command);
  await withClient(async (client) => {
    await client.infer('digits', digit);
    const first = await statusOf(client);
    const cells = await cellsOf(pid);
    assert.deepEqual(groupOf(pid).sort(), [pid, ...cells].sort(), 'the host and its cells are one group');
    assert.notEqual(groupOf(command.pid).length, 0);
    const from = command.logs.all.length;
    process.kill(pid, 'SIGKILL');
    const restart = await command.logged('guardian-restarts-host', from);
    assert.deepEqual([restart['reason'], restart['detail'], restart['restarts']], ['killed', 'SIGKILL', 1]);
    await eventually(() => cells.every((cell) => !isAlive(cell)), 'the end of the old cells');
    await command.logged('host-ready', from);
    const { servedBy } = await client.infer('digits', digit);
    const second = await statusOf(client);
    assert.equal(second.id, first.id);
    assert.ok(servedBy.startsWith(`${first.id}/`));
    assert.notEqual(second.incarnation, first.incarnation);
    assert.notEqual(await hostPidOf(command, from), pid);
  });
  await stopped(command);
});

test('SIGKILL of a host with a stopped cell, which cannot notice it: the cell is gone as well', WATCHDOG, async () => {
  const command = regrow({ actors: [digits] });
  await command.logged('host-ready');
  const pid = await hostPidOf(command);
  const [cell] = await cellsOf(pid);
  process.kill(cell!, 'SIGSTOP');
  await eventually(() => /^State:\s+T/m.test(readFileSync(`/proc/${cell}/status`, 'utf8')), 'a stopped cell');
  const from = command.logs.all.length;
  process.kill(pid, 'SIGKILL');
  await command.logged('guardian-restarts-host', from);
  await eventually(() => !isAlive(cell!), 'the end of the stopped cell');
  await command.logged('host-ready', from);
  await stopped(command);
});

test('SIGKILL of the guardian: the host answers what it accepted, drains and ends, nobody is left', WATCHDOG, async () => {
  const gate = join(folder, 'guardian-gone');
  const command = regrow(onNats({ actors: [acts] }));
  await command.logged('host-ready');
  const pid = await hostPidOf(command);
  await withClient(async (client) => {
    const answer = client.infer('acts', waitFor(gate), { timeoutMs: 20_000, idempotent: false });
    await command.logs.next((line) => JSON.stringify(line).includes('inside wait'), 'a run under way');
    process.kill(command.pid, 'SIGKILL');
    const asked = await command.logged('asked-to-stop');
    assert.equal(asked['reason'], 'the guardian is gone');
    await command.logged('host-draining');
    assert.ok(isAlive(pid), 'it does not leave before it has answered');
    writeFileSync(gate, '');
    assert.ok((await answer).servedBy);
  });
  assert.deepEqual(await command.ended, { code: null, signal: 'SIGKILL' });
  // The guardian, our own child, went first: nobody tells us when the host behind it has gone.
  await eventually(() => groupOf(pid).length === 0, 'the end of the host', 5000);
});

const waysToAsk: Readonly<Record<string, (guardian: number, host: number) => void>> = {
  'SIGTERM to the guardian': (guardian) => process.kill(guardian, 'SIGTERM'),
  "SIGINT to the guardian's group, as from a terminal": (guardian) => process.kill(-guardian, 'SIGINT'),
  'SIGTERM to guardian, host and cells, twice, as from a service manager': (guardian, host) => {
    for (const pid of [guardian, ...groupOf(host), guardian, ...groupOf(host)]) process.kill(pid, 'SIGTERM');
  },
};
let ways = 0;
for (const [what, ask] of Object.entries(waysToAsk)) {
  test(`${what} under load: every accepted request is answered, exit 0, nobody is left`, WATCHDOG, async () => {
    const gate = join(folder, `way-${++ways}`);
    const command = regrow(onNats({ actors: [{ ...acts, replicas: 2 }] }));
    await command.logged('host-ready');
    const pid = await hostPidOf(command);
    await withClient(async (client) => {
      const accepted = Array.from({ length: 6 }, () => client.infer('acts', waitFor(gate), { timeoutMs: 20_000, idempotent: false }));
      await command.logs.times(2, (line) => JSON.stringify(line).includes('inside wait'), 'two runs under way');
      // Two run, four wait in the queue.
      while ((await statusOf(client)).actors[0]!.queue.count < 4) continue;
      ask(command.pid, pid);
      await command.logged('host-draining');
      assert.ok(isAlive(command.pid) && isAlive(pid));
      writeFileSync(gate, '');
      for (const { servedBy } of await Promise.all(accepted)) assert.ok(servedBy);
    });
    assert.deepEqual(await command.ended, { code: 0, signal: null });
    assert.deepEqual(groupOf(pid), []);
    assert.equal(command.logs.all.filter(({ msg }) => msg === 'host-draining').length, 1);
    assert.equal(command.logs.all.filter(({ msg }) => msg === 'guardian-host-started').length, 1);
  });
}

test('SIGHUP to the guardian reaches the host as a reload, and ends nobody', WATCHDOG, async () => {
  const command = regrow({ actors: [digits] });
  await command.logged('host-ready');
  const pid = await hostPidOf(command);
  process.kill(command.pid, 'SIGHUP');
  await command.logged('reloaded');
  assert.ok(isAlive(pid));
  await stopped(command);
  assert.equal(command.logs.all.filter(({ msg }) => msg === 'guardian-host-started').length, 1);
});

test('a host that stands still (SIGSTOP) is replaced after loopStallMs, with its group', WATCHDOG, async () => {
  // Long enough for a loop that is merely busy on a loaded machine.
  const command = regrow({ loopStallMs: 2500, actors: [digits] });
  await command.logged('host-ready');
  const pid = await hostPidOf(command);
  const cells = await cellsOf(pid);
  const from = command.logs.all.length;
  process.kill(pid, 'SIGSTOP');
  const restart = await command.logged('guardian-restarts-host', from);
  assert.deepEqual([restart['reason'], restart['detail']], ['hung', 'its loop stood still for 2500 ms']);
  await command.logged('host-ready', from);
  await eventually(() => [pid, ...cells].every((each) => !isAlive(each)), 'the end of the old host and its cells');
  await stopped(command);
});

test('a bad spec: 78 at once, every problem on stderr', WATCHDOG, async () => {
  const command = regrow({ actors: [{ name: 'digits', modle: 'x' }], loopStallMs: 'soon' });
  assert.deepEqual(await command.ended, { code: 78, signal: null });
  const said = command.logs.all.map(({ text }) => text).join('\n');
  assert.match(said, /actors\[0\]/);
  assert.match(said, /loopStallMs/);
  assert.equal(command.logs.all.filter(({ msg }) => msg === 'guardian-host-started').length, 1);
});

test('a data folder in use: the second host ends with 78 and is not tried again, the first one serves on', WATCHDOG, async () => {
  const dataDir = join(folder, 'shared-data');
  const first = regrow({ dataDir, actors: [digits] });
  await first.logged('host-ready');
  const second = regrow({ dataDir, actors: [digits] });
  assert.deepEqual(await second.ended, { code: 78, signal: null });
  assert.equal(second.logs.all.filter(({ msg }) => msg === 'guardian-host-started').length, 1);
  assert.ok(isAlive(await hostPidOf(first)));
  await stopped(first);
});

test('a host that crashes at every start: six starts, then 70', WATCHDOG, async () => {
  // No folder can be made there.
  const command = regrow({ dataDir: '/dev/null/data', actors: [] });
  assert.deepEqual(await command.ended, { code: 70, signal: null });
  assert.equal(command.logs.all.filter(({ msg }) => msg === 'guardian-host-started').length, 6);
  assert.equal(command.logs.all.filter(({ msg }) => msg === 'guardian-gave-up').length, 1);
});

for (const [how, options, args] of [['--no-guardian', {}, ['--no-guardian']], ['guardian: false', { guardian: false }, []]] as const) {
  test(`${how}: one process beside the cells, drained by SIGTERM, exit 0`, WATCHDOG, async () => {
    const command = regrow({ ...options, actors: [digits] }, args);
    await command.logged('host-ready');
    for (const cell of await cellsOf(command.pid)) assert.match(readFileSync(`/proc/${cell}/cmdline`, 'utf8'), /digits-cpu-/);
    await stopped(command);
    assert.equal(command.logs.all.filter(({ msg }) => String(msg).startsWith('guardian')).length, 0);
  });
}

test('cells do not inherit the variable that names the pipe to the guardian', WATCHDOG, async () => {
  const command = regrow({ actors: [digits] });
  await command.logged('host-ready');
  for (const cell of await cellsOf(await hostPidOf(command))) {
    assert.doesNotMatch(readFileSync(`/proc/${cell}/environ`, 'utf8'), /REGROW_GUARDIAN/);
  }
  await stopped(command);
});
