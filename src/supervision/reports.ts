/**
 * What a supervisor tells an operator: transitions, one flat record each, with OTP's four fields (supervisor, context,
 * reason, child) where something went wrong. Formatting and counting are the listener's business.
 */
import type { ExitReason } from '../errors.js';
import type { ChildIdentity } from './child.js';

/** Where in the life of a child it happened; OTP's words. */
export type ReportContext = 'start_error' | 'child_terminated' | 'shutdown_error';

export type SupervisorReport = { readonly supervisor: string; readonly supervisorIncarnation: number } & (
  | { readonly type: 'started' }
  | { readonly type: 'child-started' | 'child-ready' | 'child-unready' | 'child-ignored'; readonly child: ChildIdentity }
  /** A child ended by itself, or otherwise than it was ordered to. */
  | {
      readonly type: 'child-exit'; readonly context: ReportContext; readonly child: ChildIdentity;
      readonly reason: ExitReason; readonly detail: string;
      readonly path?: readonly string[]; readonly facts?: Readonly<Record<string, unknown>>;
    }
  /** A child ended as ordered. */
  | { readonly type: 'child-stopped'; readonly child: ChildIdentity; readonly reason: ExitReason; readonly detail: string }
  /** `attempt` is the k of the backoff, `inWindow` counts this restart. */
  | {
      readonly type: 'restart-authorised'; readonly child: ChildIdentity; readonly attempt: number; readonly delayMs: number;
      readonly inWindow: number; readonly intensity: number; readonly group: readonly string[];
    }
  | { readonly type: 'backoff'; readonly child: ChildIdentity; readonly delayMs: number; readonly members: readonly string[] }
  | {
      readonly type: 'gave-up'; readonly child: ChildIdentity; readonly limit: 'intensity' | 'consecutiveMax';
      readonly attempt: number; readonly inWindow: number; readonly intensity: number;
    }
  /** Killed and still there after the grace: the supervisor goes on without it. */
  | { readonly type: 'zombie'; readonly child: ChildIdentity; readonly afterMs: number }
  | { readonly type: 'start-failed' | 'shutdown'; readonly reason: ExitReason; readonly detail: string }
);
