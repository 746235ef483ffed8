import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { root } from './paths.js';

const histories = 1_000;

/** The model-based test of `test/contract`, with more histories on PostgreSQL than `npm test` has time for. */
export const model = {
  name: 'model',
  shows: `${histories} random histories of a queue on PostgreSQL agree with a simple model`,

  async holds(): Promise<boolean> {
    const vitest = spawn(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--config=test/vitest.config.ts',
        '--testNamePattern=agrees with a simple model',
        'test/contract/typeorm-task-store.spec.ts',
      ],
      { cwd: root, stdio: 'inherit', env: { ...process.env, BACKIE_MODEL_RUNS: String(histories) } },
    );
    const [code] = (await once(vitest, 'exit')) as [number | null];
    return code === 0;
  },
};
