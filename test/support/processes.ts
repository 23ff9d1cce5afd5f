/** Which living processes are whose children, and in which group. Linux only (/proc). */
import { readFileSync, readdirSync } from 'node:fs';

interface ProcessFacts {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
}

function factsOf(pid: number): ProcessFacts | undefined {
  try {
    const [state, parent, group] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
    return { pid, state: state!, parent: Number(parent), group: Number(group) };
  } catch {
    return undefined;
  }
}

/** All living ones; those that merely wait to be reaped are dead. */
function living(): ProcessFacts[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => factsOf(Number(name))).filter((facts) => facts !== undefined && facts.state !== 'Z') as ProcessFacts[];
}

export const childrenOf = (pid: number): number[] => living().filter(({ parent }) => parent === pid).map((facts) => facts.pid);
export const groupOf = (group: number): number[] => living().filter((facts) => facts.group === group).map((facts) => facts.pid);
