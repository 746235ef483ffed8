import { type ChildProcess, spawn } from 'node:child_process';
import { compiled } from './paths.js';

/** Sees to it that nothing which the harness starts outlives it, even if the harness is killed. */
export class Guardian {
  private readonly child = spawn(process.execPath, [compiled('guardian.process.js')], {
    stdio: ['pipe', 'ignore', 'inherit'],
    detached: true,
  });

  constructor() {
    this.child.unref();
    this.child.stdin.on('error', () => {});
    (this.child.stdin as unknown as { unref(): void }).unref();
  }

  guard(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.child.stdin.write(`+${pid}\n`);
    child.once('exit', () => this.child.stdin.write(`-${pid}\n`));
  }

  guardFolder(folder: string): void {
    this.child.stdin.write(`${folder}\n`);
  }

  /** Everything that is still guarded ends now. */
  async close(): Promise<void> {
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.ref();
    this.child.stdin.end();
    await exited;
  }
}
