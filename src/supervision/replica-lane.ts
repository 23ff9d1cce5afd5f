/**
 * The lane of one replica, driven by its machine's orders: the only place of a replica that touches the world.
 *
 * Assumes that the lane reports its exit exactly once; after that nothing more is done or said. Decides nothing: what an
 * order is good for is the machine's, when a lane is silent is in replica-pings.ts, when it is stale in
 * replica-freshness.ts.
 */
import { fromCallback } from 'xstate';
import type { ExitReason } from '../errors.js';
import type { LaneExit } from '../ports.js';
import { Freshness, type FreshnessReport } from './replica-freshness.js';
import { Pings, type PingReport } from './replica-pings.js';
import type { Loaded, ProofKind, ReplicaInput } from './replica-ports.js';

export type LaneReport =
  | { type: 'lane.spawned'; pid: number; threadId: number }
  | { type: 'lane.turn' }
  | { type: 'lane.loaded'; threadId: number; loaded: Loaded }
  | { type: 'lane.loadFailed'; detail: string }
  | { type: 'lane.proved'; proof: ProofKind }
  | { type: 'lane.unproven'; detail: string }
  | PingReport
  | FreshnessReport
  | { type: 'lane.exited'; exit: LaneExit; charge: boolean };

export type LaneCommand =
  | { type: 'lane.load' }
  | { type: 'lane.prove' }
  | { type: 'lane.route' }
  | { type: 'lane.unroute' }
  /** `working`: perhaps a caller's run is on it all the same. */
  | { type: 'lane.suspect'; suspect: boolean; working?: boolean }
  | { type: 'lane.doubt' }
  | { type: 'lane.stop'; budgetMs: number }
  | { type: 'lane.kill'; reason: ExitReason; detail: string };

export const laneActor = fromCallback<LaneCommand, ReplicaInput>(({ input, sendBack, receive }) => {
  const { id, incarnation, effects, limits } = input;
  const report = (event: LaneReport): void => sendBack(event);
  const lane = effects.lanes.open(effects.order(id, incarnation));
  const failed = (cause: unknown): void => {
    if (!ended) lane.kill('crashed', `its host failed while driving it: ${String(cause)}`);
  };
  const pings = new Pings(lane, effects.clock, limits, report);
  const freshness = new Freshness(lane, input, { report, failed });
  let loaded: Loaded | undefined;
  let ended = false;
  let endTurn: (() => void) | undefined;
  const finishTurn = (): void => {
    endTurn?.();
    endTurn = undefined;
  };
  const leaveAlone = (): void => {
    pings.end();
    freshness.end();
  };

  lane.onExit((exit) => {
    ended = true;
    leaveAlone();
    finishTurn();
    const charge = effects.charged(id);
    // The data path hears of the exit from the lane itself; it goes first, so that a report can name the lost requests.
    queueMicrotask(() => report({ type: 'lane.exited', exit, charge }));
  });
  lane.spawned.then(
    () => report({ type: 'lane.spawned', pid: lane.pid, threadId: lane.threadId }),
    () => {}, // its exit says why
  );
  void effects.startTurn().then((end) => {
    endTurn = end;
    if (ended) finishTurn();
    else report({ type: 'lane.turn' });
  });

  const load = async (): Promise<void> => {
    const reply = await lane.load();
    if (ended) return;
    if (!reply.ok) {
      report({ type: 'lane.loadFailed', detail: reply.message });
      if (reply.deviceFatal) effects.deviceFailed(reply.message);
      return;
    }
    loaded = reply;
    report({ type: 'lane.loaded', threadId: lane.threadId, loaded: reply });
  };
  const prove = async (): Promise<void> => {
    const result = await freshness.prove(loaded!);
    finishTurn();
    if (ended) return;
    report(result.ok ? { type: 'lane.proved', proof: result.proof } : { type: 'lane.unproven', detail: result.detail });
  };

  receive((order) => {
    if (ended) return;
    switch (order.type) {
      case 'lane.load':
        return void load().catch(failed);
      case 'lane.prove':
        return void prove().catch(failed);
      case 'lane.route':
        effects.routed(id, incarnation, lane, loaded!);
        if (limits.pingMs > 0) pings.begin();
        return freshness.keep();
      case 'lane.doubt':
        return freshness.doubt();
      case 'lane.unroute':
        return effects.unrouted(id);
      case 'lane.suspect':
        freshness.working = order.working ?? false;
        return effects.suspected(id, order.suspect);
      case 'lane.stop':
        return lane.stop(order.budgetMs);
      case 'lane.kill':
        return lane.kill(order.reason, order.detail);
    }
  });
  return () => {
    leaveAlone();
    if (!ended) lane.kill('shutdown', 'its machine was stopped');
  };
});
