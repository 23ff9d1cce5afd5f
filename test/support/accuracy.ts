/**
 * How well a page was read, as one number.
 *
 * Character accuracy = 1 - edits / length: the fewest insertions, deletions and substitutions of characters that turn
 * what was read into the truth, over the number of characters of the truth; never below 0. Line ends count as spaces
 * and runs of spaces as one, so a line that was read in two pieces costs nothing and a lost space costs one edit.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './root.js';

/** Counts spaces. */
export function characterAccuracy(read: string, truth: string): number {
  const [from, to] = [[...oneSpace(read)], [...oneSpace(truth)]];
  return to.length === 0 ? Number(from.length === 0) : Math.max(0, 1 - editDistance(from, to) / to.length);
}

/** The same with all spaces taken out of both. */
export function characterAccuracyWithoutSpaces(read: string, truth: string): number {
  return characterAccuracy(read.replace(/\s/g, ''), truth.replace(/\s/g, ''));
}

const oneSpace = (text: string): string => text.normalize('NFC').replace(/\s+/g, ' ').trim();

/** Levenshtein's distance, one row of the table at a time. */
export function editDistance(from: readonly string[], to: readonly string[]): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const substituted = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}

/** Path of a file of demo/pages. */
export function pageFile(name: string): string {
  return join(repositoryRoot(), 'demo', 'pages', name);
}

/** The true text of a sample page: `invoice`, `columns` or `scan`. */
export function readTruth(page: string): string {
  return readFileSync(pageFile(`${page}.txt`), 'utf8');
}
