/**
 * One process of the benchmark, seen from the one that measures. Every question has a time limit, and a process that was
 * opened is closed: asked first, then ended by its pid.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Answer } from './answer.js';
import type { LoadOrder, LoadResult } from './load.js';
import type { Question, Reply, RoleOrder } from './role.js';

const OPEN_MS = 60_000;
const ANSWER_MS = 120_000;
const CLOSE_MS = 15_000;

type What = Question extends infer Q ? (Q extends Question ? Omit<Q, 'id'> : never) : never;

export class Child {
  pids: readonly number[] = [];
  runtime: string | undefined;
  readonly #process: ChildProcess;
  readonly #pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly #exited: Promise<void>;
  #lastId = 0;

  /** @param profileDir where the process leaves a CPU profile when it is closed */
  static async open(order: RoleOrder, profileDir?: string): Promise<Child> {
    const child = new Child(order, profileDir);
    try {
      const { ready } = (await child.#answer(0, OPEN_MS, 'open')) as { ready: { pids: readonly number[]; runtime?: string } };
      child.pids = ready.pids;
      child.runtime = ready.runtime;
      return child;
    } catch (error) {
      await child.#end();
      throw error;
    }
  }

  private constructor(readonly order: RoleOrder, profileDir: string | undefined) {
    const name = `${order.role}-${order.model}-x${order.replicas}.cpuprofile`;
    this.#process = fork(fileURLToPath(new URL('role-entry.js', import.meta.url)), [JSON.stringify(order)], {
      execArgv: profileDir === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDir, '--cpu-prof-name', name],
      serialization: 'advanced',
      // stdout is for the table.
      stdio: ['ignore', 2, 2, 'ipc'],
    });
    this.#exited = new Promise((resolve) => {
      const ended = (why: string): void => {
        for (const { reject } of this.#pending.values()) reject(new Error(`the ${order.role} process ended: ${why}`));
        this.#pending.clear();
        resolve();
      };
      this.#process.once('error', (error) => ended(error.message));
      this.#process.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`));
    });
    this.#process.on('message', (reply: Reply) => {
      const waiting = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(reply.error));
      else waiting?.resolve('ready' in reply ? reply : reply.value);
    });
  }

  ask(): Promise<Answer[]> {
    return this.#question({ what: 'ask' }, ANSWER_MS) as Promise<Answer[]>;
  }

  load(load: LoadOrder): Promise<LoadResult> {
    return this.#question({ what: 'load', load }, ANSWER_MS + load.durationMs) as Promise<LoadResult>;
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await this.#question({ what: 'close' }, CLOSE_MS).catch(() => {});
    await this.#end();
  }

  #question(question: What, limitMs: number): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = this.#answer(id, limitMs, question.what);
    if (this.#process.connected) this.#process.send({ id, ...question });
    return answer;
  }

  #answer(id: number, limitMs: number, what: string): Promise<unknown> {
    if (!this.#process.connected) return Promise.reject(new Error(`the ${this.order.role} process is gone`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error(`the ${this.order.role} process did not answer "${what}" within ${limitMs} ms`));
      }, limitMs);
      const settled = <T>(settle: (value: T) => void) => (value: T): void => {
        clearTimeout(timer);
        settle(value);
      };
      this.#pending.set(id, { resolve: settled(resolve), reject: settled(reject) });
    });
  }

  async #end(): Promise<void> {
    const mercy = setTimeout(() => this.#process.kill('SIGKILL'), CLOSE_MS);
    if (this.#process.connected) this.#process.disconnect();
    await this.#exited;
    clearTimeout(mercy);
  }
}
