/**
 * SIGHUP: the host file is read again and applied. A file with problems changes nothing, and every problem is logged by
 * its path; keys of the host itself are named, because only a restart changes them. Never rejects.
 */
import type { Host } from '../host/host.js';
import { SpecError } from '../host/create-host.js';
import type { Log } from '../ports.js';
import type { HostSpec } from '../spec/host.js';
import { readHostFile } from './host-file.js';

/** @returns the spec of the file, in force as far as it could be; undefined when it was refused */
export async function reloadHost(host: Host, file: string, log: Log): Promise<HostSpec | undefined> {
  try {
    const spec = readHostFile(file);
    const { changes, needRestart } = await host.apply(spec);
    for (const { actor, change, reason } of changes) log.log(change === 'refused' ? 'error' : 'info', 'reload-change', { actor, change, reason });
    if (needRestart.length > 0) log.log('warn', 'reload-needs-restart', { keys: needRestart, reason: 'these keys take effect at the next start only' });
    log.log('info', 'reloaded', { file, changed: changes.filter(({ change }) => change !== 'unchanged').length });
    return spec;
  } catch (error) {
    const problems = error instanceof SpecError ? error.problems : [{ path: '', message: String(error) }];
    for (const { path, message } of problems) log.log('error', 'reload-refused', { file, path, reason: message });
    return undefined;
  }
}
