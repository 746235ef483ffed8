import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Where `.ci/run` wants vitest's own report, from which it counts. */
const report = process.env.BACKIE_TEST_REPORT;

/**
 * Unit tests import sources from lib/. Every other test imports the package by its name and therefore meets the built
 * package, exactly as a consumer does: that is what the aliases are for.
 */
export default defineConfig({
  root: fromRoot('.'),
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  resolve: {
    alias: [
      { find: /^nestjs-backie$/, replacement: fromRoot('dist/index.js') },
      { find: /^nestjs-backie\/(typeorm|embedded)$/, replacement: `${fromRoot('dist')}/$1/index.js` },
    ],
  },
  test: {
    include: ['test/**/*.spec.ts'],
    exclude: ['**/node_modules/**', 'test/dist/**'],
    globalSetup: ['test/support/global-setup.ts'],
    server: { deps: { external: [/\/dist\//] } },
    reporters: [
      'default',
      ...(process.env.GITHUB_ACTIONS ? ['github-actions' as const] : []),
      ...(report ? [['json', { outputFile: report }] as ['json', { outputFile: string }]] : []),
    ],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    unstubEnvs: true,
  },
});
