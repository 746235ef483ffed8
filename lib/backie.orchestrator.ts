import type {
  BeforeApplicationShutdown,
  OnApplicationBootstrap,
  OnApplicationShutdown,
  OnModuleDestroy,
  OnModuleInit,
} from '@nestjs/common';
import type { WorkerPool } from './engine/worker-pool.js';
import type { StoreHandle } from './store.factory.js';
import type { TaskEvents } from './task-events.js';
import type { TaskResults } from './task-results.js';
import type { TaskRegistry } from './task.registry.js';

/**
 * Nest's lifecycle, hook by hook.
 *
 * Shutdown runs each hook for all modules before the next: claiming stops in the first, what runs is drained in the
 * second, while the application's own connections still stand, and the engine's connections are closed only in the
 * last, so that whatever still runs, an HTTP request for instance, can enqueue until the end.
 */
export class BackieOrchestrator
  implements OnModuleInit, OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown
{
  constructor(
    private readonly pool: WorkerPool,
    private readonly registry: TaskRegistry,
    private readonly handle: StoreHandle,
    private readonly events: TaskEvents,
    private readonly workers: boolean,
    private readonly results: TaskResults,
  ) {}

  /** Misconfiguration shows before any pool works, that of another instance included. */
  async onModuleInit(): Promise<void> {
    await this.closingOnFailure(async () => {
      if (this.workers) this.registry.workable();
      else this.registry.check();
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    if (this.workers) await this.closingOnFailure(() => this.pool.start());
  }

  async onModuleDestroy(): Promise<void> {
    await this.pool.stop();
  }

  /**
   * Nest ignores a second signal. Whoever sends one has no patience left: it ends the grace. The listener is there only
   * while a drain is under way.
   */
  async beforeApplicationShutdown(signal?: string): Promise<void> {
    if (!signal) return this.pool.drain();
    let listeners = 0;
    const hurry = () => {
      process.once(signal, hurry);
      const left = process.listenerCount(signal);
      // Nest sends its process the signal again when an application has ended, and takes its listener away before: one
      // that comes so is that of another application in this process, and no sign of impatience.
      if (left >= listeners) void this.pool.drain({ graceMs: 0 });
      listeners = left;
    };
    process.once(signal, hurry);
    listeners = process.listenerCount(signal);
    await this.pool.drain();
    process.off(signal, hurry);
  }

  async onApplicationShutdown(): Promise<void> {
    this.events.complete();
    await this.results.close();
    await this.handle.close();
  }

  /** Nest runs no shutdown hook after a failed start, and open connections would keep the process alive. */
  private async closingOnFailure(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      await this.handle.close();
      throw error;
    }
  }
}
