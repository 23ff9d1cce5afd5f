/**
 * A lane without a thread or a process: it takes its time on the simulated clock, answers by a pure function, and can be
 * frozen, slowed, stuck and killed. It keeps the rules written at `Lane` in ports.ts, the awkward ones too: runs go in
 * order of posting, a process takes a moment to die, a busy thread cannot be killed and goes on as a zombie.
 */
import type { ExitReason } from '../../src/errors.js';
import type { Clock, Lane, LaneExit, LaneOrder, LoadReply, NestedReply, RunReply, RunTask } from '../../src/ports.js';
import type { Chance } from './chance.js';
import type { ActorPlan } from './plan.js';
import type { Recorder } from './record.js';
import { answerOf, bytesOf, isRight, tensor, textOf } from './work.js';

export interface LaneWorld {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly recorder: Recorder;
  /** Whether whatever computes on the device fails now, because of the device. */
  deviceFails?(device: string): boolean;
  /** Told of every step, so that armed faults can strike at it. */
  reached(lane: SimLane, step: LaneStep): void;
  /** Whether the id is a caller's; anything else that runs is a proof. */
  isRequest(requestId: string): boolean;
  nestedSubmitted(key: string, actor: string, content: string): void;
  nestedEnded(key: string, actor: string, question: Uint8Array, reply: NestedReply): void;
}

/** Of an edition whose replicas never prove. */
export const badVersion = 'bad';

export type LaneStep = 'spawning' | 'loading' | 'proving' | 'running';

interface Run {
  readonly task: RunTask;
  readonly isProof: boolean;
  readonly settle: (reply: RunReply | undefined) => void;
  started: boolean;
  work: Work | undefined;
}

/** From a death to the host's hearing of it. */
const DEATH_HEARD_MS = 1;
/** From SIGKILL to the exit, as measured; a process inside a driver takes its time. */
const KILL_MS = 3;
const KILL_SLOW_MS = 80;

export class SimLane implements Lane {
  readonly pid: number;
  readonly threadId = 1;
  readonly memoryBytes = 0;
  readonly spawned: Promise<void>;
  /** Its answers are wrong, all of them: another one, or NaN. */
  lie: 'wrong' | 'nan' | undefined;
  /** It answered a proof right. */
  proved = false;
  /** Its load fails; `fatal`: and says that its device cannot be used. */
  unloadable: 'passing' | 'permanent' | 'fatal' | undefined;
  /** Its own context on its device is broken for good. */
  poisoned = false;
  slowness = 1;
  step: LaneStep | 'idle' = 'spawning';
  #frozen = false;
  #stuckNext = false;
  #stuckProof = false;
  #dead = false;
  #stopping = false;
  #cause: LaneExit | undefined;
  #exit: LaneExit | undefined;
  #listeners: ((exit: LaneExit) => void)[] = [];
  #pings: ((answered: boolean) => void)[] = [];
  #loadReply: ((reply: LoadReply) => void) | undefined;
  #runs: Run[] = [];
  #works = new Set<Work>();
  #spawnedYet!: { resolve: () => void; reject: (error: Error) => void };
  #stopTimer: unknown;

  constructor(
    readonly number: number,
    readonly actor: ActorPlan,
    readonly isolation: 'process' | 'thread',
    private readonly order: LaneOrder,
    private readonly world: LaneWorld,
    private readonly onZombie: (delta: 1 | -1) => void,
  ) {
    this.pid = 1000 + number;
    this.spawned = new Promise((resolve, reject) => (this.#spawnedYet = { resolve, reject }));
    this.spawned.catch(() => {});
    world.recorder.add({ type: 'laneOpened', lane: number, replica: order.replica, actor: actor.name, device: order.load.device, isolation });
    // An edition that cannot prove: found out by its answer where there is a golden, else by its load.
    if (order.load.spec['version'] === badVersion) {
      if (actor.hasGolden) this.lie = 'wrong';
      else this.unloadable = 'permanent';
    }
    this.#do(actor.spawnMs * world.chance.real(0.5, 1.5), () => {
      world.recorder.add({ type: 'laneSpawned', lane: number });
      this.step = 'idle';
      this.#spawnedYet.resolve();
    });
    world.reached(this, 'spawning');
  }

  get replica(): string { return this.order.replica; }
  get device(): string { return this.order.load.device; }
  get idle(): boolean { return this.step === 'idle' && this.#runs.length === 0; }
  get alive(): boolean { return this.#exit === undefined; }
  get hittable(): boolean { return !this.#dead && this.#cause === undefined && !this.#stopping; }
  get frozen(): boolean { return this.#frozen; }
  get running(): boolean { return this.#runs.some((run) => run.started && !run.isProof); }

  // --------------------------------------------------------------------------------------------------- as the host sees it

  load(): Promise<LoadReply> {
    const { recorder, chance } = this.world;
    if (this.#exit) return Promise.resolve(lost);
    return new Promise((resolve) => {
      this.#loadReply = resolve;
      this.step = 'loading';
      recorder.add({ type: 'laneLoading', lane: this.number });
      this.#do(this.actor.loadMs * chance.real(0.5, 1.5), () => {
        this.step = 'idle';
        const fatal = this.unloadable === 'fatal' || this.#deviceFails;
        recorder.add({ type: 'laneLoaded', lane: this.number, ok: !this.unloadable && !fatal, ...(fatal && { fatal }) });
        this.#loadReply = undefined;
        if (fatal) return resolve({ ok: false, message: `${this.device} is gone`, permanent: false, deviceFatal: true });
        if (this.unloadable) return resolve({ ok: false, message: 'simulated', permanent: this.unloadable === 'permanent', deviceFatal: false });
        resolve({ ok: true, runtime: 'sim', loadMs: 1, ...(this.order.load.kind === 'model' && { metadata: {
          inputs: [{ name: 'x', datatype: 'UINT8', shape: [-1] }], outputs: [{ name: 'y', datatype: 'UINT8', shape: [-1] }],
        } }) });
      });
      this.world.reached(this, 'loading');
    });
  }

  run(task: RunTask): Promise<RunReply | undefined> {
    const { recorder } = this.world;
    const content = textOf(task.inputs);
    const request = task.path.length > 1 ? content.slice(content.indexOf('|') + 1) : task.requestId;
    const isProof = !this.world.isRequest(request);
    recorder.add({ type: 'runPosted', lane: this.number, run: task.id, request: isProof ? undefined : request, content });
    if (this.#exit || (this.isolation === 'process' && this.#stopping)) return Promise.resolve(undefined);
    return new Promise((settle) => {
      this.#runs.push({ task, isProof, settle, started: false, work: undefined });
      this.#startRuns();
    });
  }

  cancel(): void {
    // Simulated work does not look at its signal; what it answers late is dropped by the host.
  }

  ping(): Promise<boolean> {
    if (this.#exit) return Promise.resolve(false);
    if (!this.#frozen && !this.#dead) return Promise.resolve(true);
    return new Promise((resolve) => this.#pings.push(resolve));
  }

  stop(budgetMs: number): void {
    this.world.recorder.add({ type: 'laneStop', lane: this.number });
    if (this.#stopping || this.#cause || this.#dead) return;
    this.#stopping = true;
    if (budgetMs < 2 ** 31) this.#stopTimer = this.world.clock.setTimeout(() => this.#end('killed', `did not stop within ${budgetMs} ms`), budgetMs);
    this.#unloadWhenIdle();
  }

  kill(reason: ExitReason, detail: string): void {
    const running = this.#runs.find((run) => run.started);
    const unheardMs = Math.max(0, -(running?.work?.remainingMs ?? 0));
    this.world.recorder.add({ type: 'laneKill', lane: this.number, reason, detail, unheardMs });
    this.#end(reason, detail);
  }

  onExit(listener: (exit: LaneExit) => void): void {
    const exit = this.#exit;
    if (exit) queueMicrotask(() => listener(exit));
    else this.#listeners.push(listener);
  }

  // -------------------------------------------------------------------------------------------------------- as fate sees it

  /** Ends by itself. */
  die(reason: 'crashed' | 'killed', detail: string): void {
    if (!this.hittable && !this.#stopping) return;
    if (this.#dead || this.#exit) return;
    this.world.recorder.add({ type: 'laneDead', lane: this.number });
    this.#halt();
    this.#cause ??= { reason, detail };
    this.world.clock.setTimeout(() => this.#report(), DEATH_HEARD_MS);
  }

  freeze(): void {
    this.#frozen = true;
    this.world.recorder.add({ type: 'laneFrozen', lane: this.number });
    for (const work of this.#works) work.pause();
  }

  thaw(): void {
    if (!this.#frozen || this.#dead || this.#exit) return;
    this.#frozen = false;
    this.world.recorder.add({ type: 'laneThawed', lane: this.number });
    for (const work of this.#works) work.resume();
    for (const answer of this.#pings.splice(0)) answer(true);
  }

  /** Goes bad while it serves. */
  turn(how: 'wrong' | 'nan'): void {
    this.lie = how;
    this.world.recorder.add({ type: 'laneTurned', lane: this.number, how });
  }

  /** The run that goes on now, or the next one, never ends. */
  stick(): void {
    const running = this.#runs.find((run) => run.started);
    if (running?.work) this.#forget(running.work);
    else this.#stuckNext = true;
  }

  /** The next proof of it never ends. */
  stickProof(): void {
    this.#stuckProof = true;
  }

  /** The next run ends like any other. */
  unstick(): void {
    this.#stuckNext = false;
    this.#stuckProof = false;
  }

  // --------------------------------------------------------------------------------------------------------------- inside

  get #deviceFails(): boolean {
    return this.world.deviceFails?.(this.device) ?? false;
  }

  #do(ms: number, then: () => void): Work {
    const work = new Work(this.world.clock, ms * this.slowness, () => {
      this.#works.delete(work);
      then();
    });
    this.#works.add(work);
    if (!this.#frozen) work.resume();
    return work;
  }

  #forget(work: Work): void {
    work.pause();
    this.#works.delete(work);
  }

  #startRuns(): void {
    if (this.#dead) return;
    for (const run of this.#runs.slice(0, this.order.concurrency)) if (!run.started) this.#start(run);
  }

  #start(run: Run): void {
    const { chance, recorder } = this.world;
    run.started = true;
    recorder.add({ type: 'runStarted', lane: this.number, run: run.task.id });
    const [word] = textOf(run.task.inputs).split(' ', 1);
    const isReProof = run.isProof && this.proved;
    const stuckProof = this.#stuckProof && isReProof;
    if (stuckProof) {
      this.#stuckProof = false;
      recorder.add({ type: 'fault', kind: 'hang-re-proof', target: this.replica, bit: true });
    }
    const stuck = this.#stuckNext || stuckProof || (!run.isProof && word === 'stuck');
    this.#stuckNext = false;
    // A long tail, as real ones have.
    const serviceMs = this.actor.serviceMs * (0.6 + chance.exponential(0.4));
    if (!stuck) {
      run.work = this.#do(serviceMs, () => {
        run.work = undefined;
        if (!run.isProof && word === 'poison') {
          recorder.add({ type: 'fault', kind: 'poison', target: this.replica, bit: true });
          this.die('crashed', 'SIGSEGV');
        } else if (!run.isProof && word === 'call' && this.actor.calls) this.#callFirst(run, this.actor.calls);
        else this.#answer(run, this.#replyTo(run.task, word ?? ''));
      });
    } else if (word === 'stuck') {
      recorder.add({ type: 'fault', kind: 'stuck', target: this.replica, bit: true });
    }
    if (run.isProof) this.step = 'proving';
    if (isReProof) recorder.add({ type: 'fault', kind: 're-proof', target: this.replica, bit: true });
    this.world.reached(this, run.isProof ? 'proving' : 'running');
  }

  #callFirst(run: Run, actor: string): void {
    const key = `${run.task.requestId}.${this.number}.${run.task.id}`;
    const question = bytesOf(`echo 1|${key}`);
    this.world.nestedSubmitted(key, actor, 'echo 1');
    void this.order.host.nestedCall({ runId: run.task.id, callId: run.task.id, actor, inputs: [tensor('x', question)] }).then((reply) => {
      this.world.nestedEnded(key, actor, question, reply);
      if (this.#dead || this.#exit) return;
      this.#do(0.1, () => this.#answer(run, reply.ok ? this.#replyTo(run.task, 'call') : { ...reply }));
    });
  }

  #replyTo(task: RunTask, word: string): RunReply {
    if (this.poisoned || this.#deviceFails) return { ok: false, code: 'INTERNAL', message: `${this.device} failed`, deviceFatal: true };
    if (word === 'error') return { ok: false, code: 'INVALID_ARGUMENT', message: 'simulated' };
    const data = answerOf(this.actor.name, task.inputs[0]!.data);
    if (this.lie === 'nan') return { ok: true, outputs: [{ name: 'y', datatype: 'FP32', shape: [1], data: new Uint8Array(new Float32Array([NaN]).buffer) }], runMs: 1 };
    if (this.lie) data[0]! ^= 1;
    return { ok: true, outputs: [tensor('y', data)], runMs: 1 };
  }

  #answer(run: Run, reply: RunReply): void {
    const at = this.#runs.indexOf(run);
    if (at < 0) return;
    this.#runs.splice(at, 1);
    if (run.isProof) this.step = 'idle';
    const right = reply.ok && isRight(this.actor.name, run.task.inputs[0]!.data, reply.outputs);
    if (run.isProof && right) this.proved = true;
    const fatal = !reply.ok && reply.deviceFatal === true;
    this.world.recorder.add({ type: 'runAnswered', lane: this.number, run: run.task.id, ok: reply.ok, right, ...(fatal && { fatal }) });
    run.settle(reply);
    this.#startRuns();
    if (this.#stopping) this.#unloadWhenIdle();
  }

  #unloadWhenIdle(): void {
    if (this.#runs.length === 0 && !this.#dead) this.#do(this.actor.unloadMs, () => this.#end('shutdown', 'stopped'));
  }

  #end(reason: ExitReason, detail: string): void {
    if (this.#exit) return;
    this.#cause ??= { reason, detail };
    if (this.#dead) return;
    const busy = this.step === 'loading' || this.#runs.some((run) => run.started);
    if (this.isolation === 'thread' && busy) return this.#abandon();
    this.#halt();
    this.world.clock.setTimeout(() => this.#report(), reason === 'shutdown' ? 0 : this.world.chance.flip(0.2) ? KILL_SLOW_MS : KILL_MS);
  }

  /** A thread inside native code: given up at once, and there until it comes back by itself, if ever. */
  #abandon(): void {
    const { clock, recorder } = this.world;
    this.onZombie(1);
    recorder.add({ type: 'laneZombie', lane: this.number });
    const remainingMs = Math.max(0, ...[...this.#works].map((work) => work.remainingMs));
    this.#halt();
    this.#report();
    if (remainingMs > 0) clock.setTimeout(() => this.onZombie(-1), remainingMs);
  }

  #halt(): void {
    this.#dead = true;
    for (const work of this.#works) work.pause();
    this.#works.clear();
  }

  #report(): void {
    if (this.#exit) return;
    this.#exit = this.#cause!;
    this.world.clock.clearTimeout(this.#stopTimer);
    this.world.recorder.add({ type: 'laneExited', lane: this.number, ...this.#exit });
    this.#spawnedYet.reject(new Error(this.#exit.detail));
    this.#loadReply?.(lost);
    for (const run of this.#runs.splice(0)) run.settle(undefined);
    for (const answer of this.#pings.splice(0)) answer(false);
    for (const listener of this.#listeners) listener(this.#exit);
  }
}

const lost: LoadReply = { ok: false, message: 'the lane ended', permanent: false, deviceFatal: false };

/** A span of computing that can be interrupted by freezing its lane. */
class Work {
  #sinceMs = 0;
  #timer: unknown;
  constructor(private readonly clock: Clock, private leftMs: number, private readonly then: () => void) {}

  /** Negative: over for so long, and not noticed yet. */
  get remainingMs(): number {
    return this.#timer === undefined ? this.leftMs : this.leftMs - (this.clock.now() - this.#sinceMs);
  }

  resume(): void {
    if (this.#timer !== undefined) return;
    this.#sinceMs = this.clock.now();
    this.#timer = this.clock.setTimeout(() => {
      this.#timer = undefined;
      this.then();
    }, this.leftMs);
  }

  pause(): void {
    if (this.#timer === undefined) return;
    this.leftMs = Math.max(0, this.remainingMs);
    this.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
