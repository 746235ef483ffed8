import { spawn } from 'node:child_process';
import { parse } from 'node:path';

import { childEnvironment } from './child-environment.factory.js';
import type { ServerUser } from './server-user.resolver.js';

export interface CommandResult {
  ok: boolean;
  output: string;
}

/**
 * Runs a program to its end and never throws: a program that cannot be started is a result too.
 * It runs in the root folder, for PostgreSQL's tools refuse a current folder that their user cannot enter.
 */
export function runCommand(file: string, args: readonly string[], user?: ServerUser): Promise<CommandResult> {
  return new Promise((resolve) => {
    let output = '';
    try {
      const child = spawn(file, args, {
        cwd: parse(process.execPath).root,
        env: childEnvironment(),
        stdio: ['ignore', 'pipe', 'pipe'],
        windowsHide: true,
        ...(user && { uid: user.uid, gid: user.gid }),
      });
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => (output += text));
      }
      child.once('error', (error) => resolve({ ok: false, output: error.message }));
      child.once('close', (code) => resolve({ ok: code === 0, output: output.trim() }));
    } catch (error) {
      resolve({ ok: false, output: String(error) });
    }
  });
}
