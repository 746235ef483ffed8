import type {
  BeforeApplicationShutdown,
  OnApplicationBootstrap,
  OnApplicationShutdown,
  OnModuleDestroy,
} from '@nestjs/common';
import type { WorkerPool } from './engine/worker-pool.js';
import type { StoreHandle } from './store.factory.js';
import type { TaskEvents } from './task-events.js';
import type { TaskRegistry } from './task.registry.js';

/**
 * Nest's lifecycle, hook by hook.
 *
 * Shutdown runs each hook for all modules before the next: claiming stops in the first, what runs is drained in the
 * second, while the application's own connections still stand, and the engine's connections are closed only in the
 * last, so that whatever still runs, an HTTP request for instance, can enqueue until the end.
 */
export class BackieOrchestrator
  implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown
{
  constructor(
    private readonly pool: WorkerPool,
    private readonly registry: TaskRegistry,
    private readonly handle: StoreHandle,
    private readonly events: TaskEvents,
    private readonly workers: boolean,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    try {
      if (this.workers) await this.pool.start();
      else this.registry.check();
    } catch (error) {
      // Nest runs no shutdown hook after a failed start, and open connections would keep the process alive.
      await this.handle.close();
      throw error;
    }
  }

  async onModuleDestroy(): Promise<void> {
    await this.pool.stop();
  }

  /**
   * Nest ignores a second signal. Whoever sends one has no patience left: it ends the grace. The listener is there only
   * while a drain is under way.
   */
  async beforeApplicationShutdown(signal?: string): Promise<void> {
    const hurry = () => void this.pool.drain({ graceMs: 0 });
    if (signal) process.once(signal, hurry);
    await this.pool.drain();
    if (signal) process.off(signal, hurry);
  }

  async onApplicationShutdown(): Promise<void> {
    this.events.complete();
    await this.handle.close();
  }
}
