/**
 * How often each replica of this host has been started, whatever pool it was in: `replica#n` names one life of it for as
 * long as the host lives. Bounded, because ids are used up; the ones forgotten first are those not started for longest.
 */
export class Incarnations extends Map<string, number> {
  constructor(private readonly sizeMax = 4096) {
    super();
  }

  override set(id: string, incarnation: number): this {
    this.delete(id);
    super.set(id, incarnation);
    if (this.size > this.sizeMax) this.delete(this.keys().next().value!);
    return this;
  }
}
