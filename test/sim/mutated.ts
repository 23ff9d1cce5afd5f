/**
 * Compiled files with a few characters changed, in a folder of their own: what a mutant is loaded from. An edit that does not
 * match exactly once is an error, because a mutant that changes nothing would be a checker that proves nothing.
 */
import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { repositoryRoot } from '../support/root.js';

export interface Edit {
  /** Below src, without extension. */
  readonly file: string;
  readonly from: RegExp;
  readonly to: string;
}

/** @returns the folder; whoever asked removes it */
export function mutated({ name, edits }: { readonly name: string; readonly edits: readonly Edit[] }): string {
  const compiled = fileURLToPath(new URL('../..', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'regrow-mutant-'));
  for (const part of ['src', 'test/sim', 'test/support']) {
    cpSync(join(compiled, part), join(folder, part), { recursive: true, filter: (path) => !/\.(map|d\.ts)$/.test(path) });
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  symlinkSync(join(repositoryRoot(), 'node_modules'), join(folder, 'node_modules'), 'junction');
  for (const { file, from, to } of edits) {
    const path = join(folder, 'src', `${file}.js`);
    const text = readFileSync(path, 'utf8');
    const places = [...text.matchAll(new RegExp(from, 'g'))].length;
    if (places !== 1) throw new Error(`mutant "${name}": ${from} is found ${places} times in ${file}, wanted once`);
    writeFileSync(path, text.replace(from, to));
  }
  return folder;
}
