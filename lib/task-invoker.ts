import { ContextIdFactory, ModuleRef } from '@nestjs/core';
import type { ContextId, InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import type { CurrentTask } from './engine/current-task.js';
import type { TaskHandler } from './engine/task-definition.js';
import { MissingHandlerError } from './errors/configuration.errors.js';
import type { BackgroundTaskHandler } from './interfaces/background-task-handler.interface.js';

/**
 * What a request-scoped handler, and all that it injects, gets as `@Inject(REQUEST)`: there is no HTTP request in a
 * worker. A `ContextIdStrategy` for durable providers is given it too.
 */
export class TaskRequest {
  constructor(
    readonly task: CurrentTask,
    readonly payload: unknown,
  ) {}
}

type Handler = BackgroundTaskHandler<unknown, unknown>;

/** Calls the handler that a provider stands for: the one instance, or a fresh one an attempt. */
export class TaskInvoker {
  handlerOf(wrapper: InstanceWrapper<unknown>): TaskHandler {
    if (wrapper.isDependencyTreeStatic() && !wrapper.isTransient) {
      // Read at each call: a test may replace a method of the instance after start.
      return (payload, task) => (wrapper.instance as Handler).run(payload, task);
    }
    return async (payload, task) => (await this.resolve(wrapper, new TaskRequest(task, payload))).run(payload, task);
  }

  private async resolve(wrapper: InstanceWrapper<unknown>, request: TaskRequest): Promise<Handler> {
    const moduleRef = wrapper.host?.getProviderByKey<ModuleRef>(ModuleRef).instance;
    if (!moduleRef) throw new Error(`The provider ${String(wrapper.name)} belongs to no module.`);
    const contextId = ContextIdFactory.getByRequest(request) as ContextId & { payload?: unknown };
    // As Nest's router does it: durable trees, which outlive the request, see the strategy's payload in its place.
    const visible = wrapper.isDependencyTreeDurable() ? contextId.payload : Object.assign(request, contextId.payload);
    moduleRef.registerRequestByContextId(visible, contextId);
    const handler: unknown = await moduleRef.resolve(wrapper.token as string, contextId, { strict: true });
    if (!isHandler(handler)) throw new MissingHandlerError(request.task.name, String(wrapper.name));
    return handler;
  }
}

export function isHandler(value: unknown): value is Handler {
  return typeof value === 'object' && value !== null && 'run' in value && typeof value.run === 'function';
}
