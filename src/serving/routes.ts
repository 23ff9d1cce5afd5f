/**
 * The route table: the one value where the control path and the data path meet. Control writes which replicas are
 * proven and reachable, data reads where a request may go.
 */
import type { Lane } from '../ports.js';
import type { ModelMetadata } from '../tensor/datatype.js';

/** A proven replica. One route per incarnation; a restarted replica is a new route. */
export interface Route {
  readonly actor: string;
  readonly replica: string;
  readonly incarnation: number;
  readonly device: string;
  readonly version: string;
  /** Runs at once. */
  readonly concurrency: number;
  readonly lane: Lane;
  readonly metadata: ModelMetadata | undefined;
  /** Why its answers are second best: a device the actor would rather be on cannot be used. */
  readonly degraded?: string | undefined;
}

export interface RouteListener {
  routeAdded(route: Route): void;
  /** No new work for it, what it has may finish. */
  routeClosed(route: Route): void;
  /** It may be frozen: no new work, what it has is run elsewhere too. `suspect` false takes that back. */
  routeSuspect(route: Route, suspect: boolean): void;
}

export class RouteTable {
  readonly #listeners = new Map<string, RouteListener>();
  readonly #routes = new Map<string, Route>();

  listen(actor: string, listener: RouteListener): void {
    this.#listeners.set(actor, listener);
  }

  add(route: Route): void {
    this.#routes.set(route.replica, route);
    route.lane.onExit(() => {
      if (this.#routes.get(route.replica) === route) this.#routes.delete(route.replica);
    });
    this.#listeners.get(route.actor)?.routeAdded(route);
  }

  /** The replica drains. A lane that died is no business of this method: it tells the data path by itself. */
  close(replica: string): void {
    const route = this.#routes.get(replica);
    if (!route) return;
    this.#routes.delete(replica);
    this.#listeners.get(route.actor)?.routeClosed(route);
  }

  suspect(replica: string, suspect: boolean): void {
    const route = this.#routes.get(replica);
    if (route) this.#listeners.get(route.actor)?.routeSuspect(route, suspect);
  }
}
