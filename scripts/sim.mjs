/**
 * `npm run sim`: more simulation than `npm test` has time for.
 *
 *   npm run sim -- --seeds 10000             that many worlds, then the mutants
 *   npm run sim -- --seeds 1000 --from 5000  other ones
 *   npm run sim -- --seed 4711               one world again, with everything that happened in it
 *   npm run sim -- --cluster --seeds 1000    clusters of hosts instead of one host; --seed works as well
 *   npm run sim -- --json FILE               { seeds, violations, mutants }
 *   npm run sim -- --scale                   300 hosts, 5,000 actors, 20,000 replicas: docs/scale.md
 *
 * Exit code 1 when an invariant was broken or a mutant got away.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { ROOT, runScript, say, setUp } from './setup.mjs';

const isScale = process.argv.includes('--scale'); // has options of its own
const { values } = parseArgs({
  ...(isScale && { args: [] }),
  options: { seeds: { type: 'string', default: '1000' }, from: { type: 'string', default: '1' }, seed: { type: 'string' }, cluster: { type: 'boolean', default: false }, json: { type: 'string' }, quick: { type: 'boolean', default: false } },
});

await runScript(async () => {
  setUp();
  if (isScale) return (await load('scale/main')).main(process.argv.slice(2));
  const { simulate, check, lineOf, mutants, hunt } = await (values.cluster ? cluster() : oneHost());
  if (values.seed !== undefined) return replay(number('seed'), { simulate, check, lineOf });
  const seeds = values.quick ? 100 : number('seeds');
  const from = number('from');
  const violations = [];
  for (let seed = from; seed < from + seeds; seed++) {
    for (const violation of check(await simulate(seed))) {
      violations.push({ seed, ...violation });
      process.stdout.write(`seed ${seed}: ${violation.invariant}: ${violation.detail}\n`);
    }
    if ((seed - from + 1) % 100 === 0) say(`${seed - from + 1} of ${seeds} seeds, ${violations.length} violations`);
  }
  const results = [];
  for (const mutant of mutants) {
    const caught = await hunt(mutant);
    results.push(caught ?? { mutant: mutant.name, by: [] });
    process.stdout.write(`mutant "${mutant.name}": ${caught ? `caught by ${caught.by.join(', ')} at seed ${caught.seed}` : 'NOT CAUGHT'}\n`);
  }
  const caught = results.filter(({ by }) => by.length > 0).length;
  process.stdout.write(`${seeds} seeds, ${violations.length} violations, ${caught} of ${mutants.length} mutants caught\n`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ seeds, violations, mutants: results }, undefined, 2)}\n`);
  return violations.length === 0 && caught === mutants.length ? 0 : 1;
});

function load(name) {
  return import(pathToFileURL(join(ROOT, 'dist', 'test', 'sim', `${name}.js`)).href);
}

async function oneHost() {
  const [{ simulate }, { check }, { lineOf }, { mutants, hunt }] = await Promise.all(['world', 'invariants', 'record', 'mutants'].map(load));
  return { simulate, check, lineOf, mutants, hunt };
}

async function cluster() {
  const files = ['world', 'invariants', 'record', 'mutants'].map((name) => load(`cluster/${name}`));
  const [{ simulateCluster }, { checkCluster }, { lineOf }, { clusterMutants, huntCluster }] = await Promise.all(files);
  return { simulate: simulateCluster, check: checkCluster, lineOf, mutants: clusterMutants, hunt: huntCluster };
}

async function replay(seed, { simulate, check, lineOf }) {
  const run = await simulate(seed);
  process.stdout.write(`${JSON.stringify(run.plan.host ?? run.plan.hosts, undefined, 2)}\n`);
  for (const entry of run.entries) process.stdout.write(`${lineOf(entry)}\n`);
  const violations = check(run);
  for (const { invariant, detail } of violations) process.stdout.write(`VIOLATION ${invariant}: ${detail}\n`);
  process.stdout.write(`seed ${seed}: ${violations.length} violations\n`);
  return violations.length === 0 ? 0 : 1;
}

function number(option) {
  const value = Number(values[option]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${option} wants a whole number, got ${JSON.stringify(values[option])}`);
  return value;
}
