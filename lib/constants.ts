import type { InjectionToken } from '@nestjs/common';
import { TaskStore } from './engine/task-store.js';
import { WorkerPool } from './engine/worker-pool.js';
import { defaultInstance } from './options/instance.js';
import { TaskEvents } from './task-events.js';
import { TaskQueue } from './task-queue.js';

/** The token of the TaskQueue of a named instance; the class itself for the default one. */
export function getTaskQueueToken(instance: string = defaultInstance): InjectionToken<TaskQueue> {
  return tokenOf(TaskQueue, 'task-queue', instance);
}

/** The token of the WorkerPool of a named instance; the class itself for the default one. */
export function getWorkerPoolToken(instance: string = defaultInstance): InjectionToken<WorkerPool> {
  return tokenOf(WorkerPool, 'worker-pool', instance);
}

/** The token of the TaskEvents of a named instance; the class itself for the default one. */
export function getTaskEventsToken(instance: string = defaultInstance): InjectionToken<TaskEvents> {
  return tokenOf(TaskEvents, 'task-events', instance);
}

/** The token of the TaskStore of a named instance; the class itself for the default one. */
export function getTaskStoreToken(instance: string = defaultInstance): InjectionToken<TaskStore> {
  return tokenOf(TaskStore, 'task-store', instance);
}

function tokenOf<Token>(type: abstract new (...args: never[]) => Token, kind: string, instance: string) {
  return (instance === defaultInstance ? type : `backie:${kind}:${instance}`) as InjectionToken<Token>;
}
