import { DiscoveryService } from '@nestjs/core';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { type BackgroundTaskMetadata, backgroundTaskOf } from './decorators/background-task.decorator.js';
import type { TaskDefinition } from './engine/task-definition.js';
import { DuplicateTaskNameError, MissingHandlerError } from './errors/configuration.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import { defaultInstance } from './options/instance.js';
import type { ResolvedOptions } from './options/resolve-options.js';
import { isHandler, type TaskInvoker } from './task-invoker.js';

interface Found {
  readonly wrapper: InstanceWrapper<unknown>;
  readonly metadata: BackgroundTaskMetadata;
  /** What makes two providers the same one: their class, or else the value itself. */
  readonly identity: unknown;
  readonly label: string;
}

/** A registered task: what its class declares, and what a worker needs to run it. */
export interface ExploredTask {
  readonly declared: BackgroundTaskOptions;
  readonly definition: TaskDefinition;
}

/** Finds the providers that `@BackgroundTask` declares, however and wherever they are provided. */
export class BackgroundTaskExplorer {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly invoker: TaskInvoker,
  ) {}

  /** @throws DuplicateTaskNameError and MissingHandlerError */
  explore(options: ResolvedOptions): ReadonlyMap<string, ExploredTask> {
    const byName = new Map<string, Found>();
    for (const wrapper of this.discovery.getProviders()) {
      const found = inspect(wrapper);
      if (!found || (found.metadata.options.instance ?? defaultInstance) !== options.instance) continue;
      const known = byName.get(found.metadata.name);
      // One class that several modules provide, or an alias of it, is one task.
      if (known?.identity === found.identity) continue;
      if (known) throw new DuplicateTaskNameError(found.metadata.name, known.label, found.label);
      byName.set(found.metadata.name, found);
    }
    return new Map(
      [...byName].map(([name, found]) => [
        name,
        { declared: found.metadata.options, definition: this.define(found, options) },
      ]),
    );
  }

  private define({ wrapper, metadata }: Found, { task, maxPayloadBytes }: ResolvedOptions): TaskDefinition {
    const { name, options } = metadata;
    return {
      name,
      queue: options.queue ?? 'default',
      maxRetries: options.maxRetries ?? task.maxRetries,
      backoff: options.backoff ?? task.backoff,
      timeoutMs: options.timeoutMs,
      transaction: options.transactional === true ? {} : options.transactional || undefined,
      ...(options.rateLimit && { rateLimit: { max: options.rateLimit.max, perMs: options.rateLimit.perMs } }),
      keepResult: options.keepResult,
      maxResultBytes: maxPayloadBytes,
      deadLetter: options.deadLetter,
      handler: this.invoker.handlerOf(wrapper),
    };
  }
}

function inspect(wrapper: InstanceWrapper<unknown>): Found | undefined {
  // A request-scoped wrapper carries an empty prototype object as its instance; its class has no constructor to call.
  const instance: unknown = wrapper.isDependencyTreeStatic() && !wrapper.isTransient ? wrapper.instance : undefined;
  const candidates = [constructorOf(instance), wrapper.inject ? undefined : wrapper.metatype, wrapper.token];
  const taskClass = candidates.find((candidate) => backgroundTaskOf(candidate));
  const metadata = backgroundTaskOf(taskClass);
  if (!metadata || typeof taskClass !== 'function') return undefined;
  // Where there is no instance yet, run may still be a property that the constructor sets: the invoker looks then.
  if (instance !== undefined && !isHandler(instance)) throw new MissingHandlerError(metadata.name, taskClass.name);
  return { wrapper, metadata, identity: taskClass, label: taskClass.name || String(wrapper.name) };
}

function constructorOf(instance: unknown): unknown {
  return typeof instance === 'object' && instance !== null ? instance.constructor : undefined;
}
