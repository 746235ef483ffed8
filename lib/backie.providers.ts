import { readFileSync } from 'node:fs';
import type { InjectionToken, Provider } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { BackgroundTaskExplorer } from './background-task.explorer.js';
import { BackieOrchestrator } from './backie.orchestrator.js';
import { CronCalendar } from './cron-calendar.js';
import { getTaskEventsToken, getTaskQueueToken, getTaskStoreToken, getWorkerPoolToken } from './constants.js';
import { NestReporter } from './engine-reporter.js';
import type { TaskStore } from './engine/task-store.js';
import { WorkerPool } from './engine/worker-pool.js';
import type { BackieModuleOptions } from './interfaces/backie-module-options.interface.js';
import { defaultInstance } from './options/instance.js';
import { type ResolvedOptions, resolveOptions } from './options/resolve-options.js';
import { openStore, type StoreHandle } from './store.factory.js';
import { TaskEvents } from './task-events.js';
import { newTaskId } from './task-id.js';
import { TaskInvoker } from './task-invoker.js';
import { TaskQueue } from './task-queue.js';
import { TaskRegistry } from './task.registry.js';
import { TaskResults } from './task-results.js';
import { TaskSchedules } from './task-schedules.js';

const RESOLVED_OPTIONS = 'backie:resolved-options';
const STORE_HANDLE = 'backie:store-handle';

/** What an instance of the module gives to the application. */
export function instanceTokens(instance: string = defaultInstance): InjectionToken[] {
  return [
    getTaskQueueToken(instance),
    getWorkerPoolToken(instance),
    getTaskEventsToken(instance),
    getTaskStoreToken(instance),
  ];
}

/** How the parts of one instance are put together. */
export function instanceProviders(
  instance: string = defaultInstance,
  optionsToken: InjectionToken<BackieModuleOptions>,
): Provider[] {
  const [queue, pool, events, store] = instanceTokens(instance) as [
    InjectionToken,
    InjectionToken,
    InjectionToken,
    InjectionToken,
  ];
  return [
    TaskInvoker,
    {
      provide: RESOLVED_OPTIONS,
      inject: [optionsToken],
      useFactory: (options: BackieModuleOptions) => resolveOptions(options, instance),
    },
    { provide: STORE_HANDLE, inject: [RESOLVED_OPTIONS], useFactory: openStore },
    { provide: store, inject: [STORE_HANDLE], useFactory: (handle: StoreHandle) => handle.store },
    { provide: events, useFactory: () => new TaskEvents() },
    {
      provide: BackgroundTaskExplorer,
      inject: [DiscoveryService, TaskInvoker],
      useFactory: (discovery: DiscoveryService, invoker: TaskInvoker) => new BackgroundTaskExplorer(discovery, invoker),
    },
    {
      provide: TaskRegistry,
      inject: [BackgroundTaskExplorer, RESOLVED_OPTIONS, store],
      useFactory: (explorer: BackgroundTaskExplorer, options: ResolvedOptions, taskStore: TaskStore) =>
        new TaskRegistry(explorer, options, taskStore),
    },
    {
      provide: NestReporter,
      inject: [events],
      useFactory: (taskEvents: TaskEvents) =>
        new NestReporter(taskEvents, instance === defaultInstance ? undefined : instance),
    },
    {
      provide: TaskSchedules,
      inject: [store, TaskRegistry, RESOLVED_OPTIONS, NestReporter],
      useFactory: (taskStore: TaskStore, registry: TaskRegistry, options: ResolvedOptions, reporter: NestReporter) =>
        new TaskSchedules(taskStore, registry, new CronCalendar(), options, reporter),
    },
    {
      provide: TaskResults,
      inject: [store, TaskRegistry, RESOLVED_OPTIONS],
      useFactory: (taskStore: TaskStore, registry: TaskRegistry, options: ResolvedOptions) =>
        new TaskResults(taskStore, registry, options),
    },
    {
      provide: pool,
      inject: [store, TaskRegistry, RESOLVED_OPTIONS, NestReporter, TaskSchedules],
      useFactory: (
        taskStore: TaskStore,
        registry: TaskRegistry,
        options: ResolvedOptions,
        reporter: NestReporter,
        schedules: TaskSchedules,
      ) =>
        new WorkerPool(
          taskStore,
          () => registry.workable(),
          { ...options, version: packageVersion(), newId: newTaskId },
          reporter,
          schedules,
        ),
    },
    {
      provide: queue,
      inject: [store, TaskRegistry, pool, events, RESOLVED_OPTIONS, TaskSchedules, TaskResults],
      useFactory: (
        taskStore: TaskStore,
        registry: TaskRegistry,
        workerPool: WorkerPool,
        taskEvents: TaskEvents,
        options: ResolvedOptions,
        schedules: TaskSchedules,
        results: TaskResults,
      ) => new TaskQueue(taskStore, registry, workerPool, taskEvents, options, schedules, results),
    },
    {
      provide: BackieOrchestrator,
      inject: [pool, TaskRegistry, STORE_HANDLE, events, RESOLVED_OPTIONS, TaskResults],
      useFactory: (
        workerPool: WorkerPool,
        registry: TaskRegistry,
        handle: StoreHandle,
        taskEvents: TaskEvents,
        options: ResolvedOptions,
        results: TaskResults,
      ) => new BackieOrchestrator(workerPool, registry, handle, taskEvents, options.workers, results),
    },
  ];
}

/** Shown with each worker. A bundler may leave package.json behind; that is no reason to fail. */
function packageVersion(): string {
  try {
    const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
    return String((JSON.parse(text) as { version?: unknown }).version);
  } catch {
    return 'unknown';
  }
}
