import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The root of the package, the same from the sources (vitest) and from `test/dist` (node). */
export const root = dirname(createRequire(import.meta.url).resolve('nestjs-backie/package.json'));

/** A script of the harness as `tsc -p test/tsconfig.json` has compiled it: child processes run plain JavaScript. */
export function compiled(script: string): string {
  return join(root, 'test/dist/test/fault/harness', script);
}
