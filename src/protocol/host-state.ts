/**
 * What the others must know of a host to place actors, to forward requests and to kick its connection. Published on
 * `<prefix>.state.<host>` when it changes; a beat with another `stateVersion` tells a listener that it missed one.
 *
 * One validator guards both directions, so whatever is sent can be read. It is no status document: nothing in it is
 * there for people but the reasons.
 */
import { isCount, isIncarnation, isRecord, parseRecord } from './beat.js';
import { isToken } from './subjects.js';

/** Below the 1 MiB a NATS server takes by default, headers included. */
export const STATE_BYTES_MAX = 1_000_000;
export const STATE_DEVICES_MAX = 64;
export const STATE_MODULES_MAX = 1024;
export const STATE_PAUSED_MAX = 4096;
export const STATE_ACTORS_MAX = 8192;
/** Characters of a reason; longer ones are cut when sent. */
export const STATE_REASON_MAX = 200;

export interface StateDevice {
  readonly id: string;
  /** Replicas it takes at most; absent: no limit. */
  readonly capacity?: number;
  readonly usable: boolean;
}

/** The pool of `actor` gave up on `device` and is not due for another try. */
export interface StatePause {
  readonly actor: string;
  readonly device: string;
  readonly reason: string;
  /** It may be tried again; it was not ready since. */
  readonly due?: boolean;
}

export interface StateActor {
  readonly name: string;
  /** Of the spec; replicas of another hash are other replicas. Empty: there is none in force. */
  readonly hash: string;
  /** Wanted and ready on this host. */
  readonly wanted: number;
  readonly ready: number;
  /** Where its pool is; absent: nowhere. While it moves there is an entry per device. */
  readonly device?: string;
  readonly singleton?: boolean;
  /** Of the singleton's owner: this host. */
  readonly epoch?: number;
  /** Of a singleton this host does not own: replicas that could serve as soon as it does. */
  readonly warm?: number;
  /** Whether its spec lets a request run twice. */
  readonly idempotent: boolean;
  /** Requests waiting here. */
  readonly queue: number;
}

export interface HostState {
  readonly host: string;
  readonly incarnation: string;
  /** Grows with every change within one incarnation. */
  readonly version: number;
  readonly draining: boolean;
  /** Of its host file: where files differ about an actor, the higher one is meant. */
  readonly revision?: number;
  /** Its data connection, as the server names it; absent while it is not connected. */
  readonly connection?: { readonly serverId: string; readonly clientId: number };
  readonly devices: readonly StateDevice[];
  /** Names of modules a cluster's desired state may run here. */
  readonly modules: readonly string[];
  /** It can get the model of every desired actor: it reaches the store. */
  readonly fetches?: boolean;
  readonly paused: readonly StatePause[];
  readonly actors: readonly StateActor[];
}

const DEVICE = /^[A-Za-z0-9_:-]{1,64}$/;
const HASH = /^[A-Za-z0-9_:-]{0,128}$/;
const encoder = new TextEncoder();

/** @throws RangeError when it could not be read again: too large, too many of something, a name that is no token */
export function encodeHostState(state: HostState): Uint8Array {
  const sent = { ...state, paused: state.paused.map((pause) => ({ ...pause, reason: pause.reason.slice(0, STATE_REASON_MAX) })) };
  const fault = faultIn(sent);
  if (fault !== undefined) throw new RangeError(`state of host ${JSON.stringify(state.host)} cannot be sent: ${fault}`);
  const bytes = encoder.encode(JSON.stringify(picked(sent)));
  if (bytes.length > STATE_BYTES_MAX) throw new RangeError(`state of host ${state.host} has ${bytes.length} bytes, at most ${STATE_BYTES_MAX} are sent`);
  return bytes;
}

/** @returns undefined for what is malformed or over the bounds; fields it does not know are left out */
export function decodeHostState(bytes: Uint8Array): HostState | undefined {
  if (bytes.length > STATE_BYTES_MAX) return undefined;
  const value = parseRecord(bytes);
  return value !== undefined && faultIn(value) === undefined ? picked(value as unknown as HostState) : undefined;
}

type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

const flag: Check = (value) => typeof value === 'boolean';
const token: Check = (value) => typeof value === 'string' && isToken(value);
const matches = (pattern: RegExp): Check => (value) => typeof value === 'string' && pattern.test(value);
const optional = (check: Check): Check => (value) => value === undefined || check(value);
const listOf = (check: Check, countMax: number): Check => (value) => Array.isArray(value) && value.length <= countMax && value.every(check);
const record = (shape: Shape): Check => (value) => isRecord(value) && badField(shape, value) === undefined;

const badField = (shape: Shape, value: Readonly<Record<string, unknown>>): string | undefined => {
  for (const name in shape) if (!shape[name]!(value[name])) return name;
  return undefined;
};

const device = matches(DEVICE);
const deviceShape: Shape = { id: device, capacity: optional((value) => isCount(value) && value > 0), usable: flag };
const pauseShape: Shape = { actor: token, device, reason: (value) => typeof value === 'string' && value.length <= STATE_REASON_MAX, due: optional(flag) };
const actorShape: Shape = {
  name: token, hash: matches(HASH), wanted: isCount, ready: isCount, device: optional(device), singleton: optional(flag), epoch: optional(isCount), warm: optional(isCount), idempotent: flag, queue: isCount,
};
const connectionShape: Shape = { serverId: token, clientId: isCount };
const stateShape: Shape = {
  host: token,
  incarnation: isIncarnation,
  version: isCount,
  draining: flag,
  revision: optional(isCount),
  connection: optional(record(connectionShape)),
  devices: listOf(record(deviceShape), STATE_DEVICES_MAX),
  modules: listOf(token, STATE_MODULES_MAX),
  fetches: optional(flag),
  paused: listOf(record(pauseShape), STATE_PAUSED_MAX),
  actors: listOf(record(actorShape), STATE_ACTORS_MAX),
};

function faultIn(value: unknown): string | undefined {
  const name = isRecord(value) ? badField(stateShape, value) : 'all of it';
  return name === undefined ? undefined : `${name} is malformed or over its bound`;
}

/** Only the fields named here, so that a stranger's extras neither travel nor stay in memory. */
function picked(state: HostState): HostState {
  // A plain loop: this runs for every actor of every state that is sent or heard.
  const only = <T extends object>(shape: Shape, value: T): T => {
    const kept: Record<string, unknown> = {};
    for (const name in shape) {
      const field = (value as Record<string, unknown>)[name];
      if (field !== undefined) kept[name] = field;
    }
    return kept as T;
  };
  return {
    ...only(stateShape, state),
    ...(state.connection && { connection: only(connectionShape, state.connection) }),
    devices: state.devices.map((each) => only(deviceShape, each)),
    paused: state.paused.map((each) => only(pauseShape, each)),
    actors: state.actors.map((each) => only(actorShape, each)),
  };
}
