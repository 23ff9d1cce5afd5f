/**
 * The folder that outlives the process: the host's id and, in time, goldens, quarantine and dead letters. One process
 * at a time may use it; the lock is a file with the owner's pid, taken over when that process is gone.
 */
import { linkSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
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
  for (let attempt = 0; !takeLock(lock); attempt++) {
    const owner = ownerOf(lock);
    if (owner && isAlive(owner)) throw new DataDirLocked(`${path} is in use by process ${owner.pid}; give this host another dataDir, or stop that process`);
    if (attempt > 3) throw new DataDirLocked(`${lock} cannot be taken over; remove it if no host uses ${path}`);
    rmSync(lock, { force: true });
  }
  held.add(lock);
  return {
    path,
    release: () => {
      if (held.delete(lock)) rmSync(lock, { force: true });
    },
  };
}

interface LockOwner {
  readonly pid: number;
  /** When the process began, in ticks since boot: after a reboot another process may have its pid. Empty where unknown. */
  readonly began: string;
}

/** Whole or not at all: a lock without its owner would look like a leftover to whoever reads it in between. */
function takeLock(lock: string): boolean {
  const draft = `${lock}.${process.pid}`;
  writeFileSync(draft, `${process.pid} ${beganOf(process.pid)}\n`, { mode: 0o600 });
  try {
    linkSync(draft, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function ownerOf(lock: string): LockOwner | undefined {
  try {
    const [pid, began = ''] = readFileSync(lock, 'utf8').trim().split(' ');
    return { pid: Number.parseInt(pid!, 10), began };
  } catch {
    return undefined; // gone meanwhile
  }
}

function isAlive({ pid, began }: LockOwner): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return began === '' || beganOf(pid) === '' || beganOf(pid) === began;
}

/** Field 22 of /proc/<pid>/stat; the command's name before it may hold blanks and brackets. */
function beganOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').trim().split(' ')[19] ?? '';
  } catch {
    return ''; // not Linux
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
