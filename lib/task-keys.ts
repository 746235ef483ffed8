import type { PausedLane } from './engine/lane.js';
import type { TaskStore } from './engine/task-store.js';
import type { PausedKey } from './interfaces/paused-key.interface.js';
import { checkConcurrencyKey, checkKeyOptions } from './options/check-task-options.js';
import type { TaskTarget } from './task-preparation.js';

/** What TaskQueue does with concurrency keys at run time. */
export class TaskKeys {
  constructor(private readonly store: TaskStore) {}

  async pause(target: TaskTarget, key: string, options: { readonly queue?: string }): Promise<void> {
    await this.store.lanes.pause(laneOfKey('pauseKey', target, key, options));
  }

  async resume(target: TaskTarget, key: string, options: { readonly queue?: string }): Promise<void> {
    await this.store.lanes.resume(laneOfKey('resumeKey', target, key, options));
  }

  async paused(): Promise<PausedKey[]> {
    return (await this.store.lanes.paused()).map(publicKey);
  }
}

function laneOfKey(method: string, { name, options }: TaskTarget, key: string, given: { readonly queue?: string }) {
  checkConcurrencyKey(`TaskQueue.${method}: the key`, key);
  checkKeyOptions(method, given);
  return { queue: given.queue ?? options.queue ?? 'default', name, key };
}

function publicKey({ queue, name, key, pausedAt }: PausedLane): PausedKey {
  return { queue, task: name, key, pausedAt };
}
