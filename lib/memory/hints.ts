import type { StoreHint } from '../engine/task-store.js';

type Listener = (hint: StoreHint) => void;

/** Tells listeners of new work, each in a microtask: never inside the call that made the work. */
export class Hints {
  private readonly listeners = new Set<{ readonly hear: Listener }>();

  /** @returns A function that ends the listening; nothing is heard after it, not even what was on its way. */
  listen(hear: Listener): () => void {
    const listener = { hear };
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  wake(queues: Iterable<string>): void {
    for (const queue of new Set(queues)) this.tell({ kind: 'wake', queue });
  }

  /** Those that are due later need no hint: whoever polls finds them when they are. */
  wakeDue(tasks: readonly { readonly queue: string; readonly scheduledAt: number }[], now: number): void {
    this.wake(tasks.filter(({ scheduledAt }) => scheduledAt <= now).map(({ queue }) => queue));
  }

  cancel(id: string): void {
    this.tell({ kind: 'cancel', id });
  }

  ended(id: string): void {
    this.tell({ kind: 'ended', id });
  }

  schedule(): void {
    this.tell({ kind: 'schedule' });
  }

  control(): void {
    this.tell({ kind: 'control' });
  }

  clear(): void {
    this.listeners.clear();
  }

  private tell(hint: StoreHint): void {
    for (const listener of this.listeners) {
      queueMicrotask(() => {
        if (!this.listeners.has(listener)) return;
        try {
          listener.hear(hint);
        } catch {
          // A hint is never needed: a listener that fails may cost latency, but no other listener and no process.
        }
      });
    }
  }
}
