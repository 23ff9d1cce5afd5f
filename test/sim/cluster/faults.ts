/**
 * Brings the planned faults about, and takes them back. A fault that finds its host in no fit state (it is down, or frozen
 * already) does not bite; the log says so.
 */
import type { ClusterFault } from './plan.js';
import type { Line, Way } from './hostile-bus.js';
import type { Slot, World } from './world.js';

/** For a replica fault to be over: it hangs, is ended, and its successor is proven. */
const REPLICA_MS = 4000;

export class ClusterFaults {
  #over = false;
  readonly #undo = new Set<() => void>();
  /** Everything is taken back by then. */
  lastMs = 0;

  constructor(private readonly world: World) {}

  strike(fault: ClusterFault): void {
    if (this.#over) return;
    const { slots } = this.world;
    const { kind, durationMs, chance } = fault;
    const up = slots.filter(({ state, process }) => state === 'up' && process.runs);
    const slot = up[Math.floor(chance * up.length)];
    const note = (bit: boolean, target = slot?.id ?? 'nobody'): void => this.world.log.add({ type: 'struck', kind, target, bit });
    if (!slot && kind !== 'broker-restart' && kind !== 'client-cut') return note(false);
    switch (kind) {
      case 'crash':
      case 'power-loss': {
        note(true);
        this.world.crash(slot!, kind === 'power-loss');
        return this.#later(durationMs, () => this.world.comeBack(slot!, chance * 100 % 1 < 0.5));
      }
      case 'loss': {
        const bit = slots.filter(({ lost }) => !lost).length > 2;
        note(bit);
        if (!bit) return;
        slot!.lost = true;
        return this.world.crash(slot!, chance * 100 % 1 < 0.5);
      }
      case 'freeze':
      case 'suspend': {
        note(true);
        return this.#standStill(slot!, durationMs, kind);
      }
      case 'stall': {
        note(true);
        return this.#standStill(slot!, Math.min(durationMs, 700), 'freeze');
      }
      case 'mass-freeze': {
        const many = up.slice(0, Math.max(2, Math.ceil(slots.length * 0.6)));
        note(many.length >= 2, many.map(({ id }) => id).join('+'));
        for (const each of many) this.#standStill(each, durationMs, 'freeze');
        return;
      }
      case 'partition':
      case 'partition-up':
      case 'partition-down':
      case 'data-cut':
      case 'control-cut': {
        note(true);
        const { data, control } = slot!.lines;
        const lines = kind === 'data-cut' ? [data] : kind === 'control-cut' ? [control] : [data, control];
        const ways: Way[] = kind === 'partition-up' ? ['up'] : kind === 'partition-down' ? ['down'] : ['up', 'down'];
        return this.#cut(lines, ways, durationMs, this.world.afflict(slot!));
      }
      case 'route-cut': {
        const other = slots[(slots.indexOf(slot!) + 1) % slots.length]!;
        note(true, `${slot!.id}>${other.id}`);
        const { broker } = this.world;
        const cures = [this.world.afflict(slot!), this.world.afflict(other)];
        broker.cutRoute(slot!.id, other.id);
        return this.#later(durationMs, () => {
          broker.healRoute(slot!.id, other.id);
          for (const cure of cures) cure();
        });
      }
      case 'slow-line': {
        note(true);
        const { data, control } = slot!.lines;
        const cure = this.world.afflict(slot!);
        const slowMs = 20 + 400 * chance;
        for (const line of [data, control]) line.slowMs += slowMs;
        return this.#later(durationMs, () => {
          for (const line of [data, control]) line.slowMs -= slowMs;
          cure();
        });
      }
      case 'drain':
        note(true);
        return this.#restart(slot!, () => {});
      case 'rolling-restart': {
        note(true, 'all');
        const rest = [...slots];
        const next = (): void => {
          const one = rest.shift();
          if (!one || this.#over) return;
          if (one.state === 'up' && one.process.runs) this.#restart(one, next);
          else next();
        };
        return next();
      }
      case 'broker-restart': {
        const { broker } = this.world;
        note(broker.running, 'broker');
        if (!broker.running) return;
        this.world.callerHits++;
        this.world.callerIlls++;
        const cures = slots.map((each) => this.world.afflict(each));
        this.world.log.add({ type: 'world', kind: 'brokerDown' });
        broker.stop();
        return this.#later(Math.min(durationMs, 5000), () => {
          broker.start();
          this.world.callerIlls--;
          this.world.log.add({ type: 'world', kind: 'brokerUp' });
          for (const cure of cures) cure();
        });
      }
      case 'client-cut': {
        note(true, 'client');
        this.world.callerHits++;
        this.world.callerIlls++;
        return this.#cut([this.world.clientLine], ['up', 'down'], durationMs, () => {
          this.world.callerHits++;
          this.world.callerIlls--;
        });
      }
      case 'drain-crash':
      case 'drain-freeze':
      case 'drain-cut':
      case 'drain-crash-other': {
        note(true);
        const { process } = slot!;
        this.#restart(slot!, () => {});
        // At any step of the hand-over: most of it happens within a second.
        const hitMs = (chance * 1000 % 1) ** 2 * 2500;
        this.world.time.setTimeout(() => {
          if (this.#over || slot!.process !== process || slot!.state !== 'stopping' || !process.runs) return;
          if (kind === 'drain-freeze') return this.#standStill(slot!, durationMs, 'freeze');
          const { data, control } = slot!.lines;
          if (kind === 'drain-cut') return this.#cut(chance < 0.3 ? [data] : chance < 0.6 ? [control] : [data, control], ['up', 'down'], durationMs, this.world.afflict(slot!));
          const other = slots.find((each) => each !== slot && each.state === 'up' && each.process.runs);
          const hit = kind === 'drain-crash' ? slot! : other;
          if (!hit) return;
          this.world.crash(hit, false);
          this.#later(durationMs, () => this.world.comeBack(hit, false));
        }, hitMs);
        return;
      }
      case 'writes-stand-still':
      case 'store-stands-still': {
        const { store } = this.world;
        const how = kind === 'writes-stand-still' ? 'writes' : 'all';
        note(true, 'store');
        store.standStill(how, true);
        return this.#later(Math.min(durationMs, 9000), () => store.standStill(how, false));
      }
      case 'acks-lost': {
        const { store } = this.world;
        note(true, 'store');
        store.loss += 0.3;
        return this.#later(durationMs, () => { store.loss = Math.max(0, store.loss - 0.3); });
      }
      case 'stale-reads': {
        const { store } = this.world;
        note(true, 'store');
        store.leaveBehind();
        return this.#later(Math.min(durationMs, 4000), () => store.refresh());
      }
      case 'watch-blind': {
        const { store } = this.world;
        const { process } = slot!;
        note(true);
        store.blind(process, true);
        return this.#later(95_000, () => store.blind(process, false));
      }
      case 'roll-back': {
        note(this.world.store.rollBack(500 + 4000 * chance), 'store');
        return;
      }
      case 'lease-edge': {
        const owner = this.#owner(up, chance);
        note(owner !== undefined, owner?.id);
        if (owner) this.#leaseEdge(owner, chance * 100 % 1, chance * 10_000 % 1);
        return;
      }
      case 'acks-late': {
        const owner = this.#owner(up, chance);
        note(owner !== undefined, owner?.id);
        if (!owner) return;
        const cure = this.world.afflict(owner);
        const { control } = owner.lines;
        control.slowMs += 400;
        this.#later(2500, () => this.#cut([control], ['up'], 9000, () => {
          control.slowMs -= 400;
          cure();
        }));
        return;
      }
      case 'replica': {
        note(true);
        const cure = this.world.afflict(slot!);
        slot!.replicaFaults.strike(fault.replica);
        return this.#later(fault.replica.durationMs + REPLICA_MS, cure);
      }
    }
  }

  /**
   * An owner cannot renew, and is back about when its lease has run out; everybody is slow, so that the moment lasts. Those
   * who may take over do not know of each other, and the last answers of the owner wait in its socket.
   */
  #leaseEdge(owner: Slot, when: number, what: number): void {
    const { broker, slots } = this.world;
    const { spec, lines, plan } = owner;
    const others = slots.filter((slot) => slot !== owner);
    const cures = slots.map((slot) => this.world.afflict(slot));
    for (const slot of slots) slot.lines.control.slowMs += 150;
    const [one, two] = others as [Slot, Slot];
    broker.cutRoute(one.id, two.id);
    broker.cutRoute(two.id, one.id);
    const edgeMs = spec.leaseMs * (0.95 + 0.5 * when);
    this.#cut([lines.control], ['up'], edgeMs, () => {});
    const lastWordsMs = spec.renewDeadlineMs / plan.rate - 500 * what;
    if (what < 0.5) this.#later(lastWordsMs, () => this.#cut([lines.data], ['up'], edgeMs - lastWordsMs, () => {}));
    this.#later(edgeMs + 3000, () => {
      for (const slot of slots) slot.lines.control.slowMs -= 150;
      broker.healRoute(one.id, two.id);
      broker.healRoute(two.id, one.id);
      for (const cure of cures) cure();
    });
  }

  #owner(up: readonly Slot[], chance: number): Slot | undefined {
    const owners = up.filter(({ owned }) => owned.size > 0);
    return owners[Math.floor(chance * owners.length)];
  }

  /** Takes everything back at once. */
  end(): void {
    this.#over = true;
    for (const undo of [...this.#undo]) undo();
    for (const { replicaFaults } of this.world.slots) replicaFaults?.end();
    this.lastMs = Math.max(this.lastMs, this.world.time.now());
  }

  #later(ms: number, undo: () => void): void {
    const once = (): void => { if (this.#undo.delete(once)) undo(); };
    this.#undo.add(once);
    this.world.time.setTimeout(once, ms);
  }

  #standStill(slot: Slot, durationMs: number, how: 'freeze' | 'suspend'): void {
    const { world } = this;
    const { process } = slot;
    const cure = world.afflict(slot);
    if (how === 'freeze') process.freeze();
    else process.suspend();
    world.broker.processChanged(process);
    world.log.add({ type: 'hostFreezes', host: slot.id });
    this.#later(durationMs, () => {
      cure();
      if (process.state === 'dead') return;
      world.log.add({ type: 'hostWakes', host: slot.id });
      process.wake();
    });
  }

  #cut(lines: readonly Line[], ways: readonly Way[], durationMs: number, cure: () => void): void {
    if (this.#over) return cure();
    for (const line of lines) for (const way of ways) line.block(way);
    this.#later(durationMs, () => {
      for (const line of lines) for (const way of ways) line.unblock(way);
      cure();
    });
  }

  #restart(slot: Slot, then: () => void): void {
    const { world } = this;
    world.drain(slot, () => {
      world.start(slot);
      const look = (): void => {
        if (slot.state === 'up') then();
        else world.time.setTimeout(look, 200);
      };
      look();
    });
  }
}
