/**
 * What the signals of a terminal or a service manager ask of `regrow start`, the same for a guardian and for a host
 * without one: SIGINT and SIGTERM ask it to drain. SIGHUP asks for a reload, except from a terminal, which sends it when
 * it goes away: then it asks to drain as well, because nobody is left to read what would be said.
 */
import { isatty } from 'node:tty';

export interface SignalHandlers {
  /** May be called several times: a service manager signals guardian and host, and people press Ctrl-C twice. */
  readonly stop: (signal: NodeJS.Signals) => void;
  readonly reload: () => void;
}

/** For the rest of this process's life: a drain, too, must not be cut short by the next signal. */
export function onSignals({ stop, reload }: SignalHandlers): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
  // Asked now: when the signal comes, the terminal may be gone.
  const onTerminal = isatty(0);
  process.on('SIGHUP', (signal) => (onTerminal ? stop(signal) : reload()));
}
