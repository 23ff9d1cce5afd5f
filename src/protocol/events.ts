/** Events on `<prefix>.events.<host>.<type>`: one line of the story each, for people and for other hosts. */

export type EventType =
  | 'host-ready' | 'host-draining' | 'host-suspect' | 'host-dead' | 'host-gone'
  | 'replica-ready' | 'replica-exit' | 'replica-restart' | 'replica-ejected'
  | 'pool-gave-up' | 'pool-retry'
  | 'device-usable' | 'device-unusable' | 'device-fenced'
  | 'moved' | 'quarantined' | 'spec-changed' | 'model-changed' | 'zombie'
  | 'singleton-taken' | 'singleton-lost' | 'singleton-handed-over' | 'store-rolled-back' | 'host-fenced'
  | 'bus-down' | 'bus-up';

export interface RegrowEvent {
  /** ISO time of the host's wall clock, for reading only. */
  readonly time: string;
  readonly host: string;
  /** Of the host process: a ULID. */
  readonly incarnation: string;
  readonly type: EventType;
  readonly actor?: string;
  readonly device?: string;
  readonly replica?: string;
  readonly reason: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}
