/**
 * Logs as pino JSON lines on stderr (pretty on a terminal); stdout is for answers.
 *
 * A log that cannot be written (the terminal was closed, the disk is full) is lost: nobody's requests depend on it. Lines
 * are kept up to a bound for a stderr that takes them again.
 */
import { pino, type DestinationStream } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Log } from '../ports.js';

export interface PinoLogOptions {
  /** pino level name; default from LOG_LEVEL, else info. */
  readonly level?: string;
  /** For people instead of machines. Default: on a terminal. */
  readonly pretty?: boolean;
}

/** Of lines that could not be written. */
const KEPT_BYTES_MAX = 64 * 1024;

export function createPinoLog(options: PinoLogOptions = {}): Log {
  const level = options.level ?? process.env['LOG_LEVEL'] ?? 'info';
  const stderr = pino.destination({ dest: 2, sync: true, maxLength: KEPT_BYTES_MAX });
  // EIO, ENOSPC: without a listener they would end the process. EPIPE pino itself answers, by writing nothing any more.
  stderr.on('error', () => {});
  const destination = (options.pretty ?? process.stderr.isTTY) ? prettily(stderr) : stderr;
  const logger = pino({ level, base: undefined }, destination);
  return {
    log: (level, event, fields) => logger[level](fields ?? {}, event),
  };
}

/** pino-pretty's own stream owns its descriptor, and lets nobody hear of its errors. */
function prettily(destination: DestinationStream): DestinationStream {
  const format = prettyFactory({ colorize: process.env['NO_COLOR'] === undefined, translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname' });
  return { write: (line) => destination.write(format(line)) };
}

/** For embedded hosts that did not ask for logs. */
export const silentLog: Log = { log: () => {} };
