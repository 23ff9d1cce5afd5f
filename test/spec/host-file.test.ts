/** The host file: what is filled in, what is refused, and that every refusal says where and what would be right. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseHost, type HostSpec } from '../../src/spec/host.js';
import { nearest } from '../../src/spec/problems.js';

const surroundings = { cores: 8, resolve: (path: string) => `/base/${path}` };

function accepted(document: unknown): HostSpec {
  const parsed = parseHost(document, surroundings);
  assert.ok(parsed.ok, parsed.ok ? '' : JSON.stringify(parsed.problems));
  return parsed.spec;
}

/** `path: message` of each problem. */
function problems(document: unknown): string[] {
  const parsed = parseHost(document, surroundings);
  assert.ok(!parsed.ok, 'was accepted');
  return parsed.problems.map(({ path, message }) => `${path}: ${message}`);
}

const model = (more: object = {}): object => ({ name: 'a', model: 'a.onnx', ...more });
const module = (more: object = {}): object => ({ name: 'a', module: 'a.js', ...more });
const actor = (more: object): HostSpec['actors'][number] => accepted({ actors: [more] }).actors[0]!;

describe('what is filled in', () => {
  test('an empty file is a host that serves nobody', () => {
    const spec = accepted({});
    assert.deepEqual([spec.host, spec.prefix, spec.nats, spec.holdMs, spec.startsParallelMax], ['auto', 'regrow', undefined, 2000, 8]);
    assert.deepEqual(spec.devices.map(({ id }) => id), ['cpu']);
  });

  test('models may be repeated, modules may not, unless the file says otherwise', () => {
    assert.equal(actor(model()).idempotent, true);
    assert.equal(actor(module()).idempotent, false);
    assert.equal(actor(module({ idempotent: true })).idempotent, true);
    assert.equal(actor(model({ idempotent: false })).idempotent, false);
  });

  test('paths are relative to the file', () => {
    assert.equal(actor(model()).file, '/base/a.onnx');
    assert.equal(accepted({ dataDir: 'data' }).dataDir, '/base/data');
    assert.equal(accepted({ nats: { servers: 'x', tls: { caFile: 'ca.pem' } } }).nats!.tls!.caFile, '/base/ca.pem');
  });

  for (const [replicas, threads] of [[1, 8], [3, 2], [8, 1], [20, 1]] as const) {
    test(`${replicas} replicas on 8 cores: ${threads} threads each`, () => {
      assert.equal(actor(model({ replicas })).session.intraOpThreads, threads);
    });
  }

  for (const [replicas, intensity] of [[1, 5], [2, 6], [4, 12]] as const) {
    test(`restart intensity of ${replicas} replicas: ${intensity}`, () => {
      assert.equal(actor(model({ replicas })).restart.intensity, intensity);
    });
  }

  test('what hosts do together', () => {
    const { leaseMs, renewDeadlineMs, renewMs, resyncMs, takeOversPerSecondMax, hostsMax, revision, modules } = accepted({});
    assert.deepEqual([leaseMs, renewDeadlineMs, renewMs, resyncMs, takeOversPerSecondMax, hostsMax, revision, modules], [18_000, 12_000, 1000, 5000, 5, 2, 0, {}]);
    assert.equal(actor(model()).singleton, false);
    assert.equal(accepted({ nats: { servers: 'x' } }).nats!.system, null);
  });

  test('modules have names, and an actor may use one; other words are paths', () => {
    const spec = accepted({ modules: { acts: 'src/acts.js' }, actors: [module({ module: 'acts' }), module({ name: 'b', module: 'other' })] });
    assert.deepEqual(spec.modules, { acts: '/base/src/acts.js' });
    assert.deepEqual(spec.actors.map(({ file, moduleName }) => [file, moduleName]), [['/base/src/acts.js', 'acts'], ['/base/other', undefined]]);
  });

  test('a model of the store: by its hash, at its place in dataDir', () => {
    const { file, sha256, stored } = accepted({ dataDir: 'data', actors: [model({ model: `sha256:${HASH}` })] }).actors[0]!;
    assert.deepEqual([file, sha256, stored], [`/base/data/models/${HASH}.onnx`, HASH, true]);
    assert.deepEqual([actor(model()).stored, actor(model({ model: `sha256:${HASH}` })).file], [false, `sha256:${HASH}`]);
  });

  test('a system user: its files are relative to the file', () => {
    const { system } = accepted({ nats: { servers: 'x', system: { user: 'system', passFile: 's.pass', inboxPrefix: '_INBOX_system' } } }).nats!;
    assert.deepEqual(system, { user: 'system', passFile: '/base/s.pass', inboxPrefix: '_INBOX_system' });
    assert.equal(accepted({ nats: { servers: 'x', system: { credsFile: 's.creds' } } }).nats!.system!.credsFile, '/base/s.creds');
  });

  test('the spec is frozen all the way down', () => {
    const spec = accepted({ actors: [model({ devices: ['cpu'] })] });
    assert.throws(() => Object.assign(spec.actors[0]!.queue, { sizeMax: 1 }), TypeError);
    assert.throws(() => (spec.actors as unknown[]).push(1), TypeError);
  });
});

const HASH = 'ab'.repeat(32);

const refused: Record<string, [unknown, string | RegExp]> = {
  'a lease that drifting clocks outrun': [{ leaseMs: 16_800 }, 'leaseMs: 16800 is not over 1.4 x renewDeadlineMs (12000): with clocks that drift two hosts could own one actor'],
  'a deadline too close to the renewals': [{ renewMs: 3001 }, /^renewMs: 3001 is over a quarter of renewDeadlineMs \(12000\)/],
  'a negative revision': [{ revision: -1 }, /^revision: /],
  'a module name that is no token': [{ modules: { 'a.b': 'x.js' } }, /^modules/],
  'more module names than a host can tell': [{ modules: Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`m${i}`, 'x.js'])) }, 'modules: has 1025 names, at most 1024'],
  'a system user without a secret': [{ nats: { servers: 'x', system: { user: 's' } } }, /^nats\.system: needs user with pass or passFile/],
  'a system user with two secrets': [{ nats: { servers: 'x', system: { user: 's', pass: 'a', passFile: 'b' } } }, /^nats\.system\.passFile: pass is given as well/],
  'an unknown key of a system user': [{ nats: { servers: 'x', system: { user: 's', password: 'a' } } }, 'nats.system.password: unknown key, did you mean "pass"?'],
  'a singleton with replicas': [{ actors: [module({ singleton: true, replicas: 2 })] }, /^actors\[0\]\.replicas: 2 of a singleton/],
  'half a hash': [{ actors: [model({ model: 'sha256:abcd' })] }, /^actors\[0\]\.model: "sha256:abcd" names no model of the store/],
  'two hashes': [{ actors: [model({ model: `sha256:${'ab'.repeat(32)}`, sha256: 'cd'.repeat(32) })] }, /^actors\[0\]\.sha256: is another hash/],
  'no object': [7, /^: /],
  'an unknown key of the host': [{ hots: 'a' }, 'hots: unknown key, did you mean "host"?'],
  'an unknown key nobody could have meant': [{ quetzalcoatl: 1 }, 'quetzalcoatl: unknown key'],
  'an unknown key of nats': [{ nats: { server: 'x' } }, 'nats.server: unknown key, did you mean "servers"?'],
  'an unknown key of an actor': [{ actors: [model({ replcas: 2 })] }, 'actors[0].replcas: unknown key, did you mean "replicas"?'],
  'an unknown key of a queue': [{ actors: [model({ queue: { maxSize: 2 } })] }, /^actors\[0\]\.queue\.maxSize: unknown key/],
  'an unknown key of a backoff': [{ actors: [model({ restart: { backoff: { minMS: 2 } } })] }, 'actors[0].restart.backoff.minMS: unknown key, did you mean "minMs"?'],
  'an unknown key of tls': [{ nats: { servers: 'x', tls: { cafile: 'y' } } }, 'nats.tls.cafile: unknown key, did you mean "caFile"?'],
  'a host id that is no token': [{ host: 'a.b' }, /^host: /],
  'a prefix with an empty token': [{ prefix: 'a..b' }, /^prefix: /],
  'an actor without a name': [{ actors: [{ model: 'a.onnx' }] }, /^actors\[0\]\.name: /],
  'an actor name with a dot': [{ actors: [model({ name: 'a.b' })] }, /^actors\[0\]\.name: "a\.b" must be 1 to 64/],
  'neither model nor module': [{ actors: [{ name: 'a' }] }, /^actors\[0\]: needs exactly one of/],
  'both model and module': [{ actors: [{ name: 'a', model: 'a', module: 'b' }] }, /^actors\[0\]: needs exactly one of/],
  'the same name twice': [{ actors: [model(), model(), module()] }, /^actors\[1\]\.name: "a" is the name of actors\[0\] already/],
  'a device the host has not': [{ actors: [model({ devices: ['cuda:0'] })] }, /^actors\[0\]\.devices: none of \[cuda:0\]/],
  'a device that is none': [{ devices: ['gpu'] }, /^devices\[0\]: /],
  'no replica': [{ actors: [model({ replicas: 0 })] }, /^actors\[0\]\.replicas: /],
  'half a replica': [{ actors: [model({ replicas: 1.5 })] }, /^actors\[0\]\.replicas: /],
  'text for a number': [{ holdMs: '2000' }, /^holdMs: /],
  'a duration longer than timers': [{ holdMs: 2 ** 31 }, /^holdMs: /],
  'a budget over its cap': [{ actors: [model({ timeoutMs: 40_000 })] }, /^actors\[0\]\.timeoutMs: 40000 is over timeoutMaxMs \(30000\)/],
  'concurrency for a model': [{ actors: [model({ concurrency: 2 })] }, /^actors\[0\]\.concurrency: is for modules/],
  'a backoff whose least is over its most': [{ actors: [model({ restart: { backoff: { minMs: 10, maxMs: 5 } } })] }, /^actors\[0\]\.restart\.backoff\.minMs: is over maxMs/],
  'a restart budget the backoff makes unreachable': [{ actors: [model({ restart: { intensity: 10, periodMs: 1000, backoff: { minMs: 500, maxMs: 500 } } })] }, /^actors\[0\]\.restart: /],
  'a queue larger than the host': [{ queueBytesMax: 1000, actors: [model({ queue: { bytesMax: 1001 } })] }, /^actors\[0\]\.queue\.bytesMax: 1001 is over/],
  'a golden with too few elements': [{ actors: [model({ golden: { inputs: { x: { datatype: 'FP32', shape: [2], data: [1] } }, outputs: {} } })] }, /^actors\[0\]\.golden\.inputs\.x\.data: has 1 elements, shape \[2\] needs 2/],
  'a golden with an element its datatype cannot hold': [{ actors: [model({ golden: { inputs: { x: { datatype: 'UINT8', shape: [1], data: [300] } }, outputs: {} } })] }, /^actors\[0\]\.golden\.inputs\.x\.data: .*300/],
  'a golden with text for a number': [{ actors: [model({ golden: { inputs: {}, outputs: { y: { datatype: 'FP32', shape: [1], data: ['x'] } } } })] }, /^actors\[0\]\.golden\.outputs\.y\.data: /],
  'a golden of no datatype': [{ actors: [model({ golden: { inputs: { x: { datatype: 'FLOAT', shape: [1], data: [1] } }, outputs: {} } })] }, /^actors\[0\]\.golden\.inputs\.x\.datatype: must be an OIP datatype/],
};

describe('what is refused', () => {
  for (const [what, [document, problem]] of Object.entries(refused)) {
    test(what, () => {
      const found = problems(document);
      assert.ok(found.some((line) => (typeof problem === 'string' ? line === problem : problem.test(line))), found.join('\n'));
    });
  }

  test('every problem of every actor at once', () => {
    const found = problems({ hots: 1, holdMs: -1, actors: [model({ replcas: 2 }), { name: 'b' }, model({ name: 'c', timeoutMs: 0 })] });
    assert.deepEqual(found.map((line) => line.split(':')[0]).sort(), ['actors[0].replcas', 'actors[1]', 'actors[2].timeoutMs', 'holdMs', 'hots']);
  });

  test('an unknown key does not hide what is wrong between the known ones', () => {
    const found = problems({ actors: [{ name: 'b', replcas: 1 }, module({ name: 'b', replicaz: 1 })] });
    assert.deepEqual(found.map((line) => line.split(':')[0]).sort(), ['actors[0]', 'actors[0].replcas', 'actors[1].name', 'actors[1].replicaz']);
  });
});

describe('the nearest known word', () => {
  for (const [word, known, wanted] of [
    ['replcas', ['replicas', 'restart'], 'replicas'],
    ['HOST', ['host', 'holdMs'], 'host'],
    ['x', ['replicas'], undefined],
    ['', ['replicas'], undefined],
  ] as const) {
    test(`"${word}" -> ${String(wanted)}`, () => assert.equal(nearest(word, known), wanted));
  }
});
