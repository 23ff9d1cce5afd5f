/**
 * What the end of a host means for its guardian: pass it on, or start another one; and the exit code of the whole.
 * The numbers are those of the `regrow` command (`regrow --help`). Pure.
 */
import type { ExitReason } from '../errors.js';

/** How one life of a host ended. */
export interface HostEnd {
  readonly reason: ExitReason;
  /** For people. */
  readonly detail: string;
  /** Absent where it did not exit by itself. */
  readonly code: number | undefined;
  /** Its host file had been accepted. */
  readonly greeted: boolean;
}

/** Ended as it should (0); or another start would end the same way: wrong usage, nothing to connect to, bad spec or double id. */
const final: readonly number[] = [0, 64, 69, 78];
const gaveUp = 70;

export function isFinal({ code }: Pick<HostEnd, 'code'>): boolean {
  return code !== undefined && final.includes(code);
}

/**
 * @param why what ended the supervisor: `ordered`, `auto_shutdown` (a final exit), `budget_exhausted`
 * @param last the end of the last host; for `ordered` only if it came after the order
 */
export function exitCodeOf(why: string, last: HostEnd | undefined): number {
  if (why === 'auto_shutdown') return last?.code ?? gaveUp;
  if (why !== 'ordered') return gaveUp;
  // Stopped between two hosts, or before the host had accepted anything: there was nothing to drain.
  if (!last?.greeted) return isFinal({ code: last?.code }) ? last!.code! : 0;
  return last.code ?? gaveUp;
}
