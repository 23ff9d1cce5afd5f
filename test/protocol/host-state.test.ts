import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeHostState, encodeHostState, STATE_ACTORS_MAX, STATE_BYTES_MAX, STATE_DEVICES_MAX, STATE_MODULES_MAX, STATE_PAUSED_MAX, STATE_REASON_MAX, type HostState,
} from '../../src/protocol/host-state.js';

const state: HostState = {
  host: 'h1', incarnation: '01ARZ3NDEKTSV4RRFFQ69G5FAV', version: 7, draining: false,
  connection: { serverId: 'NCPEZ2DWSQH3ZZ5ZJGQ6TT5LMZLCFAZVQYJTWJ7LZGKQ3WJ6V3XJQSYB', clientId: 12 },
  devices: [{ id: 'cpu', usable: true }, { id: 'cuda:0', capacity: 4, usable: false }],
  modules: ['sum'],
  paused: [{ actor: 'ocr', device: 'cuda:0', reason: 'budget exhausted' }],
  actors: [
    { name: 'ocr', hash: 'a'.repeat(64), wanted: 2, ready: 1, device: 'cpu', idempotent: true, queue: 3 },
    { name: 'sum', hash: 'b'.repeat(64), wanted: 1, ready: 1, device: 'cpu', singleton: true, epoch: 9, idempotent: true, queue: 0 },
  ],
};
const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));

test('a state comes back as it was sent, with and without its optional fields', () => {
  assert.deepEqual(decodeHostState(encodeHostState(state)), state);
  const { connection, ...bare } = state;
  const small = { ...bare, devices: [], modules: [], paused: [], actors: [{ name: 'a', hash: 'x', wanted: 0, ready: 0, idempotent: true, queue: 0 }] };
  assert.ok(connection);
  assert.deepEqual(decodeHostState(encodeHostState(small)), small);
});

test('what is malformed is undefined: every field at every level, missing and wrong', () => {
  const places: [string, (value: Record<string, unknown>) => unknown, Record<string, unknown>, string[]][] = [
    ['state', (value) => value, state as never, ['connection']],
    ['connection', (connection) => ({ ...state, connection }), state.connection as never, []],
    ['device', (device) => ({ ...state, devices: [device] }), state.devices[1] as never, ['capacity']],
    ['pause', (pause) => ({ ...state, paused: [pause] }), state.paused[0] as never, []],
    ['actor', (actor) => ({ ...state, actors: [actor] }), state.actors[1] as never, ['device', 'singleton', 'epoch']],
  ];
  for (const [what, within, value, optional] of places) {
    assert.ok(decodeHostState(bytesOf(within(value))), what);
    for (const name of Object.keys(value)) {
      const { [name]: _, ...without } = value;
      assert.equal(decodeHostState(bytesOf(within(without))) !== undefined, optional.includes(name), `${what} without ${name}`);
      for (const wrong of [null, -1, { a: 1 }, 'a b.*', [1], 0.5]) {
        if (name === 'reason' && typeof wrong === 'string') continue;
        assert.equal(decodeHostState(bytesOf(within({ ...value, [name]: wrong }))), undefined, `${what} ${name}: ${JSON.stringify(wrong)}`);
      }
    }
  }
  for (const wrong of [null, [], 'x', 1]) assert.equal(decodeHostState(bytesOf(wrong)), undefined);
  assert.equal(decodeHostState(encodeHostState(state).slice(1)), undefined);
});

test('fields it does not know are left out at every level', () => {
  const strange = { ...state, later: 1, connection: { ...state.connection!, later: 1 }, devices: state.devices.map((each) => ({ ...each, later: 1 })), actors: state.actors.map((each) => ({ ...each, later: 1 })) };
  assert.deepEqual(decodeHostState(bytesOf(strange)), state);
  assert.deepEqual(decodeHostState(encodeHostState(strange)), state);
});

test('bounds hold in both directions: counts, bytes, names; a long reason is cut', () => {
  const over: Partial<HostState>[] = [
    { devices: many(STATE_DEVICES_MAX + 1, (index) => ({ id: `cuda:${index}`, usable: true })) },
    { modules: many(STATE_MODULES_MAX + 1, (index) => `m${index}`) },
    { paused: many(STATE_PAUSED_MAX + 1, (index) => ({ actor: `a${index}`, device: 'cpu', reason: '' })) },
    { actors: many(STATE_ACTORS_MAX + 1, (index) => ({ name: `a${index}`, hash: 'x', wanted: 0, ready: 0, idempotent: true, queue: 0 })) },
    { actors: many(STATE_ACTORS_MAX, (index) => ({ name: `a${index}`, hash: 'x'.repeat(128), wanted: 0, ready: 0, idempotent: true, queue: 0 })) },
    { host: 'a.b' },
  ];
  for (const part of over) {
    assert.throws(() => encodeHostState({ ...state, ...part }), RangeError);
    assert.equal(decodeHostState(bytesOf({ ...state, ...part })), undefined);
  }
  const long = { ...state, paused: [{ actor: 'a', device: 'cpu', reason: 'x'.repeat(5000) }] };
  assert.equal(decodeHostState(encodeHostState(long))?.paused[0]?.reason.length, STATE_REASON_MAX);
  const full = { ...state, actors: many(5000, (index) => ({ name: `actor-${index}`, hash: 'f'.repeat(64), wanted: 2, ready: 2, device: 'cuda:0', idempotent: true, queue: 100 })) };
  const bytes = encodeHostState(full);
  assert.ok(bytes.length <= STATE_BYTES_MAX);
  assert.equal(decodeHostState(bytes)?.actors.length, 5000);
});
