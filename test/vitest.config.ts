import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Where `.ci/run` wants vitest's own report, from which it counts. */
const report = process.env.BACKIE_TEST_REPORT;

/**
 * Unit tests import sources from lib/. Every other test imports the package by its name and therefore meets the built
 * package, exactly as a consumer does: that is what the aliases are for.
 */
const shared = {
  root: fromRoot('.'),
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: {
    alias: [
      { find: /^nestjs-backie$/, replacement: fromRoot('dist/index.js') },
      { find: /^nestjs-backie\/(typeorm|embedded)$/, replacement: `${fromRoot('dist')}/$1/index.js` },
    ],
  },
};
const each = {
  server: { deps: { external: [/\/dist\//] } },
  pool: 'forks' as const,
  testTimeout: 30_000,
  hookTimeout: 60_000,
  unstubEnvs: true,
};
const never = ['**/node_modules/**', 'test/dist/**'];
/** They hold leases of two seconds or three, which a machine would end that is busy all the time: mostly they wait. */
const leased = ['test/e2e/lifecycle/**/*.spec.ts', 'test/fault/**/*.spec.ts'];
/** They count what the whole server does. */
const alone = ['test/e2e/cost/cost.spec.ts'];

/** Fake timers, modules that are mocked, and files that import nothing large. */
const apart = ['test/unit/**/*.spec.ts', 'test/docs/**/*.spec.ts'];
/**
 * They import the whole of Nest and TypeORM, which takes a second: those of one worker do it once. What they make is on a
 * schema of its own, and cleaned up when the test has finished.
 */
const sharing = { isolate: false };

export default defineConfig({
  ...shared,
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    reporters: [
      'default',
      ...(process.env.GITHUB_ACTIONS ? ['github-actions' as const] : []),
      ...(report ? [['json', { outputFile: report }] as ['json', { outputFile: string }]] : []),
    ],
    projects: [
      {
        ...shared,
        test: {
          ...each,
          ...sharing,
          name: 'together',
          include: ['test/**/*.spec.ts'],
          exclude: [...never, ...leased, ...alone, ...apart],
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...shared,
        test: { ...each, name: 'apart', include: apart, exclude: never, maxWorkers: 3, sequence: { groupOrder: 1 } },
      },
      {
        ...shared,
        test: {
          ...each,
          ...sharing,
          name: 'leased',
          include: leased,
          exclude: never,
          maxWorkers: 3,
          sequence: { groupOrder: 2 },
        },
      },
      {
        ...shared,
        test: {
          ...each,
          ...sharing,
          name: 'alone',
          include: alone,
          exclude: never,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
