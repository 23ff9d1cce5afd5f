/**
 * Turns what zod found into lines an operator can act on: the path in the file, what is wrong, and for an unknown key
 * the nearest known one. Every problem is reported, not only the first.
 */
import type { z } from 'zod';

export interface Problem {
  /** `actors[2].queue.sizeMax`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
}

export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : text === '' ? String(part) : `.${String(part)}`;
  return text;
}

export function problemsOf(error: z.ZodError, knownKeys: (path: readonly PropertyKey[]) => readonly string[]): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const near = nearest(key, knownKeys(issue.path));
        return { path: formatPath([...issue.path, key]), message: `unknown key${near ? `, did you mean "${near}"?` : ''}` };
      });
    }
    if (issue.code === 'invalid_union') {
      // The members' own complaints say more than "Invalid input" when exactly one member was meant.
      const deepest = issue.errors.flat().sort((a, b) => b.path.length - a.path.length)[0];
      return [{ path: formatPath([...issue.path, ...(deepest?.path ?? [])]), message: deepest?.message ?? issue.message }];
    }
    return [{ path: formatPath(issue.path), message: issue.message }];
  });
}

/** The known word closest to `word`, if it is close enough to have been meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
