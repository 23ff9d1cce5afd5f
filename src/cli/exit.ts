/** Exit codes of the contract, section 1, and how an error becomes one line and a code. */
import { isServeError } from '../errors.js';

export const EXIT = { ok: 0, requestFailed: 1, usage: 64, nothingThere: 69, gaveUp: 70, badSpec: 78 } as const;

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** There is no broker or host to talk to. */
export class NothingThere extends Error {
  override readonly name = 'NothingThere';
}

/** The order was understood and not carried out, or not allowed; says the cure. */
export class OrderRefused extends Error {
  override readonly name = 'OrderRefused';
}

export function fail(error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UsageError) {
    process.stderr.write(`regrow: ${message}\nTry: regrow --help\n`);
    return EXIT.usage;
  }
  if (error instanceof NothingThere) {
    process.stderr.write(`regrow: ${message}\n`);
    return EXIT.nothingThere;
  }
  if (error instanceof OrderRefused) {
    process.stderr.write(`regrow: ${message}\n`);
    return EXIT.requestFailed;
  }
  if (isServeError(error)) {
    process.stderr.write(`regrow: ${error.code} (${error.number}): ${message}${error.retryable ? '\nTrying again may help.' : ''}\n`);
    return EXIT.requestFailed;
  }
  const name = error instanceof Error ? error.name : '';
  if (name === 'SpecError' || name === 'DataDirLocked') {
    process.stderr.write(`regrow: ${message}\n`);
    return EXIT.badSpec;
  }
  process.stderr.write(`regrow: ${error instanceof Error ? (error.stack ?? message) : message}\n`);
  return EXIT.requestFailed;
}
