import { beforeAll, describe, expect, it } from 'vitest';
import { compile, documents, type Example, examplesIn, examplesOf } from './examples.js';

const examples = documents().flatMap(examplesOf);
const [wrong] = examplesIn('wrong.md', ['Text', '```ts', 'import { Nothing } from "nestjs-backie";', '```'].join('\n'));
const [lacking] = examplesIn('lacking.md', ['```typescript', 'new TaskQueue();', '```'].join('\n'));

describe('the examples of the documentation', () => {
  let errors: Awaited<ReturnType<typeof compile>>;

  beforeAll(async () => {
    errors = await compile([...examples, wrong, lacking]);
  }, 120_000);

  it('exist in the README', () => {
    expect(examples.filter((example) => example.file === 'README.md')).not.toHaveLength(0);
  });

  it.each(examples.map((example) => [`${example.file}:${example.line}`, example] as const))(
    'compile: %s',
    (_, example) => {
      expect(errors.get(example)).toEqual([]);
    },
  );

  it('compile where a property that may be left out may not be undefined, as far as those of TypeORM do', async () => {
    const strict = await compile([...examples, wrong], { exactOptionalPropertyTypes: true });
    const problems = [...strict.values()]
      .flat()
      .filter((error) => !/type '(DataSource|TypeOrmModule)Options/.test(error));
    expect(problems).toEqual([expect.stringContaining('wrong.md:3: error TS2305')]);
  }, 120_000);

  it.each<[string, Example, string]>([
    ['names what the package does not export', wrong, 'wrong.md:3: error TS2305'],
    ['lacks an import', lacking, 'lacking.md:2: error TS2304'],
  ])('do not compile when one %s', (_, example, error) => {
    expect(errors.get(example)).toEqual([expect.stringContaining(error)]);
  });
});

describe('the search for examples', () => {
  it('takes only closed blocks of TypeScript, each with its place', () => {
    const text = [
      '```sh',
      'ls',
      '```',
      '1. A list',
      '   ```ts title="a"',
      '   let a;',
      '   ```',
      '````md',
      '```ts',
      '````',
    ];
    expect(examplesIn('a.md', text.join('\n'))).toEqual([{ file: 'a.md', line: 5, code: '   let a;' }]);
    expect(() => examplesIn('a.md', '```ts\nlet a;')).toThrow('a.md:1');
  });
});
