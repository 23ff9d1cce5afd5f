import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashOf, rankHosts, score } from '../../src/policy/rendezvous.js';

const named = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

test('the hash is pinned: another one would place a half-updated cluster twice', () => {
  assert.deepEqual([hashOf(''), hashOf('ocr-rec'), score('ocr-rec', 'host-1'), score('host-1', 'ocr-rec')], [3954623016, 2302929376, 1554671592, 348494329]);
});

test('each place in the order falls to each host equally often, whatever the names look like (chi-square, 99.9 %)', () => {
  for (const [actors, hosts] of [[named('actor', 8000), named('host', 10)], [named('', 8000), named('', 10)], [named('model-a-', 8000), named('gpu-rack-7-', 10)]] as const) {
    const orders = actors.map((actor) => rankHosts(actor, hosts));
    for (const position of [0, 1, 9]) {
      const counts = new Map(hosts.map((host) => [host, 0]));
      for (const order of orders) counts.set(order[position]!, counts.get(order[position]!)! + 1);
      const expected = actors.length / hosts.length;
      const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      assert.ok(chiSquare < 27.88, `position ${position}: ${[...counts.values()]}`);
    }
  }
});

test('the second place does not depend on the first: after the loss of a host its actors spread evenly', () => {
  const hosts = named('host', 10);
  const heirs = new Map<string, number>();
  for (const actor of named('actor', 20_000)) {
    const [first, second] = rankHosts(actor, hosts);
    if (first === 'host3') heirs.set(second!, (heirs.get(second!) ?? 0) + 1);
  }
  const total = [...heirs.values()].reduce((sum, count) => sum + count, 0);
  const chiSquare = [...heirs.values()].reduce((sum, count) => sum + (count - total / 9) ** 2 / (total / 9), 0);
  assert.equal(heirs.size, 9);
  assert.ok(chiSquare < 26.12, `${[...heirs]}`);
});

test('the order is that of the scores, does not depend on the order of the list, and a lost host only leaves a gap', () => {
  fc.assert(fc.property(fc.string({ maxLength: 12 }), fc.uniqueArray(fc.string({ maxLength: 8 }), { minLength: 1, maxLength: 20 }), fc.nat(), (actor, hosts, pick) => {
    const order = rankHosts(actor, hosts);
    assert.deepEqual(rankHosts(actor, [...hosts].reverse()), order);
    assert.deepEqual([...order].sort(), [...hosts].sort());
    for (let index = 1; index < order.length; index++) assert.ok(score(actor, order[index - 1]!) >= score(actor, order[index]!));
    const lost = hosts[pick % hosts.length]!;
    assert.deepEqual(rankHosts(actor, hosts.filter((host) => host !== lost)), order.filter((host) => host !== lost));
  }));
});
