/**
 * The folder that outlives the process: the host's id and, in time, goldens, quarantine and dead letters. One process
 * at a time may use it; the lock is a file with the owner's pid, taken over when that process is gone.
 */
import { closeSync, mkdirSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Random } from '../ports.js';

export class DataDirLocked extends Error {
  override readonly name = 'DataDirLocked';
}

export interface DataDir {
  readonly path: string;
  release(): void;
}

/** Held by hosts of this very process. A lock file with our own pid that is not among them is a leftover: pids repeat in containers. */
const held = new Set<string>();

/** @throws DataDirLocked when a live process, this one included, holds the folder */
export function openDataDir(path: string): DataDir {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const lock = join(realpathSync(path), 'lock');
  if (held.has(lock)) throw new DataDirLocked(`${path} is in use by another host of this process; give this host another dataDir`);
  for (let attempt = 0; ; attempt++) {
    try {
      const descriptor = openSync(lock, 'wx', 0o600);
      writeSync(descriptor, `${process.pid}\n`);
      closeSync(descriptor);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 3) throw error;
      const owner = Number.parseInt(readFileSync(lock, 'utf8'), 10);
      if (isAlive(owner)) throw new DataDirLocked(`${path} is in use by process ${owner}; give this host another dataDir, or stop that process`);
      rmSync(lock, { force: true });
    }
  }
  held.add(lock);
  return {
    path,
    release: () => {
      if (held.delete(lock)) rmSync(lock, { force: true });
    },
  };
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** `auto`: the machine's name plus four characters, kept in the folder so that the host is the same after a restart. */
export function hostIdOf(wanted: string, dataDir: DataDir | undefined, random: Random): string {
  if (wanted !== 'auto') return wanted;
  const file = dataDir && join(dataDir.path, 'host-id');
  if (file) {
    try {
      const kept = readFileSync(file, 'utf8').trim();
      if (/^[A-Za-z0-9_-]{1,64}$/.test(kept)) return kept;
    } catch {
      // First start in this folder.
    }
  }
  const name = hostname().split('.')[0]!.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 40) || 'host';
  const id = `${name}-${random.ulid().slice(-4).toLowerCase()}`;
  if (file) writeFileSync(file, `${id}\n`, { mode: 0o600 });
  return id;
}
