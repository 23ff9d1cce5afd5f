/**
 * The known name somebody most likely meant.
 *
 * Edit distance, bounded: names from outside are cut before they are compared, so a long one costs no more than a
 * short one. Suggests nothing rather than something far off.
 */
const comparedMax = 64;

/** The nearest of `known` within a third of the name's length (at least 1), without case; undefined when none is. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const wanted = name.slice(0, comparedMax).toLowerCase();
  let nearest: string | undefined;
  let nearestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known.slice(0, 256)) {
    const distance = editDistance(wanted, candidate.slice(0, comparedMax).toLowerCase());
    if (distance < nearestDistance) {
      nearest = candidate;
      nearestDistance = distance;
    }
  }
  return nearest;
}

/** Insertions, deletions, replacements and swaps of neighbours: the commonest slip of fingers counts once. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? beforeLast[j - 2]! + 1 : Infinity;
      row.push(Math.min(replaced, swapped, last[j]! + 1, row[j - 1]! + 1));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
