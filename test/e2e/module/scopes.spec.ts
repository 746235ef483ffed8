import { Inject, Injectable, Scope } from '@nestjs/common';
import {
  type ContextId,
  ContextIdFactory,
  type ContextIdStrategy,
  createContextId,
  type HostComponentInfo,
  REQUEST,
} from '@nestjs/core';
import {
  Backoff,
  BackgroundTask,
  type BackgroundTaskHandler,
  type CurrentTask,
  TaskQueue,
  TaskRequest,
} from 'nestjs-backie';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { bootApp, next, runTask, shared } from '../../support/app.js';

interface Run {
  readonly instance: object;
  readonly payload?: unknown;
  readonly request?: unknown;
  readonly task?: CurrentTask;
}

/** What the handlers of this file saw; they are often made anew, so that it cannot be kept in them. */
const runs: Run[] = [];
beforeEach(() => {
  runs.length = 0;
});

const retries = { maxRetries: 2, backoff: Backoff.fixed(0) } as const;

/** Fails until its last attempt. */
function record(run: Run, { retries: used, maxRetries }: CurrentTask): void {
  runs.push(run);
  if (used < maxRetries) throw new Error('once more');
}

@BackgroundTask('static', retries)
class StaticTask implements BackgroundTaskHandler {
  run(payload: unknown, task: CurrentTask): void {
    record({ instance: this, payload, task }, task);
  }
}

/** A collaborator that is made for each attempt. */
@Injectable({ scope: Scope.REQUEST })
class Correlation {
  constructor(@Inject(REQUEST) readonly request: TaskRequest) {}
}

@Injectable({ scope: Scope.REQUEST })
@BackgroundTask('request-scoped', retries)
class RequestScopedTask implements BackgroundTaskHandler {
  constructor(
    @Inject(REQUEST) private readonly request: TaskRequest,
    private readonly correlation: Correlation,
  ) {}

  run(payload: unknown, task: CurrentTask): void {
    expect(this.correlation.request).toBe(this.request);
    record({ instance: this, payload, request: this.request, task }, task);
  }
}

@BackgroundTask('scope-below', retries)
@Injectable({ scope: Scope.REQUEST })
class ScopeBelowTask implements BackgroundTaskHandler {
  run(_: unknown, task: CurrentTask): void {
    record({ instance: this }, task);
  }
}

@BackgroundTask('scope-of-parent', retries)
class ScopeOfParentTask extends ScopeBelowTask {}

/** Says nothing of a scope, but injects something that is made for each attempt. */
@BackgroundTask('request-scoped-by-dependency', retries)
class DependentTask implements BackgroundTaskHandler {
  constructor(private readonly correlation: Correlation) {}

  run(_: unknown, task: CurrentTask): void {
    record({ instance: this, request: this.correlation.request }, task);
  }
}

@Injectable({ scope: Scope.REQUEST })
@BackgroundTask('arrow', retries)
class ArrowTask implements BackgroundTaskHandler {
  readonly run = (_: unknown, task: CurrentTask): void => {
    record({ instance: this }, task);
  };
}

@Injectable({ scope: Scope.TRANSIENT })
@BackgroundTask('transient', retries)
class TransientTask implements BackgroundTaskHandler {
  run(_: unknown, task: CurrentTask): void {
    record({ instance: this }, task);
  }
}

@BackgroundTask('chain')
class ChainTask implements BackgroundTaskHandler<number> {
  constructor(private readonly tasks: TaskQueue) {}

  async run(left: number): Promise<void> {
    runs.push({ instance: this, payload: left });
    if (left > 0) await this.tasks.enqueue(ChainTask, left - 1);
  }
}

describe('a handler', () => {
  const context = shared(() =>
    bootApp([
      StaticTask,
      Correlation,
      RequestScopedTask,
      ScopeBelowTask,
      ScopeOfParentTask,
      DependentTask,
      ArrowTask,
      TransientTask,
      ChainTask,
    ]),
  );

  const instances = () => new Set(runs.map(({ instance }) => instance)).size;

  it('is one instance for all attempts when it is static', async () => {
    const { app } = context();
    await runTask(context(), StaticTask, 'payload');
    expect(runs).toHaveLength(3);
    expect(runs.every(({ instance }) => instance === app.get(StaticTask))).toBe(true);
  });

  it.each([
    ['request-scoped', RequestScopedTask],
    ['request-scoped by the decorator below @BackgroundTask', ScopeBelowTask],
    ['request-scoped by its parent', ScopeOfParentTask],
    ['request-scoped by what it injects', DependentTask],
    ['request-scoped, with run as a property', ArrowTask],
    ['transient', TransientTask],
  ])('is made afresh for each attempt when it is %s', async (_, Task) => {
    await runTask(context(), Task);
    expect(runs).toHaveLength(3);
    expect(instances()).toBe(3);
  });

  it('gets the attempt and its payload as REQUEST, and so does all that it injects', async () => {
    await runTask(context(), RequestScopedTask, { userId: 7 });
    expect(runs).toHaveLength(3);
    for (const { request, task, payload } of runs) {
      expect(request).toBeInstanceOf(TaskRequest);
      expect(request).toEqual({ task, payload: { userId: 7 } });
      expect((request as TaskRequest).task).toBe(task);
      expect((request as TaskRequest).payload).toBe(payload);
    }
    expect(runs.map(({ task }) => task!.attempt)).toEqual([1, 2, 3]);
  });

  it('can enqueue further tasks', async () => {
    const { tasks, events } = context();
    const done = next(events, 'done', 4);
    await tasks.enqueue(ChainTask, 3);
    await done;
    expect(runs.map(({ payload }) => payload)).toEqual([3, 2, 1, 0]);
  });
});

describe('a durable handler', () => {
  interface Tenant {
    readonly tenant: string;
  }

  /** What `ContextIdFactory` uses in the whole process. */
  function useStrategy(strategy: ContextIdStrategy<TaskRequest>): void {
    ContextIdFactory.apply(strategy);
    onTestFinished(() => ContextIdFactory.apply(undefined as never));
  }

  /** One sub-tree of providers for each tenant, as Nest's manual has it. */
  class ByTenant implements ContextIdStrategy<TaskRequest> {
    readonly requests: TaskRequest[] = [];
    private readonly tenants = new Map<string, ContextId>();

    attach(contextId: ContextId, request: TaskRequest) {
      this.requests.push(request);
      const { tenant } = request.payload as Tenant;
      const ofTenant = this.tenants.get(tenant) ?? createContextId();
      this.tenants.set(tenant, ofTenant);
      return {
        resolve: (info: HostComponentInfo) => (info.isTreeDurable ? ofTenant : contextId),
        payload: { tenant },
      };
    }
  }

  @Injectable({ scope: Scope.REQUEST, durable: true })
  @BackgroundTask('durable')
  class DurableTask implements BackgroundTaskHandler<Tenant> {
    constructor(@Inject(REQUEST) private readonly request: Tenant) {}

    run(payload: Tenant): void {
      runs.push({ instance: this, payload, request: this.request });
    }
  }

  @Injectable({ scope: Scope.REQUEST })
  @BackgroundTask('not-durable')
  class NotDurableTask implements BackgroundTaskHandler<Tenant> {
    constructor(@Inject(REQUEST) private readonly request: TaskRequest & Tenant) {}

    run(payload: Tenant): void {
      runs.push({ instance: this, payload, request: this.request });
    }
  }

  it('is made once for each context that the strategy tells apart', async () => {
    const strategy = new ByTenant();
    useStrategy(strategy);
    const app = await bootApp([DurableTask]);
    for (const tenant of ['acme', 'globex', 'acme', 'globex']) await runTask(app, DurableTask, { tenant });
    const [acme, globex, acmeAgain, globexAgain] = runs;
    expect(acmeAgain!.instance).toBe(acme!.instance);
    expect(globexAgain!.instance).toBe(globex!.instance);
    expect(globex!.instance).not.toBe(acme!.instance);
    expect(runs.map(({ request }) => request)).toEqual([
      { tenant: 'acme' },
      { tenant: 'globex' },
      { tenant: 'acme' },
      { tenant: 'globex' },
    ]);
    expect(strategy.requests.every((request) => request instanceof TaskRequest)).toBe(true);
  });

  it("leaves one that is not durable an instance an attempt, with the strategy's payload in its REQUEST", async () => {
    useStrategy(new ByTenant());
    const app = await bootApp([NotDurableTask]);
    for (const tenant of ['acme', 'acme']) await runTask(app, NotDurableTask, { tenant });
    expect(runs[0]!.instance).not.toBe(runs[1]!.instance);
    for (const { request } of runs) {
      expect(request).toBeInstanceOf(TaskRequest);
      expect((request as Tenant).tenant).toBe('acme');
    }
  });
});
