/**
 * The hosts one actor may run on, best first, worked out only as far as somebody asks: of three hundred hosts an actor
 * with two replicas looks at three. Plain numbers, because this runs for every actor at every change: the first few are
 * picked in one pass, and only an actor that finds no room there pays for a heap of all.
 *
 * A key packs (rank of the device among the actor's wishes, rendezvous score, host) into one exact double; ties of the
 * score go to the host that comes first by name. It mutates itself and never leaves one call of `placement`.
 */

const SCORES = 2 ** 32;

export interface HostOrder {
  readonly length: number;
  readonly stride: number;
  /** The best ones, in order; grows as it is asked for. */
  readonly sorted: number[];
  /** The same keys once more, as a list of its own. */
  readonly again: () => Float64Array;
  heap: Float64Array | undefined;
  heaped: number;
}

/** @param stride more than the largest host index; rank * stride must stay below 2^21 */
export const keyOf = (rank: number, score: number, host: number, stride: number): number => (rank * SCORES + (SCORES - 1 - score)) * stride + host;

/**
 * @param keys of `length` hosts, all different; read, not kept
 * @param first how many of them are likely to be asked for
 */
export function hostOrder(keys: Float64Array, length: number, stride: number, first: number, again: () => Float64Array): HostOrder {
  const sorted: number[] = [];
  for (let at = 0; at < length; at++) {
    const key = keys[at]!;
    let place = sorted.length;
    if (place >= first) {
      if (key >= sorted[place - 1]!) continue;
      place -= 1;
    } else sorted.push(key);
    for (; place > 0 && sorted[place - 1]! > key; place--) sorted[place] = sorted[place - 1]!;
    sorted[place] = key;
  }
  return { length, stride, sorted, again, heap: undefined, heaped: 0 };
}

function sink(heap: Float64Array, heaped: number, from: number): void {
  const key = heap[from]!;
  let at = from;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heaped) break;
    if (child + 1 < heaped && heap[child + 1]! < heap[child]!) child += 1;
    if (heap[child]! >= key) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = key;
}

function takeLeast(order: HostOrder, heap: Float64Array): number {
  const least = heap[0]!;
  order.heaped -= 1;
  heap[0] = heap[order.heaped]!;
  sink(heap, order.heaped, 0);
  return least;
}

/** All of them, without those that are sorted already. */
function heapOf(order: HostOrder): Float64Array {
  const heap = order.again();
  order.heaped = heap.length;
  for (let at = (heap.length >> 1) - 1; at >= 0; at--) sink(heap, heap.length, at);
  for (let taken = 0; taken < order.sorted.length; taken++) takeLeast(order, heap);
  return heap;
}

function keyAt(order: HostOrder, position: number): number {
  while (order.sorted.length <= position) order.sorted.push(takeLeast(order, (order.heap ??= heapOf(order))));
  return order.sorted[position]!;
}

/** Index of the host at a position below `length`, and which of the actor's wishes its device is. */
export function hostAt(order: HostOrder, position: number): { readonly host: number; readonly rank: number } {
  const key = keyAt(order, position);
  const host = key % order.stride;
  return { host, rank: Math.floor((key - host) / order.stride / SCORES) };
}
