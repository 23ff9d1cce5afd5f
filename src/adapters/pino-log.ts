/** Logs as pino JSON lines on stderr (pretty on a terminal); stdout is for answers. */
import { pino, type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Log } from '../ports.js';

export interface PinoLogOptions {
  /** pino level name; default from LOG_LEVEL, else info. */
  readonly level?: string;
}

export function createPinoLog(options: PinoLogOptions = {}): Log {
  const level = options.level ?? process.env['LOG_LEVEL'] ?? 'info';
  const destination = process.stderr.isTTY
    ? pretty({ colorize: process.env['NO_COLOR'] === undefined, translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname', destination: 2, sync: true })
    : pino.destination({ dest: 2, sync: true });
  const logger: Logger = pino({ level, base: undefined }, destination);
  return {
    log: (level, event, fields) => logger[level](fields ?? {}, event),
  };
}

/** For embedded hosts that did not ask for logs. */
export const silentLog: Log = { log: () => {} };
