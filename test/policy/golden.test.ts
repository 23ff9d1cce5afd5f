import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyBook, judgeGolden, type GoldenBook } from '../../src/policy/golden.js';

const differs = (a: string, b: string): string | undefined => (a === b ? undefined : `${a} is not ${b}`);
const verdicts = (answers: readonly string[]): string[] => {
  let book: GoldenBook<string> = emptyBook;
  return answers.map((answer) => {
    const judged = judgeGolden(book, answer, differs);
    book = judged.book;
    return judged.verdict;
  });
};

test('the first answer is recorded, equal ones agree, another one disagrees', () => {
  assert.deepEqual(verdicts(['a', 'a', 'b', 'a']), ['recorded', 'agrees', 'disagrees', 'agrees']);
});

test('two in a row that disagree in the same way overrule the recording', () => {
  assert.deepEqual(verdicts(['bad', 'good', 'good', 'good', 'bad']), ['recorded', 'disagrees', 'overruled', 'agrees', 'disagrees']);
});

test('two that disagree in different ways overrule nothing', () => {
  assert.deepEqual(verdicts(['a', 'b', 'c', 'a']), ['recorded', 'disagrees', 'disagrees', 'agrees']);
});

test('agreement in between clears a dissent', () => {
  assert.deepEqual(verdicts(['a', 'b', 'a', 'b']), ['recorded', 'disagrees', 'agrees', 'disagrees']);
});
