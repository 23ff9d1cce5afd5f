/**
 * The quarantine beyond the process: `<dataDir>/quarantine.json`. A host that forgot it would let every poison kill twice
 * more after each restart.
 *
 * Wall-clock times are stored, because no other clock outlives a process; each with the time that was left when it was
 * written, so that a clock that was set back cannot refuse anybody longer than was decided.
 */
import { readFileSync } from 'node:fs';
import type { Clock, Log } from '../ports.js';
import type { SharedServing } from '../serving/shared.js';
import { writeFileWhole } from './files.js';

interface Entry {
  readonly fingerprint: string;
  /** ISO. */
  readonly until: string;
  readonly leftMs: number;
}

export interface QuarantineFile {
  /** Puts back what is still in force. A file that cannot be read is reported and taken for empty. */
  restore(): void;
  /** After every change. */
  save(): void;
}

export function quarantineFile(path: string, shared: SharedServing, { clock, log }: { readonly clock: Clock; readonly log: Log }): QuarantineFile {
  return {
    restore() {
      const nowMs = clock.now();
      for (const { fingerprint, until, leftMs } of readEntries(path, log)) {
        const stillMs = Math.min(leftMs, Date.parse(until) - clock.wallTime());
        if (stillMs > 0) shared.quarantine(fingerprint, nowMs, stillMs);
      }
    },
    save() {
      const entries: Entry[] = shared.quarantined().map(({ fingerprint, leftMs }) => ({ fingerprint, until: new Date(clock.wallTime() + leftMs).toISOString(), leftMs: Math.ceil(leftMs) }));
      try {
        writeFileWhole(path, JSON.stringify(entries));
      } catch (error) {
        log.log('error', 'quarantine-not-saved', { path, error: String(error), reason: 'it holds until this process ends' });
      }
    },
  };
}

function readEntries(path: string, log: Log): Entry[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.log('warn', 'quarantine-unreadable', { path, error: String(error) });
    return [];
  }
  try {
    const entries = JSON.parse(text) as Entry[];
    return entries.filter(({ fingerprint, until, leftMs }) => typeof fingerprint === 'string' && Number.isFinite(Date.parse(until)) && Number.isFinite(leftMs));
  } catch (error) {
    log.log('warn', 'quarantine-unreadable', { path, error: String(error) });
    return [];
  }
}
