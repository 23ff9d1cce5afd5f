/**
 * The supervisor against Erlang/OTP's own recorded behaviour, event by event.
 *
 * A sample lies in test/fixtures, so that every clone replays it; the whole corpus is replayed where it is found
 * (OTP_CORPUS, by default ../shared/otp-corpus beside the repository).
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { OtpScenario } from '../support/otp-replay.js';
import { replay } from '../support/otp-replay.js';
import { repositoryRoot } from '../support/root.js';

interface Known { readonly latencyMs: 0 | 1; readonly id: string; readonly why: string }

const root = repositoryRoot();
const sampleFile = resolve(root, 'test/fixtures/otp-sample.jsonl');
const known = JSON.parse(readFileSync(resolve(root, 'test/fixtures/otp-differences.json'), 'utf8')) as Known[];
const corpusFolder = resolve(root, process.env['OTP_CORPUS'] ?? '../shared/otp-corpus');
const corpusFile = resolve(corpusFolder, 'scenarios.jsonl');

function read(file: string): OtpScenario[] {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as OtpScenario);
}

/** Replays all and fails on every difference that is not listed, and on every listed one that is none. */
function replayAll(scenarios: OtpScenario[], latencyMs: 0 | 1, tell: (line: string) => void): void {
  const tally = new Map<string, { matched: number; total: number }>();
  const problems: string[] = [];
  for (const scenario of scenarios) {
    const category = scenario.id.replace(/-\d+$/, '');
    const count = tally.get(category) ?? { matched: 0, total: 0 };
    tally.set(category, count);
    count.total += 1;
    const { differences, leftovers } = replay(scenario, latencyMs);
    problems.push(...leftovers);
    const listed = known.find((entry) => entry.id === scenario.id && entry.latencyMs === latencyMs);
    if (differences.length === 0) count.matched += 1;
    if (differences.length > 0 && !listed) problems.push(...differences);
    if (differences.length === 0 && listed) problems.push(`${scenario.id} is listed as different and matches`);
  }
  const all = [...tally.values()];
  const sum = (field: 'matched' | 'total'): number => all.reduce((total, count) => total + count[field], 0);
  tell(`latency ${latencyMs} ms: ${sum('matched')} of ${sum('total')} match: ` +
    [...tally].map(([category, { matched, total }]) => `${category} ${matched}/${total}`).join(', '));
  assert.equal(problems.length, 0, `${problems.length} differences:\n${problems.slice(0, 40).join('\n')}`);
}

for (const latencyMs of [0, 1] as const) {
  test(`OTP sample, children that take ${latencyMs} ms`, (t) => {
    const scenarios = read(sampleFile);
    assert.ok(scenarios.length >= 60);
    replayAll(scenarios, latencyMs, (line) => t.diagnostic(line));
  });

  const skip = existsSync(corpusFile) ? false : `no corpus at ${corpusFolder} (set OTP_CORPUS); the sample was replayed`;
  test(`OTP corpus, children that take ${latencyMs} ms`, { skip }, (t) => {
    const scenarios = read(corpusFile);
    assert.equal(scenarios.length, new Set(scenarios.map(({ id }) => id)).size);
    replayAll(scenarios, latencyMs, (line) => t.diagnostic(line));
  });
}

test('only requests during a start may differ from OTP', () => {
  for (const { id, why } of known) {
    assert.match(id, /^gate/);
    assert.ok(why.length > 20, `${id} needs a reason`);
  }
});
