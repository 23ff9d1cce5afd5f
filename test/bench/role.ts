/**
 * What one process of the benchmark is asked to be, and what it is then told over its IPC channel. One process per role,
 * so that no path shares a loop, a heap or a thread pool with another or with its own baseline.
 */
import type { Answer } from './answer.js';
import type { LoadOrder, LoadResult } from './load.js';
import type { ModelName } from './models.js';

export interface NatsAccess {
  readonly url: string;
  /** What a host logs in with; callers give no name and are the default user. */
  readonly host: { readonly user: string; readonly pass: string; readonly inboxPrefix: string };
}

export interface RoleOrder {
  /** raw, thread, cell, bus: load and model in one place. host, echo: serve only. caller, echo-caller: ask over NATS. */
  readonly role: 'raw' | 'thread' | 'cell' | 'bus' | 'host' | 'caller' | 'echo' | 'echo-caller';
  readonly root: string;
  readonly model: ModelName;
  readonly replicas: number;
  /** The same on both sides of every comparison. */
  readonly intraOpThreads: number;
  readonly nats: NatsAccess;
  /** For the echo: bytes of a request and of an answer. */
  readonly sizes?: { readonly request: number; readonly answer: number };
}

/** What a role does once it is open. Those that serve only need not generate load. */
export interface Role {
  /** Processes whose CPU time is the price of a request. */
  readonly pids: readonly number[];
  readonly runtime?: string;
  ask?(): Promise<Answer[]>;
  load?(order: LoadOrder): Promise<LoadResult>;
  close(): Promise<void>;
}

export type Question = { readonly id: number } & ({ readonly what: 'ask' } | { readonly what: 'load'; readonly load: LoadOrder } | { readonly what: 'close' });

export type Reply =
  | { readonly id: 0; readonly ready: { readonly pids: readonly number[]; readonly runtime?: string } }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };
