import assert from 'node:assert/strict';
import { setTimeout as sleepUntil } from 'node:timers/promises';
import { test } from 'node:test';
import type { ChildSpec, SupervisorOptions, SupervisorReport, WorkerContext } from '../../src/supervision/index.js';
import { callSupervisor, createSupervisor, findSupervisor, inspectSupervisor, subtree, worker } from '../../src/supervision/index.js';
import { settle, SimClock } from '../support/sim-clock.js';

function spec(id: string, run: (context: WorkerContext) => Promise<void>, fields: Partial<ChildSpec> = {}): ChildSpec {
  return { id, restart: 'permanent', significant: false, shutdown: 1000, type: 'worker', start: { logic: worker(run) }, ...fields };
}

function stage(options: SupervisorOptions) {
  const reports: SupervisorReport[] = [];
  const clock = new SimClock();
  const supervisor = createSupervisor({ id: 'root', clock, random: { next: () => 0 }, onReport: (report) => { reports.push(report); }, ...options });
  const exits = (): string[] => reports.flatMap((report) =>
    report.type === 'child-exit' || report.type === 'child-stopped' ? [`${report.child.id}#${report.child.incarnation} ${report.reason}`] : []);
  return { supervisor, clock, reports, exits };
}

const untilAborted = ({ signal, ready }: WorkerContext): Promise<void> => {
  ready();
  return new Promise((resolve) => { signal.addEventListener('abort', () => resolve()); });
};

test('a worker runs until it is told to stop, and says shutdown', async () => {
  const { supervisor, exits } = stage({ children: [spec('a', untilAborted)] });
  assert.deepEqual(await supervisor.start(), { ok: true });
  assert.equal(supervisor.snapshot.children[0]?.ready, true);
  assert.deepEqual(await supervisor.stop(), { reason: 'shutdown', detail: 'ordered' });
  assert.deepEqual(exits(), ['a#1 shutdown']);
});

test('the next child starts when ready() was called', async () => {
  let go = (): void => undefined;
  const slow = async ({ ready, signal }: WorkerContext): Promise<void> => {
    await new Promise<void>((resolve) => { go = resolve; });
    ready();
    await new Promise((resolve) => { signal.addEventListener('abort', resolve); });
  };
  const { supervisor } = stage({ children: [spec('a', slow), spec('b', untilAborted)] });
  const started = supervisor.start();
  await settle();
  assert.deepEqual(supervisor.snapshot.children.map(({ phase }) => phase), ['starting', 'stopped']);
  go();
  assert.deepEqual(await started, { ok: true });
  await supervisor.stop();
});

test('a throw before ready() is a failed start, sync or async', async () => {
  for (const run of [async () => { throw new Error('no port'); }, () => { throw new Error('no port'); }]) {
    const { supervisor, reports } = stage({ children: [spec('a', untilAborted), spec('b', run)] });
    assert.deepEqual(await supervisor.start(), { ok: false, error: 'failed_to_start_child', failedPath: ['b'] });
    const failure = reports.find((report) => report.type === 'child-exit' && report.context === 'start_error');
    assert.equal(failure?.type === 'child-exit' && failure.detail, 'no port');
    assert.equal((await supervisor.ended).reason, 'crashed');
  }
});

test('an async throw after ready() is a crash and restarts the worker, no uncaught exception', async () => {
  let runs = 0;
  const flaky = async (context: WorkerContext): Promise<void> => {
    runs += 1;
    context.ready();
    await settle(1);
    if (runs === 1) throw new Error('once');
    await untilAborted(context);
  };
  const { supervisor, exits } = stage({ children: [spec('a', flaky)] });
  await supervisor.start();
  while (runs < 2) await settle();
  assert.deepEqual(exits(), ['a#1 crashed']);
  await supervisor.stop();
});

test('returning by itself is a normal end: a transient worker is not run again', async () => {
  const { supervisor, exits } = stage({ children: [spec('a', async () => undefined, { restart: 'transient' })] });
  assert.deepEqual(await supervisor.start(), { ok: true }, 'it had started, in effect');
  await settle();
  assert.deepEqual([exits(), supervisor.snapshot.children[0]?.phase], [['a#1 normal'], 'stopped']);
  await supervisor.stop();
});

test('an AbortError of the signal is an obeyed stop', async () => {
  const sleeper = async ({ ready, signal }: WorkerContext): Promise<void> => {
    ready();
    await sleepUntil(1e6, undefined, { signal, ref: false });
  };
  const { supervisor, exits } = stage({ children: [spec('a', sleeper)] });
  await supervisor.start();
  await supervisor.stop();
  assert.deepEqual(exits(), ['a#1 shutdown']);
});

test('a worker deaf to its signal is killed after its budget, in the eyes of its supervisor', async () => {
  const deaf = async ({ ready }: WorkerContext): Promise<void> => { ready(); await new Promise(() => undefined); };
  const { supervisor, clock, exits } = stage({ children: [spec('a', deaf, { shutdown: 100 })] });
  await supervisor.start();
  const stopped = supervisor.stop();
  await clock.advance(99);
  assert.deepEqual(exits(), []);
  await clock.advance(1);
  await stopped;
  assert.deepEqual(exits(), ['a#1 killed']);
});

test('ready and unready: told once each', async () => {
  let context!: WorkerContext;
  const { supervisor, reports } = stage({ children: [spec('a', async (own) => { context = own; await untilAborted(own); })] });
  await supervisor.start();
  context.ready();
  context.unready();
  context.unready();
  context.ready();
  const told = reports.map(({ type }) => type).filter((type) => type.startsWith('child-'));
  assert.deepEqual(told, ['child-started', 'child-ready', 'child-unready', 'child-ready']);
  await supervisor.stop();
});

test('the facade: every call, with OTP\'s replies', async () => {
  await using own = stage({ children: [spec('a', untilAborted)] }).supervisor;
  await own.start();
  assert.deepEqual(await own.startChild(spec('a', untilAborted)), { ok: false, error: 'already_started' });
  assert.deepEqual(await own.restartChild('a'), { ok: false, error: 'running' });
  assert.deepEqual(await own.terminateChild('a'), { ok: true });
  assert.deepEqual(await own.startChild(spec('a', untilAborted)), { ok: false, error: 'already_present' });
  assert.deepEqual(await own.restartChild('a'), { ok: true });
  assert.deepEqual(await own.deleteChild('a'), { ok: false, error: 'running' });
  await own.terminateChild('a');
  assert.deepEqual(await own.deleteChild('a'), { ok: true });
  assert.deepEqual(await own.deleteChild('a'), { ok: false, error: 'not_found' });
  assert.deepEqual(await own.startChild(spec('b', untilAborted, { significant: true })), { ok: false, error: 'bad_combination' });
  assert.deepEqual(await own.startChild(subtree({ id: 's', options: { children: [spec('x', async () => { throw new Error('x'); })] } })), {
    ok: false, error: 'start_failed', failedPath: ['s', 'x'], reason: 'crashed', detail: 'failed_to_start_child',
  });
  assert.deepEqual(await own.whichChildren(), { ok: true, children: [] });
  assert.deepEqual(await own.countChildren(), { ok: true, counts: { specs: 0, active: 0, supervisors: 0, workers: 0 } });
  await own.stop();
  assert.deepEqual(await own.terminateChild('a'), { ok: false, error: 'noproc' });
  assert.deepEqual(await own.stop(), { reason: 'shutdown', detail: 'ordered' });
});

test('the facade: bad specs are refused, stop before start does nothing', async () => {
  const twice = stage({ children: [spec('a', untilAborted), spec('a', untilAborted)] });
  assert.deepEqual(await twice.supervisor.start(), { ok: false, error: 'duplicate_child', failedPath: [] });
  const never = stage({ children: [spec('a', untilAborted)] });
  assert.deepEqual(await never.supervisor.stop(), { reason: 'shutdown', detail: 'ordered' });
  assert.deepEqual(never.reports, []);
});

test('a supervisor deep in the tree is found by its path, and answers calls like the root', async () => {
  const inner = subtree({ id: 'inner', options: { children: [spec('a', untilAborted)] } });
  await using own = stage({ children: [subtree({ id: 'outer', options: { children: [inner] } })] }).supervisor;
  await own.start();
  const ref = findSupervisor(own.ref, 'outer', 'inner')!;
  assert.deepEqual(inspectSupervisor(ref).children.map(({ id, phase }) => [id, phase]), [['a', 'running']]);
  assert.deepEqual(await callSupervisor(ref, { type: 'startChild', spec: spec('b', untilAborted) }), { ok: true });
  assert.equal(findSupervisor(own.ref, 'outer', 'inner', 'a'), undefined, 'a worker is no supervisor');
  assert.equal(findSupervisor(own.ref, 'nobody'), undefined);
  await own.terminateChild('outer');
  assert.deepEqual(await callSupervisor(ref, { type: 'countChildren' }), { ok: false, error: 'noproc' });
});
