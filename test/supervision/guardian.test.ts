/** The guardian on simulated time, with host processes that do what the test says. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HostExit, HostProcess } from '../../src/adapters/process-group.js';
import type { FromGuardian, FromHost } from '../../src/adapters/process-lines.js';
import { BACKOFF, guardianWanted, INTENSITY, PERIOD_MS, startGuardian, type Guardian } from '../../src/guardian.js';
import { exitCodeOf, isFinal, type HostEnd } from '../../src/guardian/exit-code.js';
import { HELLO_MS, KILL_MS, LEAVE_MS, STOP_EARLY_MS } from '../../src/guardian/host-life.js';
import { beatHeard, look, startWatch, type StallWatch } from '../../src/guardian/stall.js';
import { budgetReachable } from '../../src/supervision/index.js';
import { repositoryRoot } from '../support/root.js';
import { settle, SimClock } from '../support/sim-clock.js';

const hello = { type: 'hello', loopStallMs: 1000, beatMs: 250, stopMs: 5000 } as const;

class FakeHost implements HostProcess {
  readonly heard: FromGuardian[] = [];
  kills = 0;
  /** False: the kernel cannot end it. */
  mortal = true;
  #tell: (message: FromHost) => void = () => {};
  #exit!: (exit: HostExit) => void;
  readonly exited = new Promise<HostExit>((resolve) => { this.#exit = resolve; });
  constructor(readonly pid: number) {}

  onMessage(listener: (message: FromHost) => void): void { this.#tell = listener; }
  send(message: FromGuardian): void { this.heard.push(message); }
  kill(): void {
    this.kills += 1;
    if (this.mortal) this.exit('SIGKILL');
  }

  say(message: FromHost): void { this.#tell(message); }
  exit(how: number | NodeJS.Signals): void {
    this.#exit(typeof how === 'number' ? { code: how, detail: `exit code ${how}` } : { signal: how, detail: how });
  }
}

interface Scene {
  readonly clock: SimClock;
  readonly hosts: FakeHost[];
  readonly guardian: Guardian;
  readonly logs: { level: string; event: string; [field: string]: unknown }[];
  readonly code: () => number | undefined;
  /** Milliseconds that this process sleeps without its timers noticing. */
  sleep(ms: number): void;
}

async function scene(): Promise<Scene> {
  const clock = new SimClock();
  const hosts: FakeHost[] = [];
  const logs: Scene['logs'] = [];
  let code: number | undefined;
  let sleptMs = 0;
  const guardian = startGuardian({
    clock: {
      now: () => clock.now() + sleptMs, wallTime: () => clock.wallTime(),
      setTimeout: (callback, delayMs) => clock.setTimeout(callback, delayMs), clearTimeout: (handle) => clock.clearTimeout(handle),
    },
    random: { next: () => 0 },
    log: { log: (level, event, fields) => { logs.push({ level, event, ...fields }); } },
    startHost: () => {
      const host = new FakeHost(100 + hosts.length);
      hosts.push(host);
      return host;
    },
  });
  void guardian.ended.then((ended) => { code = ended; });
  await settle();
  return { clock, hosts, guardian, logs, code: () => code, sleep: (ms) => { sleptMs += ms; } };
}

/** A host that was accepted. */
async function greeted(): Promise<Scene> {
  const on = await scene();
  on.hosts[0]!.say(hello);
  await settle();
  return on;
}

const ends = (host: FakeHost, how: number | NodeJS.Signals): Promise<void> => {
  host.exit(how);
  return settle();
};

// --------------------------------------------------------------------------------------------------- exits and restarts

for (const code of [0, 64, 69, 78]) {
  for (const [when, start] of [['before', scene], ['after', greeted]] as const) {
    test(`exit ${code} ${when} the host file was accepted: passed on, no second start`, async () => {
      const { hosts, clock, code: ended } = await start();
      await ends(hosts[0]!, code);
      assert.equal(ended(), code);
      assert.equal(hosts.length, 1);
      assert.equal(clock.pending, 0);
    });
  }
}

for (const how of [1, 13, 70, 134, 'SIGKILL', 'SIGSEGV', 'SIGTERM'] as const) {
  test(`end by ${how}: another host at once, and the log says why`, async () => {
    const { hosts, logs, code } = await greeted();
    await ends(hosts[0]!, how);
    assert.equal(hosts.length, 2);
    assert.equal(code(), undefined);
    const restart = logs.find(({ event }) => event === 'guardian-restarts-host')!;
    assert.deepEqual([restart['detail'], restart['restarts'], restart['restartsMax']], [typeof how === 'number' ? `exit code ${how}` : how, 1, INTENSITY]);
    assert.equal(restart['reason'], how === 'SIGKILL' || how === 'SIGTERM' ? 'killed' : 'crashed');
  });
}

for (const [when, start] of [['before', scene], ['after', greeted]] as const) {
  test(`a host that crashes at every start, ${when} its host file was accepted: six starts with growing waits, then 70`, async () => {
    const { hosts, clock, logs, code } = await start();
    const waits: (number | undefined)[] = [];
    for (let crash = 0; crash < INTENSITY; crash += 1) {
      await ends(hosts.at(-1)!, 134);
      const waitMs = hosts.length === crash + 2 ? 0 : clock.nextInMs!;
      waits.push(waitMs);
      await clock.advance(waitMs);
      assert.equal(hosts.length, crash + 2);
      if (when === 'after') hosts.at(-1)!.say(hello);
      await settle();
    }
    assert.deepEqual(waits, [0, 250, 500, 1000, 2000]);
    await ends(hosts.at(-1)!, 134);
    assert.equal(code(), 70);
    assert.equal(hosts.length, INTENSITY + 1);
    assert.equal(logs.filter(({ event }) => event === 'guardian-gave-up').length, 1);
    assert.equal(clock.pending, 0);
  });
}

test('the budget can be hit: its delays fit into its period', () => {
  assert.deepEqual(budgetReachable({ intensity: INTENSITY, periodMs: PERIOD_MS, backoff: BACKOFF }), { ok: true });
});

test('crashes further apart than the period are answered without end, and after a minute of service at once', async () => {
  const { hosts, clock, code } = await greeted();
  for (let crash = 1; crash <= 2 * INTENSITY; crash += 1) {
    for (let beat = 0; beat < PERIOD_MS / hello.beatMs + 1; beat += 1) {
      hosts.at(-1)!.say({ type: 'beat' });
      await clock.advance(hello.beatMs);
    }
    await ends(hosts.at(-1)!, 'SIGSEGV');
    assert.equal(hosts.length, crash + 1);
    hosts.at(-1)!.say(hello);
    await settle();
  }
  assert.equal(code(), undefined);
});

test('a host that never says that it came up is killed and replaced', async () => {
  const { hosts, clock, logs } = await scene();
  await clock.advance(HELLO_MS - 1);
  assert.equal(hosts[0]!.kills, 0);
  await clock.advance(1);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(hosts.length, 2);
  assert.match(String(logs.find(({ event }) => event === 'guardian-host-ended')!['detail']), /did not come up/);
});

test('a host that even SIGKILL does not end is left behind after a while', async () => {
  const { hosts, clock } = await scene();
  hosts[0]!.mortal = false;
  await clock.advance(HELLO_MS + KILL_MS - 1);
  assert.equal(hosts.length, 1);
  await clock.advance(1);
  assert.equal(hosts.length, 2);
});

test('a host that had stopped counts as ended by its own code, whatever ends its process', async () => {
  for (const [code, starts, ended] of [[0, 1, 0], [70, 2, undefined]] as const) {
    const on = await greeted();
    on.hosts[0]!.say({ type: 'stopped', code });
    await ends(on.hosts[0]!, 'SIGKILL');
    assert.equal(on.hosts.length, starts);
    assert.equal(on.code(), ended);
  }
});

test('a host that had stopped and does not leave is helped, and counts as stopped', async () => {
  const { hosts, clock, code } = await greeted();
  hosts[0]!.say({ type: 'stopped', code: 0 });
  await clock.advance(LEAVE_MS);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(code(), 0);
});

// --------------------------------------------------------------------------------------------------------------- stalls

test('a silent host is killed and replaced after loopStallMs from the first beat that did not come', async () => {
  const { hosts, clock, logs } = await greeted();
  await clock.advance(200);
  hosts[0]!.say({ type: 'beat' });
  await clock.advance(hello.loopStallMs + hello.beatMs - 1);
  assert.equal(hosts[0]!.kills, 0);
  await clock.advance(hello.beatMs);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(hosts.length, 2);
  const end = logs.find(({ event }) => event === 'guardian-host-ended')!;
  assert.deepEqual([end['reason'], end['detail']], ['hung', 'its loop stood still for 1000 ms']);
});

test('a host that beats is left alone', async () => {
  const { hosts, clock } = await greeted();
  for (let beat = 0; beat < 40; beat += 1) {
    await clock.advance(hello.beatMs);
    hosts[0]!.say({ type: 'beat' });
  }
  assert.equal(hosts[0]!.kills, 0);
});

test('the guardian slept as well (a suspended machine): its silence is void, the next one is not', async () => {
  const { hosts, clock, sleep } = await greeted();
  await clock.advance(100);
  sleep(60_000);
  await clock.advance(hello.loopStallMs);
  assert.equal(hosts[0]!.kills, 0);
  await clock.advance(2 * hello.beatMs);
  assert.equal(hosts[0]!.kills, 1);
});

test('stall: a loop that stood still for less is never judged, one that stands still is judged within three beats', () => {
  const loopStallMs = 1000;
  const beatMs = 250;
  /** Beats each 250 ms until `from`, none until `from + forMs`, then again; looks each 250 ms, at `phase`. */
  const judgedAt = (from: number, forMs: number, phase: number): number | undefined => {
    let watch: StallWatch = startWatch({ loopStallMs, beatMs }, 0);
    for (let now = 1; now < 20_000; now += 1) {
      const blocked = now > from && now < from + forMs;
      // A beat that is due while the loop stands still comes when it moves again.
      if (!blocked && (now % beatMs === 0 || now === from + forMs)) watch = beatHeard(watch, now);
      if (now % beatMs !== phase) continue;
      const seen = look(watch, now);
      watch = seen.watch;
      if (seen.standsStill) return now;
    }
    return undefined;
  };
  const moments = fc.record({ from: fc.integer({ min: 0, max: 5000 }), phase: fc.integer({ min: 0, max: beatMs - 1 }) });
  fc.assert(fc.property(moments, fc.integer({ min: 1, max: loopStallMs }), ({ from, phase }, forMs) => judgedAt(from, forMs, phase) === undefined));
  fc.assert(fc.property(moments, ({ from, phase }) => {
    const at = judgedAt(from, Infinity, phase);
    return at !== undefined && at >= from + loopStallMs && at <= from + loopStallMs + 3 * beatMs;
  }));
});

test('a second greeting after a reload: its stall limit holds from then on, and no start is counted', async () => {
  const { hosts, clock, logs } = await greeted();
  const longer = { type: 'hello', loopStallMs: 8000, beatMs: 2000, stopMs: 5000 } as const;
  hosts[0]!.say(longer);
  await clock.advance(longer.loopStallMs + longer.beatMs - 1);
  assert.equal(hosts[0]!.kills, 0);
  await clock.advance(longer.beatMs);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(logs.find(({ event }) => event === 'guardian-host-ended')!['detail'], 'its loop stood still for 8000 ms');
  hosts[1]!.say(longer);
  hosts[1]!.say(hello);
  await clock.advance(hello.loopStallMs + 2 * hello.beatMs);
  assert.equal(hosts[1]!.kills, 1, 'shorter as well');
});

// ---------------------------------------------------------------------------------------------------------- being stopped

test('stop: asks once, waits for the end, and ends with the code of the host', async () => {
  for (const how of [0, 1, 70]) {
    const { hosts, guardian, clock, code } = await greeted();
    guardian.stop('SIGTERM');
    guardian.stop('SIGTERM');
    guardian.stop('SIGINT');
    await settle();
    assert.deepEqual(hosts[0]!.heard, [{ type: 'drain', reason: 'SIGTERM' }]);
    assert.equal(code(), undefined);
    await ends(hosts[0]!, how);
    assert.equal(code(), how);
    assert.equal(hosts.length, 1);
    assert.equal(clock.pending, 0);
  }
});

test('stop: a host that takes longer than it said it could is killed, exit 70', async () => {
  const { hosts, guardian, clock, code } = await greeted();
  guardian.stop('SIGTERM');
  for (let passedMs = 0; passedMs < hello.stopMs; passedMs += hello.beatMs) {
    assert.equal(hosts[0]!.kills, 0);
    hosts[0]!.say({ type: 'beat' });
    await clock.advance(hello.beatMs);
  }
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(code(), 70);
});

test('stop: the time granted is that of the last greeting before it', async () => {
  const { hosts, guardian, clock, code } = await greeted();
  hosts[0]!.say({ ...hello, loopStallMs: 400_000, beatMs: 100_000, stopMs: 20_000 });
  guardian.stop('SIGTERM');
  await settle();
  await clock.advance(19_999);
  assert.equal(hosts[0]!.kills, 0);
  await clock.advance(1);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(code(), 70);
});

test('stop: a greeting that comes later does not lengthen it, and one after the end arms nothing', async () => {
  const { hosts, guardian, clock } = await greeted();
  guardian.stop('SIGTERM');
  await settle();
  hosts[0]!.say({ ...hello, loopStallMs: 400_000, beatMs: 100_000, stopMs: 20_000 });
  await clock.advance(hello.stopMs);
  assert.equal(hosts[0]!.kills, 1);
  hosts[0]!.say(hello);
  assert.equal(clock.pending, 0);
});

test('stop: a host that stands still while it drains is not waited for', async () => {
  const { hosts, guardian, clock, code } = await greeted();
  guardian.stop('SIGTERM');
  await clock.advance(hello.loopStallMs + 2 * hello.beatMs);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(code(), 70);
});

test('stop before the host file was accepted: the signal may have reached the host as well, and nothing was lost', async () => {
  for (const how of ['SIGTERM', 'SIGINT', 0] as const) {
    const { hosts, guardian, code } = await scene();
    guardian.stop('SIGTERM');
    await ends(hosts[0]!, how);
    assert.equal(code(), 0);
  }
  const { hosts, guardian, clock, code } = await scene();
  guardian.stop('SIGTERM');
  await clock.advance(STOP_EARLY_MS);
  assert.equal(hosts[0]!.kills, 1);
  assert.equal(code(), 0);
});

test('stop just before it greets: from then on it has the time it asks for', async () => {
  const { hosts, guardian, clock, code } = await scene();
  guardian.stop('SIGTERM');
  await clock.advance(STOP_EARLY_MS - 1);
  hosts[0]!.say({ ...hello, loopStallMs: 60_000, beatMs: 15_000 });
  await clock.advance(hello.stopMs - 1);
  assert.equal(hosts[0]!.kills, 0);
  await ends(hosts[0]!, 0);
  assert.equal(code(), 0);
});

test('stop while waiting to restart: no further start, exit 0', async () => {
  const { hosts, guardian, clock, code } = await greeted();
  await ends(hosts[0]!, 1);
  await ends(hosts[1]!, 1);
  assert.equal(clock.nextInMs, 250);
  guardian.stop('SIGTERM');
  await settle();
  assert.equal(code(), 0);
  assert.equal(hosts.length, 2);
  assert.equal(clock.pending, 0);
});

test('reload is passed on, and dropped while there is no host', async () => {
  const { hosts, guardian } = await greeted();
  guardian.reload();
  assert.deepEqual(hosts[0]!.heard, [{ type: 'reload' }]);
  await ends(hosts[0]!, 1);
  await ends(hosts[1]!, 1);
  guardian.reload();
  assert.deepEqual(hosts[1]!.heard, []);
});

// ---------------------------------------------------------------------------------------------------------------- tables

test('exit code: every way a supervisor and its last host can end', () => {
  const end = (code: number | undefined, greetedFirst = true): HostEnd => ({ reason: 'crashed', detail: '', code, greeted: greetedFirst });
  assert.deepEqual([0, 64, 69, 78].map((code) => exitCodeOf('auto_shutdown', end(code))), [0, 64, 69, 78]);
  assert.deepEqual(['budget_exhausted', 'a machine that broke'].map((why) => exitCodeOf(why, end(0))), [70, 70]);
  assert.deepEqual([0, 1, 134, undefined].map((code) => exitCodeOf('ordered', end(code))), [0, 1, 134, 70]);
  assert.deepEqual([0, 1, 78, undefined].map((code) => exitCodeOf('ordered', end(code, false))), [0, 0, 78, 0]);
  assert.equal(exitCodeOf('ordered', undefined), 0);
  assert.deepEqual([0, 1, 2, 64, 69, 70, 78, 134].filter((code) => isFinal({ code })), [0, 64, 69, 78]);
});

test('guardian: wanted unless declined by flag or key, or as process 1, which is said', () => {
  const wish = { pid: 4711, declined: false, key: undefined };
  assert.deepEqual(guardianWanted(wish), { wanted: true });
  for (const key of [true, null, 'false', 0]) assert.deepEqual(guardianWanted({ ...wish, key }), { wanted: true });
  assert.deepEqual(guardianWanted({ ...wish, key: false }), { wanted: false });
  assert.deepEqual(guardianWanted({ ...wish, declined: true }), { wanted: false });
  assert.deepEqual(guardianWanted({ ...wish, pid: 1, declined: true }), { wanted: false });
  const first = guardianWanted({ ...wish, pid: 1 });
  assert.ok(!first.wanted && first.reason?.includes('process 1'));
});

test('the guardian loads the supervisor, xstate and pino, and nothing that serves', () => {
  const root = repositoryRoot();
  const seen = new Set<string>();
  const packages = new Set<string>();
  const follow = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, clause, target] of text.matchAll(/^(?:import|export)\s+((?:[^'";]*?)\sfrom\s+)?'([^']+)'/gm)) {
      const names = clause?.replace(/\sfrom\s+$/, '') ?? '';
      const typesOnly = /^type\s/.test(names) || (/^\{.*\}$/s.test(names.trim()) && names.replace(/[{}]/g, '').split(',').every((name) => name.trim() === '' || name.trim().startsWith('type ')));
      if (typesOnly) continue;
      if (target!.startsWith('.')) follow(join(dirname(file), target!).replace(/\.js$/, '.ts'));
      else if (!target!.startsWith('node:')) packages.add(target!);
    }
  };
  // What is loaded dynamically is left out on purpose: only the command that was asked for, and there only the guardian.
  for (const file of ['src/cli.ts', 'src/cli/start.ts', 'src/guardian.ts']) {
    assert.ok(existsSync(join(root, file)));
    follow(file);
  }
  assert.deepEqual([...packages].sort(), ['pino', 'pino-pretty', 'xstate']);
  const rooms = [...seen].filter((file) => /^src\/(host\/(?!version)|serving|client|spec|protocol|tensor)/.test(file));
  assert.deepEqual(rooms, []);
});
