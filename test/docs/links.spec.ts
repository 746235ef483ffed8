import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const documents = ['README.md', 'CONTRIBUTING.md', 'test/bench/README.md'];

/** `[text](target 'title')`, without those to other sites and to headings. */
const link = /\]\((?!https?:|#)([^)\s]+)(?:\s+'([^']+)')?\)/g;

/** Each link of the documents to a file of this repository, and the title of a test that it names there. */
const links = documents.flatMap((document) => {
  const text = readFileSync(join(root, document), 'utf8').replaceAll(/```.*?```/gs, '');
  return [...text.matchAll(link)].map(([, target = '', title]) => ({ document, target, title }));
});

describe('what the documents link to', () => {
  it.each(links)('$document: $target $title', ({ document, target, title }) => {
    const path = join(root, dirname(document), target.replace(/#.*$/, ''));
    expect(existsSync(path)).toBe(true);
    if (title === undefined) return;
    // A title that holds a quote is escaped in a source that uses the same quotes.
    const source = readFileSync(path, 'utf8').replaceAll("\\'", "'");
    expect(source).toContain(title);
  });

  it('are many promises, each with its test', () => {
    const promises = links.filter(({ document, title }) => document === 'README.md' && title !== undefined);
    expect(promises.length).toBeGreaterThan(50);
  });
});
