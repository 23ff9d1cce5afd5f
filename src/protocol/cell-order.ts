/** What a cell gets on its command line: everything it needs before its socket speaks. */

/** The socket to the host: the fourth of the cell's standard streams. */
export const cellSocketFd = 3;

export interface CellOrder {
  /** For the process title. */
  readonly replica: string;
  /** URL of the worker entry. */
  readonly worker: string;
  readonly concurrency: number;
  /** Heap bounds of the worker thread, in MB. */
  readonly resourceLimits?: { readonly maxOldGenerationSizeMb?: number; readonly maxYoungGenerationSizeMb?: number; readonly stackSizeMb?: number };
}

/** @throws Error when it was not written by a host */
export function parseCellOrder(argument: string | undefined): CellOrder {
  if (argument === undefined) throw new Error('a cell is started by a regrow host, not by hand');
  return JSON.parse(argument) as CellOrder;
}
