/** A dispatcher with simulated time and lanes, and short words for what happens to it. */
import { Dispatcher, type DispatcherOptions } from '../../src/serving/dispatcher.js';
import type { Route } from '../../src/serving/routes.js';
import { SharedServing, type SharedServingOptions } from '../../src/serving/shared.js';
import type { InferAnswer, InferCall } from '../../src/serving/ticket.js';
import { isServeError } from '../../src/errors.js';
import type { NamedTensor } from '../../src/tensor/datatype.js';
import { fastHash } from '../../src/tensor/digest.js';
import { SimClock, settle } from './sim-clock.js';
import { SimLane } from './sim-lane.js';

export const stageDefaults: DispatcherOptions = {
  name: 'echo', idempotent: true, timeoutMs: 5000, timeoutMaxMs: 30_000, hangMs: 10_000,
  queue: { sizeMax: 4096, bytesMax: 1 << 20 }, replaysMax: 2, quarantineMs: 600_000,
};

export interface Outcome {
  readonly id: string;
  /** `ok`, an error code, `UNAVAILABLE(unknown)`, or `canceled`. */
  readonly end: string;
  readonly answer?: InferAnswer;
  readonly message?: string;
  /** Of a ServeError. */
  readonly reason?: string | undefined;
  readonly retryable?: boolean;
}

export class ServingStage {
  readonly clock: SimClock;
  readonly shared: SharedServing;
  readonly dispatcher: Dispatcher;
  readonly outcomes: Outcome[] = [];
  readonly availability: boolean[] = [];
  readonly poisoned: string[] = [];
  readonly lost: string[][] = [];
  readonly doubted: string[] = [];
  /** Those whose doubt is news. */
  readonly newlyDoubted: string[] = [];
  readonly slow: string[] = [];
  readonly failedDevices: string[] = [];
  readonly erring: string[] = [];
  #routes = 0;

  constructor(options: Partial<DispatcherOptions> = {}, shared: Partial<SharedServingOptions> = {}, clock = new SimClock()) {
    this.clock = clock;
    this.shared = new SharedServing({ clock, queueBytesMax: 1 << 30, holdMs: 2000, hash: fastHash, ...shared });
    this.dispatcher = new Dispatcher({ ...stageDefaults, ...options }, this.shared, {
      availability: (takes) => this.availability.push(takes),
      doubted: (route, _reason, first) => {
        this.doubted.push(route.replica);
        if (first) this.newlyDoubted.push(route.replica);
      },
      deviceFailed: (route) => this.failedDevices.push(`${route.device} under ${route.replica}`),
      slow: (route, ms) => this.slow.push(`${route.replica} ${ms === undefined ? 'answered' : 'late'}`),
      errs: (route) => this.erring.push(route.replica),
      laneLost: (_route, ids) => this.lost.push([...ids]),
      poisoned: (ticket) => this.poisoned.push(ticket.call.requestId),
    });
  }

  /** A proven replica joins. */
  async replica(concurrency = 1, place: { readonly device?: string; readonly degraded?: string } = {}): Promise<SimLane & { route: Route }> {
    const lane = new SimLane();
    const number = ++this.#routes;
    const route: Route = { actor: 'echo', replica: `echo-${number}`, incarnation: 1, device: 'cpu', version: 'v', concurrency, lane, metadata: undefined, ...place };
    this.dispatcher.routeAdded(route);
    await settle();
    return Object.assign(lane, { route });
  }

  /** Sends a request; its end appears in `outcomes`. */
  async send(id: string, call: Partial<InferCall> = {}): Promise<void> {
    this.dispatcher.submit({ requestId: id, inputs: [inputOf(id)], ...call }).then(
      (answer) => this.outcomes.push({ id, end: 'ok', answer }),
      (error: unknown) => this.outcomes.push({
        id, end: endOf(error), message: error instanceof Error ? error.message : String(error),
        ...(isServeError(error) && { reason: error.reason, retryable: error.retryable }),
      }),
    );
    await settle();
  }

  async answer(lane: SimLane): Promise<string> {
    const id = lane.answer();
    await settle();
    return id;
  }

  async die(lane: SimLane, ...how: Parameters<SimLane['die']>): Promise<void> {
    lane.die(...how);
    await settle();
  }

  endOf(id: string): string | undefined {
    return this.outcomes.find((outcome) => outcome.id === id)?.end;
  }

  get ends(): Record<string, string> {
    return Object.fromEntries(this.outcomes.map(({ id, end }) => [id, end]));
  }
}

export function inputOf(text: string): NamedTensor {
  const data = new TextEncoder().encode(text);
  return { name: 'x', datatype: 'UINT8', shape: [data.byteLength], data };
}

function endOf(error: unknown): string {
  if (!isServeError(error)) return 'canceled';
  return error.outcome === 'unknown' ? `${error.code}(unknown)` : error.code;
}
