import { expect, it } from 'vitest';
import { statementTexts } from '../../lib/typeorm/statements.js';

it.each(Object.entries(statementTexts('backie')))(
  '%s uses nothing that an engine which distributes the tables lacks',
  (_, text) => {
    expect(text).not.toMatch(/\bctid\b|\bxmin\b|\bxmax\b|advisory/i);
  },
);
