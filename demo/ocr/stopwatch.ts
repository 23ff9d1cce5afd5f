/** Times the stages of one page, in milliseconds. The one place of the page reader that looks at a clock. */
export class Stopwatch {
  readonly #started = performance.now();
  #last = this.#started;
  readonly #stages: { readonly name: string; readonly ms: number }[] = [];

  /** Ends the stage that began at the previous call. */
  lap(name: string): void {
    const now = performance.now();
    this.#stages.push({ name, ms: now - this.#last });
    this.#last = now;
  }

  /** All stages so far and then `total`. */
  stages(): readonly { readonly name: string; readonly ms: number }[] {
    return [...this.#stages, { name: 'total', ms: this.#last - this.#started }];
  }
}
