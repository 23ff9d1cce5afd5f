/**
 * An immutable map that costs next to nothing to change one entry of. With 300 hosts a beat is judged 600 times a second,
 * and copying the map for each of them was most of what a beat cost.
 *
 * The newest version owns the one real map; an older one only knows how it differs from the next, and copies itself out
 * if somebody still reads it. So it is cheap for those who go on with what they got back, and right for everybody. An
 * iterator must be used up before the map it is of is changed.
 */

interface Difference<V extends object> {
  readonly next: Members<V>;
  readonly key: string;
  /** Undefined: the key was not there. */
  readonly before: V | undefined;
}

export class Members<V extends object> implements ReadonlyMap<string, V> {
  #map: Map<string, V> | undefined;
  #difference: Difference<V> | undefined;

  /** Takes the map over. */
  constructor(map: Map<string, V>) {
    this.#map = map;
  }

  /** The map itself if it is one of these, a copy otherwise. */
  static of<V extends object>(map: ReadonlyMap<string, V>): Members<V> {
    return map instanceof Members ? (map as Members<V>) : new Members(new Map(map));
  }

  with(key: string, value: V): Members<V> {
    const map = this.#own();
    const before = map.get(key);
    const next = new Members(map.set(key, value));
    this.#map = undefined;
    this.#difference = { next, key, before };
    return next;
  }

  get size(): number { return this.#own().size; }
  get(key: string): V | undefined { return this.#own().get(key); }
  has(key: string): boolean { return this.#own().has(key); }
  keys(): MapIterator<string> { return this.#own().keys(); }
  values(): MapIterator<V> { return this.#own().values(); }
  entries(): MapIterator<[string, V]> { return this.#own().entries(); }
  [Symbol.iterator](): MapIterator<[string, V]> { return this.entries(); }
  forEach(each: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.#own()) each(value, key, this);
  }

  #own(): Map<string, V> {
    if (this.#map) return this.#map;
    const differences: Difference<V>[] = [];
    let newest: Members<V> = this;
    for (let difference = newest.#difference; difference; difference = newest.#difference) {
      differences.push(difference);
      newest = difference.next;
    }
    const map = new Map(newest.#map);
    for (const { key, before } of differences.reverse()) {
      if (before === undefined) map.delete(key);
      else map.set(key, before);
    }
    this.#difference = undefined;
    return (this.#map = map);
  }
}
