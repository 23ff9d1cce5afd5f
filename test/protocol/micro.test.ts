/** NATS micro documents, field by field as ADR-32 names them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { microInfo, microPing, microStats, microSubjects } from '../../src/protocol/micro.js';

const service = { id: 'h1', version: '0.1.0', description: 'inference', metadata: { prefix: 'regrow' }, started: '2026-01-02T03:04:05.000Z' };
const digits = { actor: 'digits', subject: 'regrow.infer.digits', metadata: { kind: 'model' } };
const identity = { name: 'regrow', id: 'h1', version: '0.1.0', metadata: { prefix: 'regrow' } };
const endpoint = { name: 'digits', subject: 'regrow.infer.digits', queue_group: 'regrow' };

test('micro: every verb is answered for all, for the kind, and for the instance', () => {
  assert.deepEqual(microSubjects('PING', 'h1'), ['$SRV.PING', '$SRV.PING.regrow', '$SRV.PING.regrow.h1']);
  assert.deepEqual(microSubjects('STATS', 'h1'), ['$SRV.STATS', '$SRV.STATS.regrow', '$SRV.STATS.regrow.h1']);
});

test('micro: PING', () => {
  assert.deepEqual(microPing(service), { type: 'io.nats.micro.v1.ping_response', ...identity });
});

test('micro: INFO', () => {
  assert.deepEqual(microInfo(service, [digits]), {
    type: 'io.nats.micro.v1.info_response', ...identity, description: 'inference', endpoints: [{ ...endpoint, metadata: { kind: 'model' } }],
  });
});

test('micro: STATS are whole nanoseconds, and an unused endpoint has no average', () => {
  const used = { ...digits, requests: 3, errors: 1, lastError: '503: draining', processingMs: 4.0000006, data: { queue: 2 } };
  const unused = { ...digits, requests: 0, errors: 0, lastError: '', processingMs: 0 };
  assert.deepEqual(microStats(service, [used, unused]), {
    type: 'io.nats.micro.v1.stats_response', ...identity, started: '2026-01-02T03:04:05.000Z',
    endpoints: [
      { ...endpoint, num_requests: 3, num_errors: 1, last_error: '503: draining', processing_time: 4_000_001, average_processing_time: 1_333_334, data: { queue: 2 } },
      { ...endpoint, num_requests: 0, num_errors: 0, last_error: '', processing_time: 0, average_processing_time: 0 },
    ],
  });
});
