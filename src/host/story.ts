/**
 * Turns what the supervisors report into the story an operator follows: events on the bus, lines in the log, changes on
 * the board. One place, so that the three never tell different stories.
 */
import type { Clock, Log, LogLevel } from '../ports.js';
import type { EventType, RegrowEvent } from '../protocol/events.js';
import type { SupervisorReport } from '../supervision/reports.js';
import type { Board } from './board.js';

export interface StoryOptions {
  readonly hostId: string;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly board: Board;
}

export interface Place {
  readonly actor: string;
  readonly device: string;
}

const levels: Partial<Record<EventType, LogLevel>> = {
  'replica-exit': 'warn', 'pool-gave-up': 'error', 'bus-down': 'warn', quarantined: 'warn', 'model-changed': 'warn', zombie: 'error', 'host-dead': 'warn',
};

export class Story {
  #listeners: ((event: RegrowEvent) => void)[] = [];

  constructor(private readonly options: StoryOptions) {}

  onEvent(listener: (event: RegrowEvent) => void): () => void {
    this.#listeners.push(listener);
    return () => {
      this.#listeners = this.#listeners.filter((known) => known !== listener);
    };
  }

  tell(type: EventType, reason: string, about: Partial<Pick<RegrowEvent, 'actor' | 'device' | 'replica' | 'detail'>> = {}): void {
    const { hostId, incarnation, clock, log } = this.options;
    const event: RegrowEvent = { time: new Date(clock.wallTime()).toISOString(), host: hostId, incarnation, type, ...about, reason };
    const { actor, device, replica, detail } = about;
    log.log(levels[type] ?? 'info', type, { reason, ...(actor && { actor }), ...(device && { device }), ...(replica && { replica }), ...detail });
    // A listener's fault is its own: it must not end a drain, hide the event from others, or climb into a machine.
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        log.log('error', 'event-listener-threw', { type, error: String(error) });
      }
    }
  }

  /** @param place of the pool the report comes from; undefined for the supervisors above the pools */
  supervisorReported(report: SupervisorReport, place: Place | undefined): void {
    if (!place) return this.#infrastructure(report);
    const { board } = this.options;
    switch (report.type) {
      case 'child-ready':
        return this.tell('replica-ready', 'proven', { ...place, replica: report.child.id, detail: { incarnation: report.child.incarnation } });
      case 'child-exit': {
        const { child, reason, detail } = report;
        const last = board.replicaExited(place.actor, child.id, reason, detail);
        return this.tell('replica-exit', `${reason}: ${detail}`, {
          ...place, replica: child.id, detail: { incarnation: child.incarnation, context: report.context, requests: last?.requests ?? [] },
        });
      }
      case 'child-stopped':
        board.replicaStopped(place.actor, report.child.id);
        return;
      case 'restart-authorised': {
        const { child, attempt, delayMs, inWindow, intensity } = report;
        board.replicaRestarting(place.actor, child.id, delayMs);
        return this.tell('replica-restart', `restart ${attempt} in a row, ${delayMs === 0 ? 'at once' : `in ${Math.round(delayMs)} ms`}`, {
          ...place, replica: child.id, detail: { attempt, delayMs, inWindow, ...(intensity !== Infinity && { intensity }) },
        });
      }
      case 'gave-up':
        return this.tell('pool-gave-up', `${report.child.id} kept failing: ${report.limit} reached (${report.inWindow} restarts in the window, ${report.attempt} failures in a row)`, { ...place });
      case 'zombie':
        return this.tell('zombie', `killed and still there after ${Math.round(report.afterMs)} ms`, { ...place, replica: report.child.id });
      default:
        return;
    }
  }

  #infrastructure(report: SupervisorReport): void {
    if (report.type === 'child-exit') {
      this.options.log.log('error', 'infrastructure-exit', { supervisor: report.supervisor, child: report.child.id, reason: report.reason, detail: report.detail });
    }
  }
}
