/**
 * Three numbers shared between a worker thread and whoever watches it: is a run inside, and must the thread go?
 *
 * A thread inside native code cannot be stopped (the whole process would abort), and it answers no message. So the
 * watcher sets `retire` and then reads the counters; the worker counts itself in and then reads `retire`. Atomics order
 * these two, hence either the watcher sees a busy thread or the worker sees the flag: a thread is never ended in a run.
 */
const started = 0;
const ended = 1;
const retire = 2;

export class LaneFlags {
  readonly #numbers: Int32Array;

  constructor(readonly shared = new SharedArrayBuffer(16)) {
    this.#numbers = new Int32Array(shared);
  }

  /** Worker: before anything that may run native or foreign code. False: do not, leave. */
  enter(): boolean {
    Atomics.add(this.#numbers, started, 1);
    if (Atomics.load(this.#numbers, retire) === 0) return true;
    this.leave();
    return false;
  }

  /** Worker: after it. False: the thread must go. */
  leave(): boolean {
    Atomics.add(this.#numbers, ended, 1);
    return Atomics.load(this.#numbers, retire) === 0;
  }

  /** Watcher: from now on nothing is entered. Returns whether something is inside. */
  retire(): boolean {
    Atomics.store(this.#numbers, retire, 1);
    return this.busy;
  }

  get busy(): boolean {
    return Atomics.load(this.#numbers, started) !== Atomics.load(this.#numbers, ended);
  }
}
