/**
 * A supervision tree without any model: OTP's supervisor for plain async functions.
 *
 *     root (rest_for_one)
 *     ├── store       everything after it depends on it
 *     └── workers     one_for_one, 3 restarts in 5 s
 *         ├── steady
 *         └── flaky   throws now and then
 *
 * Watch a crash healed in its own corner, a crash that takes the dependants along, and a child that is broken for good
 * climb up to the root. Run: node dist/examples/supervision-tree.js
 */
import { performance } from 'node:perf_hooks';
import type { ChildSpec, Clock, SupervisorReport, WorkerContext } from 'regrow/supervision';
import { createSupervisor, subtree, worker } from 'regrow/supervision';

const clock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

/** Fails the running incarnation of a worker from outside. */
const breakers = new Map<string, (error: Error) => void>();
/** Set: every start of `flaky` fails. */
let beyondRepair = false;

async function run({ id, signal, ready }: WorkerContext): Promise<void> {
  if (id === 'flaky' && beyondRepair) throw new Error('its disk is gone');
  ready();
  await new Promise<void>((resolve, reject) => {
    breakers.set(id, reject);
    signal.addEventListener('abort', () => resolve());
  });
}

const child = (id: string): ChildSpec => ({
  id, restart: 'permanent', significant: false, shutdown: 1000, type: 'worker', start: { logic: worker(run) },
});

/** One line per transition; the other reports (ready, up, down of whole supervisors) are left out. */
function show(report: SupervisorReport): void {
  switch (report.type) {
    case 'child-started':
      return console.log(`  up    ${report.child.id}#${report.child.incarnation}`);
    case 'child-stopped':
      return console.log(`  down  ${report.child.id}, as ordered`);
    case 'child-exit':
      return console.log(`  DIED  ${report.child.id}: ${report.reason}, ${report.detail}`);
    case 'restart-authorised':
      return console.log(`  restart ${report.inWindow} of ${report.intensity}: ${report.group.join(', ')}`);
    case 'backoff':
      return console.log(`  ${report.child.id} waits ${Math.round(report.delayMs)} ms`);
    case 'gave-up':
      return console.log(`  ${report.supervisor} GIVES UP`);
  }
}

const root = createSupervisor({
  id: 'root', clock, random: { next: Math.random },
  strategy: 'rest_for_one', intensity: 2, periodMs: 5000,
  onReport: show,
  children: [
    child('store'),
    subtree({
      id: 'workers',
      options: { intensity: 3, periodMs: 5000, backoff: { minMs: 50, maxMs: 400, factor: 2, jitter: 0.2 }, children: [child('steady'), child('flaky')] },
    }),
  ],
});

/** Waits until the tree says that it is whole again: a supervisor is up only with all its children up. */
async function healed(): Promise<void> {
  const whole = (): boolean => root.snapshot.children.every(({ phase }) => phase === 'running') && breakers.has('flaky');
  while (!whole()) await new Promise((resolve) => { setTimeout(resolve, 5); });
}

async function breakOne(id: string): Promise<void> {
  const fail = breakers.get(id);
  breakers.delete(id);
  if (id === 'store') breakers.delete('flaky');
  fail?.(new Error('broken by hand'));
  await new Promise((resolve) => { setTimeout(resolve, 0); });
}

console.log('1. start, in order');
console.log('  ', JSON.stringify(await root.start()));

console.log('2. flaky dies: its supervisor starts it again, nobody else notices');
await breakOne('flaky');
await healed();

console.log('3. store dies: what depends on it stops first, then all start again, in order');
await breakOne('store');
await healed();

console.log('4. flaky is beyond repair: its supervisor tries, gives up, and so does the root');
beyondRepair = true;
await breakOne('flaky');
console.log('  ', JSON.stringify(await root.ended));
