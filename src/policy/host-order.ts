/**
 * The hosts one actor may run on, best first, worked out only as far as somebody asks: of three hundred hosts an actor
 * with two replicas looks at three. A heap of plain numbers, because this runs for every actor at every change.
 *
 * A key packs (rank of the device among the actor's wishes, rendezvous score, host) into one exact double; ties of the
 * score go to the host that comes first by name. It mutates itself and never leaves one call of `placement`.
 */

const SCORES = 2 ** 32;

export interface HostOrder {
  /** Of the hosts in the heap and in `sorted` together. */
  readonly length: number;
  readonly stride: number;
  readonly heap: Float64Array;
  heaped: number;
  readonly sorted: number[];
}

/** @param stride more than the largest host index; rank * stride must stay below 2^21 */
export const keyOf = (rank: number, score: number, host: number, stride: number): number => (rank * SCORES + (SCORES - 1 - score)) * stride + host;

/** Takes the keys over. */
export function hostOrder(keys: Float64Array, stride: number): HostOrder {
  const order: HostOrder = { length: keys.length, stride, heap: keys, heaped: keys.length, sorted: [] };
  for (let at = (keys.length >> 1) - 1; at >= 0; at--) sink(order, at);
  return order;
}

function sink(order: HostOrder, from: number): void {
  const { heap, heaped } = order;
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

function keyAt(order: HostOrder, position: number): number {
  while (order.sorted.length <= position) {
    order.sorted.push(order.heap[0]!);
    order.heaped -= 1;
    order.heap[0] = order.heap[order.heaped]!;
    sink(order, 0);
  }
  return order.sorted[position]!;
}

/** Index of the host at a position below `length`, and which of the actor's wishes its device is. */
export function hostAt(order: HostOrder, position: number): { readonly host: number; readonly rank: number } {
  const key = keyAt(order, position);
  const host = key % order.stride;
  return { host, rank: Math.floor((key - host) / order.stride / SCORES) };
}
